//===- FMATile.cpp - Tiles of products by fused multiply-adds -------------===//
//
// For f32, whose products tensor cores would round, and for operands of two
// types. Each thread has 8 x 4 sums. The operands' tiles are widened to f32 on
// their way to shared memory, where the summed loop is the outer dimension, so
// that a thread reads its rows and columns in 16-byte accesses. While one step
// is multiplied, the next is on its way to registers.
//
//===----------------------------------------------------------------------===//

#include "ProductTile.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Elements of the summed loop in a step.
static constexpr int64_t kDepth = 16;
static constexpr int64_t kPadding = 4;
static constexpr int64_t kPitch = kTileSize + kPadding;
/// Rows and columns of a thread.
static constexpr int64_t kRows = 8, kColumns = 4;

namespace {
class FMAMultiplier : public TileMultiplier {
public:
  FMAMultiplier(KernelBuilder &k, gpu::LaunchOp launch)
      : TileMultiplier(k, launch.getThreadIds().x) {
    auto space = gpu::AddressSpaceAttr::get(k.getContext(),
                                            gpu::AddressSpace::Workgroup);
    auto type = MemRefType::get({2, kDepth, kPitch}, k.getF32Type(),
                                MemRefLayoutAttrInterface(), space);
    leftShared = launch.addWorkgroupAttribution(type, k.getLoc());
    rightShared = launch.addWorkgroupAttribution(type, k.getLoc());
  }

  int64_t getFragmentWidth() const override { return kColumns; }
  SmallVector<Fragment> getFragments() override;
  TileSums multiply(const MatrixProduct &product, TileSums sums) override;

private:
  void emitPositions();
  SmallVector<Value> load(const StoredOperand &operand, Value summed);
  void store(const StoredOperand &operand, ValueRange pieces, Value shared,
             Value buffer);
  SmallVector<Value> multiplyStep(Value buffer, ValueRange sums);

  Value leftShared, rightShared;
  Value row, column;
};
} // namespace

void FMAMultiplier::emitPositions() {
  if (row)
    return;
  Value perRow = k.index(kTileSize / kColumns);
  row = k.mul(arith::DivUIOp::create(k, threadId, perRow), kRows);
  column = k.mul(arith::RemUIOp::create(k, threadId, perRow), kColumns);
}

SmallVector<Fragment> FMAMultiplier::getFragments() {
  emitPositions();
  SmallVector<Fragment> fragments;
  for (int64_t i = 0; i < kRows; ++i)
    fragments.push_back({k.add(row, i), column});
  return fragments;
}

/// The thread's pieces of the tile at `summed`, widened; zeros where it ends.
SmallVector<Value> FMAMultiplier::load(const StoredOperand &operand,
                                       Value summed) {
  auto narrow = VectorType::get({operand.elements}, operand.elementType);
  auto wide = VectorType::get({operand.elements}, k.getF32Type());
  int64_t bytes =
      operand.elements * operand.elementType.getIntOrFloatBitWidth() / 8;
  SmallVector<Value> pieces;
  for (const TilePiece &piece :
       getTilePieces(k, threadId, operand, kTileSize, kDepth, summed)) {
    auto choice = scf::IfOp::create(k, TypeRange{narrow}, piece.valid,
                                    /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(choice.thenBlock());
      Value loaded = vector::LoadOp::create(
          k, narrow, operand.memref, ValueRange{piece.outer, piece.inner},
          /*nontemporal=*/false, llvm::MaybeAlign(bytes));
      scf::YieldOp::create(k, loaded);
      k.setInsertionPointToStart(choice.elseBlock());
      scf::YieldOp::create(k, k.real(narrow, 0.0));
    }
    Value value = choice.getResult(0);
    if (!operand.elementType.isF32())
      value = arith::ExtFOp::create(k, wide, value);
    pieces.push_back(value);
  }
  return pieces;
}

void FMAMultiplier::store(const StoredOperand &operand, ValueRange pieces,
                          Value shared, Value buffer) {
  SmallVector<TilePiece> places =
      getTilePieces(k, threadId, operand, kTileSize, kDepth, k.index(0));
  for (auto [value, piece] : llvm::zip(pieces, places)) {
    if (operand.transposed) {
      vector::StoreOp::create(
          k, value, shared, ValueRange{buffer, piece.row, piece.column},
          /*nontemporal=*/false, llvm::MaybeAlign(4 * operand.elements));
      continue;
    }
    for (int64_t i = 0; i < operand.elements; ++i)
      k.store(vector::ExtractOp::create(k, value, i), shared,
              {buffer, k.add(piece.column, i), piece.row});
  }
}

SmallVector<Value> FMAMultiplier::multiplyStep(Value buffer,
                                               ValueRange before) {
  auto type = VectorType::get({kColumns}, k.getF32Type());
  auto load = [&](Value shared, int64_t depth, Value at) -> Value {
    return vector::LoadOp::create(k, type, shared,
                                  ValueRange{buffer, k.index(depth), at},
                                  /*nontemporal=*/false, llvm::MaybeAlign(16));
  };
  SmallVector<Value> sums = llvm::to_vector(before);
  for (int64_t depth = 0; depth < kDepth; ++depth) {
    Value right = load(rightShared, depth, column);
    for (int64_t i = 0; i < kRows; i += kColumns) {
      Value left = load(leftShared, depth, k.add(row, i));
      for (int64_t j = 0; j < kColumns; ++j)
        sums[i + j] = vector::FMAOp::create(
            k, k.broadcast(type, vector::ExtractOp::create(k, left, j)), right,
            sums[i + j]);
    }
  }
  return sums;
}

TileSums FMAMultiplier::multiply(const MatrixProduct &product,
                                 TileSums before) {
  emitPositions();
  StoredOperand left = getStoredOperand(
      k, product.left->get(), product.leftTransposed, /*accessBytes=*/16);
  StoredOperand right = getStoredOperand(
      k, product.right->get(), product.rightTransposed, /*accessBytes=*/16);
  // Wider vectors would leave threads without a piece.
  left.elements = std::min<int64_t>(left.elements, 4);
  right.elements = std::min<int64_t>(right.elements, 4);
  Value length = product.leftTransposed ? left.outer : left.inner;
  Value steps = arith::CeilDivUIOp::create(k, length, k.index(kDepth));

  auto type = VectorType::get({kColumns}, k.getF32Type());
  SmallVector<Value> carried;
  for (int64_t i = 0; i < kRows; ++i)
    carried.push_back(vector::FromElementsOp::create(
        k, type, ArrayRef(before).slice(i * kColumns, kColumns)));
  auto loadStep = [&](Value step) {
    Value summed = k.mul(step, kDepth);
    auto pieces = std::make_pair(load(left, summed), load(right, summed));
    return pieces;
  };
  auto storeStep = [&](const auto &pieces, Value step) {
    Value buffer = arith::RemUIOp::create(k, step, k.index(2));
    store(left, pieces.first, leftShared, buffer);
    store(right, pieces.second, rightShared, buffer);
  };
  storeStep(loadStep(k.index(0)), k.index(0));
  gpu::BarrierOp::create(k);
  SmallVector<Value> sums = llvm::to_vector_of<Value>(k.loop(
      k.index(0), steps, 1, carried,
      [&](Value step, ValueRange values) -> SmallVector<Value> {
        Value nextStep = k.add(step, 1);
        auto next = loadStep(nextStep);
        SmallVector<Value> results =
            multiplyStep(arith::RemUIOp::create(k, step, k.index(2)), values);
        // The other buffer was last read before the barrier that this step
        // began with.
        storeStep(next, nextStep);
        gpu::BarrierOp::create(k);
        return results;
      }));
  TileSums after;
  for (Value row : sums)
    for (int64_t j = 0; j < kColumns; ++j)
      after.push_back(vector::ExtractOp::create(k, row, j));
  return after;
}

std::unique_ptr<TileMultiplier>
mlir::omnimoe::createFMAMultiplier(KernelBuilder &k, gpu::LaunchOp launch) {
  return std::make_unique<FMAMultiplier>(k, launch);
}
