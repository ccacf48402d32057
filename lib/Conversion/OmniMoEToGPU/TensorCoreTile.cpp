//===- TensorCoreTile.cpp - Tiles of products by mma.sync -----------------===//
//
// Four warps, each with a quarter of the tile. The operands' tiles stream
// through a ring of stages in shared memory, filled by asynchronous copies two
// and more steps ahead of the warp-wide m16n8k16 products. Rows in shared
// memory are padded by 16 bytes, so that the eight rows that ldmatrix reads at
// a time lie in different banks.
//
// Large tiles have small rings, so that several blocks share a multiprocessor.
// Smaller tiles belong to products with few of them, about one for each
// multiprocessor: their rings are as deep as the latency of memory asks for.
// Where there are even fewer, the blocks of a cluster share the sums of a tile.
//
//===----------------------------------------------------------------------===//

#include "ClusterParts.h"
#include "DevicePointer.h"
#include "ProductTile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Elements of padding of a row in shared memory.
static constexpr int64_t kPadding = 8;
static constexpr int64_t kElementBytes = 2;
/// Stages of a deep ring, at most, and the shared memory that they may take:
/// two blocks share a multiprocessor.
static constexpr int64_t kMostStages = 8, kRingBytes = 96 * 1024;
/// Where there are two products, at least three stages, and a block may have a
/// multiprocessor for itself.
static constexpr int64_t kLeastStages = 3, kRowRingBytes = 128 * 1024;
/// What a warp-wide product makes of `kProductDepth` elements of the sum.
static constexpr int64_t kProductRows = 16, kProductColumns = 8;
static constexpr int64_t kProductDepth = 16;
static constexpr int64_t kWarpLanes = 32, kWarps = kTileThreads / kWarpLanes;

namespace {
/// How the ring and the warps are laid out for a tile.
struct TileLayout {
  TileLayout(ProductTile tile, int64_t products, bool hasBuffers);

  /// Elements of one operand in a stage, stored either way around.
  int64_t getStageElements(bool isLeft) const {
    int64_t size = isLeft ? tile.rows : tile.columns;
    return std::max(size * (depth + kPadding), depth * (size + kPadding));
  }
  int64_t getRingElements() const {
    return stages *
           (getStageElements(true) + products * getStageElements(false));
  }

  ProductTile tile;
  int64_t products; ///< of the same rows, each with such a tile
  int64_t threads;
  int64_t shares; ///< of a stage's depth, each of as many warps
  bool deep;
  int64_t depth;                 ///< elements of the summed loop in a stage
  int64_t stages;                ///< in the ring
  int64_t warpRows, warpColumns; ///< of the part of a warp
};

/// One operand in the ring: where its stages lie, and where a lane reads.
struct StagedOperand {
  StoredOperand stored;
  Value pointer;    ///< to the operand's first element in memory
  Value stride;     ///< elements from row to row
  Value ring;       ///< pointer to the first stage in shared memory
  Value laneOffset; ///< of the row that the lane gives to ldmatrix
  int64_t pitch;    ///< elements from row to row in shared memory
  bool isLeft;
};

class TensorCoreMultiplier : public TileMultiplier, public RowMultiplier {
public:
  TensorCoreMultiplier(KernelBuilder &k, gpu::LaunchOp launch, ProductTile tile,
                       int64_t parts, int64_t products,
                       bool hasBuffers = false);

  int64_t getFragmentWidth() const override { return 2; }
  SmallVector<Fragment> getFragments() override;
  TileSums multiply(const MatrixProduct &product, TileSums sums) override;
  RowShares multiplyBoth(ArrayRef<MatrixProduct> products) override;

private:
  void emitPositions();
  StagedOperand stage(OpOperand *operand, bool transposed, bool isLeft,
                      int64_t number = 0);
  TileSums multiplyAll(ArrayRef<MatrixProduct> products, TileSums sums);
  void load(const StagedOperand &operand, Value stage, Value summed,
            Value isOwn);
  SmallVector<Value> loadFragments(const StagedOperand &operand, Value stage,
                                   int64_t along, int64_t depth);
  TileSums multiplyStage(const StagedOperand &left, const StagedOperand &right,
                         Value stage, ValueRange sums);

  TileSums addAllParts(ValueRange own);

  TileLayout layout;
  int64_t parts; ///< of the summed loop, one for each block of a cluster
  Value part;
  Value shared; ///< pointer to the ring
  Value lane, warpRow, warpColumn, warpProduct;
  Value warpShare; ///< null if a warp has a stage's whole depth
};
} // namespace

/// Warps lie side by side along the columns, as far as there are 16 for each,
/// and two by two in a large tile. Where there are two products, a warp has
/// whole rows of one of them, and two warps share the depth: one alone would
/// mostly wait for its own last instruction.
TileLayout::TileLayout(ProductTile tile, int64_t products, bool hasBuffers)
    : tile(tile), products(products),
      threads(products > 1 ? kRowTileThreads : kTileThreads),
      shares(threads / kTileThreads),
      deep(products > 1 || hasBuffers || tile.rows != kTileSize ||
           tile.columns != kTileSize),
      depth(deep ? 64 : 32), stages(4) {
  if (deep)
    stages = std::clamp((products > 1 ? kRowRingBytes : kRingBytes) /
                            kElementBytes / (getRingElements() / stages),
                        kLeastStages, kMostStages);
  int64_t across = std::min(deep ? kWarps : 2, tile.columns / kProductRows);
  if (products > 1)
    across = 1;
  warpColumns = tile.columns / across;
  warpRows = tile.rows / (kWarps / products / across);
}

TensorCoreMultiplier::TensorCoreMultiplier(KernelBuilder &k,
                                           gpu::LaunchOp launch,
                                           ProductTile tile, int64_t parts,
                                           int64_t products, bool hasBuffers)
    : TileMultiplier(k, launch.getThreadIds().x),
      layout(tile, products, hasBuffers), parts(parts),
      part(launch.getBlockIds().z) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  int64_t elements = layout.getRingElements();
  if (!layout.deep) {
    // Both short types have two bytes.
    auto type = MemRefType::get({elements}, k.getI16Type(),
                                MemRefLayoutAttrInterface(), space);
    shared = getPointer(k, launch.addWorkgroupAttribution(type, k.getLoc()),
                        kSharedSpace);
    return;
  }
  {
    OpBuilder::InsertionGuard guard(k);
    k.setInsertionPoint(launch);
    // The products of a block use the same memory.
    int64_t bytes = elements * kElementBytes;
    if (Value others = launch.getDynamicSharedMemorySize())
      bytes = std::max(bytes, *getConstantIntValue(others));
    launch.getDynamicSharedMemorySizeMutable().assign(k.i32(bytes));
  }
  shared = getPointer(k, getDynamicSharedMemory(k), kSharedSpace);
}

void TensorCoreMultiplier::emitPositions() {
  if (lane)
    return;
  Value warp = arith::DivUIOp::create(k, threadId, k.index(kWarpLanes));
  lane = arith::RemUIOp::create(k, threadId, k.index(kWarpLanes));
  if (layout.shares > 1) {
    warpShare = arith::DivUIOp::create(k, warp, k.index(kWarps));
    warp = arith::RemUIOp::create(k, warp, k.index(kWarps));
  }
  Value ofProduct = k.index(kWarps / layout.products);
  warpProduct = arith::DivUIOp::create(k, warp, ofProduct);
  warp = arith::RemUIOp::create(k, warp, ofProduct);
  Value perRow = k.index(layout.tile.columns / layout.warpColumns);
  warpRow = k.mul(arith::DivUIOp::create(k, warp, perRow), layout.warpRows);
  warpColumn =
      k.mul(arith::RemUIOp::create(k, warp, perRow), layout.warpColumns);
}

/// The order is that of the products' results: for each 16 x 8 product two
/// columns of a row, and the same columns eight rows below.
SmallVector<Fragment> TensorCoreMultiplier::getFragments() {
  emitPositions();
  Value row = k.add(warpRow, arith::DivUIOp::create(k, lane, k.index(4)));
  Value column =
      k.add(warpColumn, k.mul(arith::RemUIOp::create(k, lane, k.index(4)), 2));
  SmallVector<Fragment> fragments;
  for (int64_t i = 0; i < layout.warpRows; i += kProductRows)
    for (int64_t j = 0; j < layout.warpColumns; j += kProductColumns)
      for (int64_t half : {0, 8})
        fragments.push_back({k.add(row, i + half), k.add(column, j)});
  if (parts > 1) {
    // One block of a cluster stores: to the others, no row is inside.
    Value stores = k.compare(arith::CmpIPredicate::eq, part, k.index(0));
    Value outside = k.index(std::numeric_limits<int32_t>::max());
    for (Fragment &fragment : fragments)
      fragment.row = k.choose(stores, fragment.row, outside);
  }
  return fragments;
}

/// The operand of product `number`; the left one is of all.
StagedOperand TensorCoreMultiplier::stage(OpOperand *operand, bool transposed,
                                          bool isLeft, int64_t number) {
  StagedOperand staged;
  staged.stored =
      getStoredOperand(k, operand->get(), transposed, /*accessBytes=*/16);
  staged.pointer = getPointer(k, operand->get(), kGlobalSpace);
  staged.stride = memref::ExtractStridedMetadataOp::create(k, operand->get())
                      .getStrides()
                      .front();
  staged.isLeft = isLeft;
  int64_t before = isLeft ? 0
                          : layout.getStageElements(true) +
                                number * layout.getStageElements(false);
  staged.ring =
      movePointer(k, shared, k.getI16Type(), k.index(layout.stages * before));
  int64_t size = isLeft ? layout.tile.rows : layout.tile.columns;
  staged.pitch = (transposed ? size : layout.depth) + kPadding;
  // ldmatrix takes the addresses of the rows of four 8 x 8 matrices from lanes
  // 0-7, 8-15 and so on. Matrices 1 and 2 change places between the sides.
  Value inMatrix = arith::RemUIOp::create(k, lane, k.index(8));
  Value matrix = arith::DivUIOp::create(k, lane, k.index(8));
  Value low = k.mul(arith::RemUIOp::create(k, matrix, k.index(2)), 8);
  Value high = k.mul(arith::DivUIOp::create(k, matrix, k.index(2)), 8);
  bool rowsFirst = isLeft != transposed;
  Value row = k.add(inMatrix, rowsFirst ? low : high);
  Value column = rowsFirst ? high : low;
  Value position = isLeft ? warpRow : warpColumn;
  (transposed ? column : row) = k.add(transposed ? column : row, position);
  if (warpShare) {
    Value &along = transposed ? row : column;
    along = k.add(along, k.mul(warpShare, layout.depth / layout.shares));
  }
  staged.laneOffset = k.add(k.mul(row, staged.pitch), column);
  return staged;
}

/// Copies the operand's tile at `summed` to `stage`, with zeros where it ends,
/// or where it is another block's.
void TensorCoreMultiplier::load(const StagedOperand &operand, Value stage,
                                Value summed, Value isOwn) {
  const StoredOperand &stored = operand.stored;
  int64_t bytes = stored.elements * kElementBytes;
  int64_t size = operand.isLeft ? layout.tile.rows : layout.tile.columns;
  Value target = k.mul(stage, layout.getStageElements(operand.isLeft));
  for (TilePiece &piece : getTilePieces(k, threadId, stored, size, layout.depth,
                                        summed, layout.threads)) {
    if (isOwn)
      piece.valid = k.both(piece.valid, isOwn);
    Value offset =
        k.add(target, k.add(k.mul(piece.row, operand.pitch), piece.column));
    Value destination = movePointer(k, operand.ring, k.getI16Type(), offset);
    Value from = k.add(k.mul(piece.outer, operand.stride), piece.inner);
    if (bytes >= 4) {
      // Nothing is read where the size is zero.
      Value source = movePointer(k, operand.pointer, k.getI16Type(),
                                 k.choose(piece.valid, from, k.index(0)));
      NVVM::CpAsyncOp::create(k, destination, source, bytes,
                              bytes == 16 ? NVVM::LoadCacheModifierKind::CG
                                          : NVVM::LoadCacheModifierKind::CA,
                              k.choose(piece.valid, k.i32(bytes), k.i32(0)));
      continue;
    }
    Type type = k.getI16Type();
    auto choice = scf::IfOp::create(k, TypeRange{type}, piece.valid,
                                    /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(choice.thenBlock());
      Value source = movePointer(k, operand.pointer, type, from);
      scf::YieldOp::create(k,
                           LLVM::LoadOp::create(k, type, source)->getResult(0));
      k.setInsertionPointToStart(choice.elseBlock());
      scf::YieldOp::create(k, k.integer(type, 0));
    }
    LLVM::StoreOp::create(k, choice.getResult(0), destination);
  }
}

/// The four registers that ldmatrix loads for the 16 rows (of a left operand)
/// or columns at `along` of the warp's part and the 16 elements at `depth`.
SmallVector<Value>
TensorCoreMultiplier::loadFragments(const StagedOperand &operand, Value stage,
                                    int64_t along, int64_t depth) {
  bool transposed = operand.stored.transposed;
  int64_t position = transposed ? depth * operand.pitch + along
                                : along * operand.pitch + depth;
  Value offset = k.add(k.mul(stage, layout.getStageElements(operand.isLeft)),
                       k.add(operand.laneOffset, position));
  Value pointer = movePointer(k, operand.ring, k.getI16Type(), offset);
  auto type = LLVM::LLVMStructType::getLiteral(
      k.getContext(), SmallVector<Type>(4, k.getI32Type()));
  Value loaded = NVVM::LdMatrixOp::create(
      k, type, pointer, 4,
      transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
      NVVM::LdStMatrixShapeAttr::get(k.getContext(), 8, 8),
      NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> registers;
  for (int64_t i = 0; i < 4; ++i) {
    Value value = LLVM::ExtractValueOp::create(k, loaded, i);
    if (operand.stored.elementType.isF16())
      value = LLVM::BitcastOp::create(k, VectorType::get({2}, k.getF16Type()),
                                      value);
    registers.push_back(value);
  }
  return registers;
}

TileSums TensorCoreMultiplier::multiplyStage(const StagedOperand &left,
                                             const StagedOperand &right,
                                             Value stage, ValueRange before) {
  TileSums sums = llvm::to_vector(before);
  auto resultType = LLVM::LLVMStructType::getLiteral(
      k.getContext(), SmallVector<Type>(4, k.getF32Type()));
  NVVM::MMATypes type = left.stored.elementType.isF16() ? NVVM::MMATypes::f16
                                                        : NVVM::MMATypes::bf16;
  for (int64_t depth = 0; depth < layout.depth / layout.shares;
       depth += kProductDepth) {
    SmallVector<SmallVector<Value>> lefts, rights;
    for (int64_t i = 0; i < layout.warpRows; i += kProductRows)
      lefts.push_back(loadFragments(left, stage, i, depth));
    for (int64_t j = 0; j < layout.warpColumns; j += 2 * kProductColumns)
      rights.push_back(loadFragments(right, stage, j, depth));
    size_t at = 0;
    for (const SmallVector<Value> &a : lefts)
      for (int64_t j = 0; j < layout.warpColumns / kProductColumns; ++j) {
        ValueRange b = ArrayRef(rights[j / 2]).slice(j % 2 * 2, 2);
        Value product = NVVM::MmaOp::create(
            k, resultType, a, b, ArrayRef(sums).slice(at, 4),
            ArrayRef<int64_t>{kProductRows, kProductColumns, kProductDepth},
            std::nullopt, std::nullopt, std::array{type, type},
            std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
        for (int64_t i = 0; i < 4; ++i)
          sums[at++] = LLVM::ExtractValueOp::create(k, product, i);
      }
  }
  return sums;
}

TileSums TensorCoreMultiplier::multiply(const MatrixProduct &product,
                                        TileSums sums) {
  if (parts == 1)
    return multiplyAll(product, std::move(sums));
  TileSums all = addAllParts(
      multiplyAll(product, TileSums(sums.size(), k.real(k.getF32Type(), 0.0))));
  for (auto [sum, start] : llvm::zip(all, sums))
    sum = arith::AddFOp::create(k, start, sum);
  return all;
}

RowShares TensorCoreMultiplier::multiplyBoth(ArrayRef<MatrixProduct> products) {
  emitPositions();
  int64_t blocks = layout.warpRows / kProductRows;
  int64_t columns = layout.warpColumns / kProductColumns;
  TileSums sums = multiplyAll(
      products, TileSums(4 * blocks * columns, k.real(k.getF32Type(), 0.0)));
  RowShares shares;
  shares.rows.resize(2 * blocks);
  for (auto [number, sum] : llvm::enumerate(sums))
    shares.rows[number / (4 * columns) * 2 + number / 2 % 2].push_back(sum);
  shares.firstRow = k.add(warpRow, arith::DivUIOp::create(k, lane, k.index(4)));
  shares.firstColumn = k.mul(arith::RemUIOp::create(k, lane, k.index(4)), 2);
  shares.product = warpProduct;
  shares.share = warpShare;
  shares.thread = arith::RemUIOp::create(k, threadId, k.index(kTileThreads));
  shares.buffer = shared;
  return shares;
}

/// `sums` plus the block's part of the product of the thread's warp, or the
/// warp's share of that.
TileSums TensorCoreMultiplier::multiplyAll(ArrayRef<MatrixProduct> products,
                                           TileSums sums) {
  emitPositions();
  const MatrixProduct &product = products.front();
  StagedOperand left = stage(product.left, product.leftTransposed, true);
  SmallVector<StagedOperand> rights;
  for (auto [number, each] : llvm::enumerate(products))
    rights.push_back(stage(each.right, each.rightTransposed, false, number));
  // Where the warp reads.
  StagedOperand right = rights.front();
  if (rights.size() > 1)
    right.ring = movePointer(
        k, right.ring, k.getI16Type(),
        k.mul(warpProduct, layout.stages * layout.getStageElements(false)));
  Value length = product.leftTransposed ? left.stored.outer : left.stored.inner;
  Value steps = arith::CeilDivUIOp::create(k, length, k.index(layout.depth));
  Value first = k.index(0);
  if (parts > 1) {
    Value most = arith::CeilDivUIOp::create(k, steps, k.index(parts));
    first = k.min(k.mul(part, most), steps);
    steps = k.min(k.sub(steps, first), most);
  }
  auto loadStep = [&](Value step) {
    Value stage = arith::RemUIOp::create(k, step, k.index(layout.stages));
    Value summed = k.mul(k.add(first, step), layout.depth);
    Value isOwn;
    if (parts > 1)
      isOwn = k.compare(arith::CmpIPredicate::ult, step, steps);
    load(left, stage, summed, isOwn);
    for (const StagedOperand &operand : rights)
      load(operand, stage, summed, isOwn);
    NVVM::CpAsyncCommitGroupOp::create(k);
  };
  for (int64_t step = 0; step < layout.stages - 1; ++step)
    loadStep(k.index(step));
  sums = llvm::to_vector_of<Value>(
      k.loop(k.index(0), steps, 1, sums, [&](Value step, ValueRange carried) {
        NVVM::CpAsyncWaitGroupOp::create(k, layout.stages - 2);
        // The stage has arrived for all, and all have read the one before it,
        // which is the next to be filled.
        gpu::BarrierOp::create(k);
        loadStep(k.add(step, layout.stages - 1));
        return multiplyStage(
            left, right,
            arith::RemUIOp::create(k, step, k.index(layout.stages)), carried);
      }));
  // Another product may use the ring.
  NVVM::CpAsyncWaitGroupOp::create(k, 0);
  gpu::BarrierOp::create(k);
  return sums;
}

/// The sums of all parts in the first block; the others have no use for them.
TileSums TensorCoreMultiplier::addAllParts(ValueRange own) {
  Value thread = arith::IndexCastOp::create(k, k.getI32Type(), threadId);
  storePart(k, own, shared, thread, kTileThreads);
  meetInCluster(k);
  Value isFirst = k.compare(arith::CmpIPredicate::eq, part, k.index(0));
  auto choice = scf::IfOp::create(
      k, SmallVector<Type>(own.size(), k.getF32Type()), isFirst,
      /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard guard(k);
    k.setInsertionPointToStart(choice.thenBlock());
    scf::YieldOp::create(k, addParts(k, shared, thread, kTileThreads, parts,
                                     k.i32(0), own.size()));
    k.setInsertionPointToStart(choice.elseBlock());
    scf::YieldOp::create(k, own);
  }
  // Nothing is overwritten, and no block ends, before all has been read.
  meetInCluster(k);
  return llvm::to_vector_of<Value>(choice.getResults());
}

std::unique_ptr<TileMultiplier> mlir::omnimoe::createTensorCoreMultiplier(
    KernelBuilder &k, gpu::LaunchOp launch, ProductTile tile, int64_t parts,
    bool hasBuffers) {
  return std::make_unique<TensorCoreMultiplier>(k, launch, tile, parts,
                                                /*products=*/1, hasBuffers);
}

std::unique_ptr<RowMultiplier>
mlir::omnimoe::createRowMultiplier(KernelBuilder &k, gpu::LaunchOp launch,
                                   ProductTile tile, int64_t parts) {
  return std::make_unique<TensorCoreMultiplier>(k, launch, tile, parts,
                                                /*products=*/2);
}
