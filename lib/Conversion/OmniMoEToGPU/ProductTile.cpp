//===- ProductTile.cpp - A tile of a dense product by a block -------------===//
//
// Walks the operations of a tile in order and keeps, for each buffer, the sums
// that stand for it in registers:
//
//   fill     the sums are a constant
//   product  the sums are multiplied on; a result in memory is stored
//   copy     the sums have another name
//   generic  element-wise on the sums and on memory; its result is stored
//
//===----------------------------------------------------------------------===//

#include "ProductTile.h"

#include "BlockEmitter.h"
#include "KnownDivisor.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace mlir::omnimoe;

StoredOperand mlir::omnimoe::getStoredOperand(KernelBuilder &k, Value operand,
                                              bool transposed,
                                              int64_t accessBytes) {
  Type elementType = getElementTypeOrSelf(operand.getType());
  int64_t limit = accessBytes * 8 / elementType.getIntOrFloatBitWidth();
  return {operand,
          memref::DimOp::create(k, operand, 0),
          memref::DimOp::create(k, operand, 1),
          elementType,
          transposed,
          getAlignedElements(operand, limit)};
}

SmallVector<TilePiece>
mlir::omnimoe::getTilePieces(KernelBuilder &k, Value threadId,
                             const StoredOperand &operand, int64_t elements,
                             int64_t depth, Value summed) {
  int64_t columns = operand.transposed ? kTileSize : depth;
  int64_t rows = operand.transposed ? depth : kTileSize;
  int64_t piecesOfRow = columns / elements;
  int64_t rowsAtOnce = kTileThreads / piecesOfRow;
  Value firstRow = arith::DivUIOp::create(k, threadId, k.index(piecesOfRow));
  Value column = k.mul(
      arith::RemUIOp::create(k, threadId, k.index(piecesOfRow)), elements);
  Value inner = operand.transposed ? column : k.add(summed, column);
  Value inRow = k.compare(arith::CmpIPredicate::ult, inner, operand.inner);
  SmallVector<TilePiece> pieces;
  for (int64_t at = 0; at < rows; at += rowsAtOnce) {
    Value row = k.add(firstRow, at);
    Value outer = operand.transposed ? k.add(summed, row) : row;
    Value valid = k.both(
        inRow, k.compare(arith::CmpIPredicate::ult, outer, operand.outer));
    pieces.push_back({row, column, outer, inner, valid});
  }
  return pieces;
}

bool mlir::omnimoe::isProductTile(Block *body) {
  return llvm::any_of(
      *body, [](Operation &op) { return matchMatrixProduct(&op).has_value(); });
}

/// Tensor cores take two matrices of one short type.
static bool suitsTensorCores(const MatrixProduct &product) {
  Type left = getElementTypeOrSelf(product.left->get().getType());
  Type right = getElementTypeOrSelf(product.right->get().getType());
  return left == right && (left.isF16() || left.isBF16());
}

namespace {
class ProductTileEmitter {
public:
  ProductTileEmitter(KernelBuilder &k, gpu::LaunchOp launch,
                     std::unique_ptr<TileMultiplier> multiplier)
      : k(k), body(launch.getBody().front()),
        multiplier(std::move(multiplier)) {
    k.setInsertionPointToStart(&body);
    fragments = this->multiplier->getFragments();
  }

  LogicalResult emit();

private:
  LogicalResult emitOperation(Operation *op);
  LogicalResult emitProduct(const MatrixProduct &product);
  LogicalResult emitElementwise(linalg::LinalgOp op);
  /// Columns of a fragment that one access to all of `memrefs` may take.
  int64_t getWidth(ArrayRef<Value> memrefs);
  /// Calls `body(position of the first sum, row, column)` for each piece of
  /// `width` columns that lies inside of `rows` x `columns`.
  void forEachPiece(Value rows, Value columns, int64_t width,
                    llvm::function_ref<void(int64_t, Value, Value)> body);
  TileSums loadSums(Value memref);
  void storeSums(const TileSums &values, Value memref);
  /// `width` elements from one place, as a vector of f32.
  Value loadWide(Value memref, ArrayRef<Value> indices, int64_t width);
  Value getVector(ArrayRef<Value> elements);
  llvm::MaybeAlign getAlignment(Type elementType, int64_t width);

  KernelBuilder &k;
  Block &body;
  std::unique_ptr<TileMultiplier> multiplier;
  SmallVector<Fragment> fragments;
  DenseMap<Value, TileSums> sums;
};
} // namespace

llvm::MaybeAlign ProductTileEmitter::getAlignment(Type elementType,
                                                  int64_t width) {
  return llvm::MaybeAlign(width * elementType.getIntOrFloatBitWidth() / 8);
}

int64_t ProductTileEmitter::getWidth(ArrayRef<Value> memrefs) {
  int64_t width = multiplier->getFragmentWidth();
  for (Value memref : memrefs)
    width = std::min(width, getAlignedElements(memref, width));
  return width;
}

void ProductTileEmitter::forEachPiece(
    Value rows, Value columns, int64_t width,
    llvm::function_ref<void(int64_t, Value, Value)> body) {
  int64_t fragmentWidth = multiplier->getFragmentWidth();
  for (auto [index, fragment] : llvm::enumerate(fragments)) {
    Value inRows = k.compare(arith::CmpIPredicate::ult, fragment.row, rows);
    for (int64_t at = 0; at < fragmentWidth; at += width) {
      Value row = fragment.row, column = k.add(fragment.column, at);
      Value inside =
          k.both(inRows, k.compare(arith::CmpIPredicate::ult, column, columns));
      k.when(inside, [&] { body(index * fragmentWidth + at, row, column); });
    }
  }
}

Value ProductTileEmitter::getVector(ArrayRef<Value> elements) {
  auto type = VectorType::get({int64_t(elements.size())}, k.getF32Type());
  return vector::FromElementsOp::create(k, type, elements);
}

Value ProductTileEmitter::loadWide(Value memref, ArrayRef<Value> indices,
                                   int64_t width) {
  Type elementType = getElementTypeOrSelf(memref.getType());
  Value loaded = vector::LoadOp::create(
      k, VectorType::get({width}, elementType), memref, indices,
      /*nontemporal=*/false, getAlignment(elementType, width));
  if (elementType.isF32())
    return loaded;
  return arith::ExtFOp::create(k, VectorType::get({width}, k.getF32Type()),
                               loaded);
}

TileSums ProductTileEmitter::loadSums(Value memref) {
  Value rows = memref::DimOp::create(k, memref, 0);
  Value columns = memref::DimOp::create(k, memref, 1);
  int64_t fragmentWidth = multiplier->getFragmentWidth();
  Value zero = k.real(k.getF32Type(), 0.0);
  Type elementType = getElementTypeOrSelf(memref.getType());
  TileSums loaded;
  for (const Fragment &fragment : fragments)
    for (int64_t at = 0; at < fragmentWidth; ++at) {
      Value column = k.add(fragment.column, at);
      Value inside =
          k.both(k.compare(arith::CmpIPredicate::ult, fragment.row, rows),
                 k.compare(arith::CmpIPredicate::ult, column, columns));
      auto choice = scf::IfOp::create(k, TypeRange{k.getF32Type()}, inside,
                                      /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(choice.thenBlock());
      Value value = k.load(memref, {fragment.row, column});
      if (!elementType.isF32())
        value = arith::ExtFOp::create(k, k.getF32Type(), value);
      scf::YieldOp::create(k, value);
      k.setInsertionPointToStart(choice.elseBlock());
      scf::YieldOp::create(k, zero);
      loaded.push_back(choice.getResult(0));
    }
  return loaded;
}

void ProductTileEmitter::storeSums(const TileSums &values, Value memref) {
  Type elementType = getElementTypeOrSelf(memref.getType());
  int64_t width = getWidth({memref});
  auto type = VectorType::get({width}, elementType);
  forEachPiece(memref::DimOp::create(k, memref, 0),
               memref::DimOp::create(k, memref, 1), width,
               [&](int64_t first, Value row, Value column) {
                 Value vector = getVector(ArrayRef(values).slice(first, width));
                 if (!elementType.isF32())
                   vector = arith::TruncFOp::create(k, type, vector);
                 vector::StoreOp::create(
                     k, vector, memref, ValueRange{row, column},
                     /*nontemporal=*/false, getAlignment(elementType, width));
               });
}

/// True if values only live in registers: a buffer that the tile makes.
static bool isOfTile(Value memref) {
  return memref.getDefiningOp<memref::AllocOp>() != nullptr;
}

/// True if the tile's buffers are never larger than a tile.
static bool fitsTile(Value memref) {
  for (int64_t dim : {0, 1}) {
    FailureOr<int64_t> bound = ValueBoundsConstraintSet::computeConstantBound(
        presburger::BoundType::UB, {memref, dim}, /*stopCondition=*/nullptr,
        /*closedUB=*/true);
    if (failed(bound) || *bound > kTileSize)
      return false;
  }
  return true;
}

LogicalResult ProductTileEmitter::emitProduct(const MatrixProduct &product) {
  if (!fitsTile(product.result->get()))
    return product.op->emitOpError("has a tile of more than ")
           << kTileSize << " rows or columns";
  for (OpOperand &operand : product.op->getOpOperands()) {
    auto type = cast<MemRefType>(operand.get().getType());
    bool inMemory = &operand == product.result || !isOfTile(operand.get());
    if (!inMemory || !type.isLastDimUnitStride())
      return failure();
  }
  Value result = product.result->get();
  auto known = sums.find(result);
  TileSums before = known != sums.end() ? known->second : loadSums(result);
  TileSums after = multiplier->multiply(product, before);
  if (!isOfTile(result))
    storeSums(after, result);
  sums[result] = after;
  return success();
}

LogicalResult ProductTileEmitter::emitElementwise(linalg::LinalgOp op) {
  bool contiguous = true;
  FailureOr<SmallVector<VectorOperand>> operands =
      classifyOperands(op, contiguous);
  if (failed(operands) || op.getNumLoops() != 2 ||
      op.getNumParallelLoops() != 2 || op.getNumDpsInits() != 1)
    return failure();
  const VectorOperand &out = operands->back();
  if (!out.map.isIdentity() || isOfTile(out.memref))
    return failure();
  SmallVector<Value> inMemory;
  for (const VectorOperand &operand : *operands) {
    if (sums.contains(operand.memref)) {
      if (!operand.map.isIdentity())
        return failure();
    } else if (operand.access == Access::Vector) {
      inMemory.push_back(operand.memref);
    }
  }
  int64_t width = contiguous && hasVectorPayload(op) ? getWidth(inMemory) : 1;
  Block *payload = op.getBlock();
  Type outType = getElementTypeOrSelf(out.memref.getType());

  forEachPiece(
      memref::DimOp::create(k, out.memref, 0),
      memref::DimOp::create(k, out.memref, 1), width,
      [&](int64_t first, Value row, Value column) {
        IRMapping mapping;
        for (auto [argument, operand] :
             llvm::zip(payload->getArguments(), *operands)) {
          if (argument.use_empty())
            continue;
          auto held = sums.find(operand.memref);
          auto memref = dyn_cast<MemRefType>(operand.memref.getType());
          SmallVector<Value> indices = getIndices(k, operand, {row, column});
          auto type = VectorType::get({width}, argument.getType());
          Value value;
          if (held != sums.end()) {
            ArrayRef<Value> elements =
                ArrayRef(held->second).slice(first, width);
            value = width == 1 ? elements.front() : getVector(elements);
          } else if (width == 1) {
            value = memref ? k.load(operand.memref, indices) : operand.memref;
          } else if (operand.access == Access::Vector) {
            value = vector::LoadOp::create(
                k, type, operand.memref, indices, /*nontemporal=*/false,
                getAlignment(type.getElementType(), width));
          } else {
            value = k.broadcast(type, memref ? k.load(operand.memref, indices)
                                             : operand.memref);
          }
          mapping.map(argument, value);
        }
        if (width == 1) {
          for (Operation &inner : payload->without_terminator())
            k.clone(inner, mapping);
          k.store(
              mapping.lookupOrDefault(payload->getTerminator()->getOperand(0)),
              out.memref, {row, column});
          return;
        }
        Value result =
            clonePayloadOnVectors(k, payload, mapping, width).front();
        vector::StoreOp::create(k, result, out.memref, ValueRange{row, column},
                                /*nontemporal=*/false,
                                getAlignment(outType, width));
      });
  return success();
}

LogicalResult ProductTileEmitter::emitOperation(Operation *op) {
  k.setInsertionPoint(op);
  if (auto fill = dyn_cast<linalg::FillOp>(op)) {
    Value value = fill.value();
    if (!value.getType().isF32())
      value = arith::ExtFOp::create(k, k.getF32Type(), value);
    sums[fill.output()] =
        TileSums(fragments.size() * multiplier->getFragmentWidth(), value);
    return success();
  }
  if (auto copy = dyn_cast<memref::CopyOp>(op)) {
    auto known = sums.find(copy.getSource());
    TileSums values =
        known != sums.end() ? known->second : loadSums(copy.getSource());
    if (!isOfTile(copy.getTarget()))
      storeSums(values, copy.getTarget());
    sums[copy.getTarget()] = values;
    return success();
  }
  if (std::optional<MatrixProduct> product = matchMatrixProduct(op))
    return emitProduct(*product);
  if (auto generic = dyn_cast<linalg::LinalgOp>(op))
    return emitElementwise(generic);
  return failure();
}

LogicalResult ProductTileEmitter::emit() {
  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (!isa<linalg::LinalgOp, memref::CopyOp>(op))
      continue;
    if (failed(emitOperation(&op)))
      return op.emitOpError("has no GPU lowering with these operands");
    op.erase();
  }
  for (auto alloc :
       llvm::make_early_inc_range(body.getOps<memref::AllocOp>())) {
    for (Operation *user : llvm::make_early_inc_range(alloc->getUsers())) {
      if (!isa<memref::DeallocOp>(user))
        return user->emitOpError("cannot use a buffer in registers");
      user->erase();
    }
    alloc.erase();
  }
  return success();
}

LogicalResult mlir::omnimoe::emitProductTile(KernelBuilder &k,
                                             gpu::LaunchOp launch) {
  bool tensorCores = true;
  for (Operation &op : launch.getBody().front())
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op))
      tensorCores &= suitsTensorCores(*product);
  auto multiplier = tensorCores ? createTensorCoreMultiplier(k, launch)
                                : createFMAMultiplier(k, launch);
  return ProductTileEmitter(k, launch, std::move(multiplier)).emit();
}
