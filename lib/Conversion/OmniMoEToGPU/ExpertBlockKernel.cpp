//===- ExpertBlockKernel.cpp - Products, coefficients and sums in one -----===//
//
// The frame of the kernel: what its warps share, and its launch.
//
//===----------------------------------------------------------------------===//

#include "ExpertBlockKernel.h"

#include "BlockEmitter.h"
#include "DevicePointer.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kMaxStages = 6;
static constexpr int64_t kProducerRegisters = 24, kConsumerRegisters = 240;

TileVectors::TileVectors(FusedBlock block, int64_t units) {
  if (block.isWide()) {
    // The tables' vectors lie side by side, and make one product.
    int64_t tables = block.matmuls.size();
    ExpertCut cut = cutExpert(block.products.getExpertWidth(), tables,
                              block.getNumGroups(), units);
    tiles = cut.tiles;
    passes = cut.passes;
    rows = cut.vectors;
    products = 1;
    columns = tables * rows;
    depth = passes * rows;
  } else {
    tiles = passes = 1;
    products = block.getParts();
    depth = block.getColumns();
    columns = rows = depth / products;
  }
}

ExpertBlockKernel::ExpertBlockKernel(KernelBuilder &k, FusedBlock block,
                                     const SlotTiles &slotTiles,
                                     const TileVectors &vectors,
                                     gpu::LaunchOp launch,
                                     ArrayRef<Value> upMaps, Value downMap,
                                     Value cachePolicy, int64_t stages)
    : k(k), block(block), slotTiles(slotTiles), vectors(vectors),
      upMaps(upMaps), downMap(downMap), cachePolicy(cachePolicy),
      stages(stages), steps(block.products.getHiddenSize() / kBlockDepth),
      elementType(getElementTypeOrSelf(block.products.getX().getType())),
      ring(k, launch, stages), queue(k, launch, slotTiles.taken) {
  thread = k.toI32(launch.getThreadIds().x);
  firstTile = k.toI32(launch.getBlockIds().x);
  lane = k.both(thread, k.i32(kWarp - 1));
  isFirstLane = k.compare(CmpIPredicate::eq, lane, k.i32(0));
  // The same for all lanes, and known to be.
  Value ownWarp = arith::ShRUIOp::create(k, thread, k.i32(5));
  warp = NVVM::ShflOp::create(k, k.getI32Type(), k.i32(-1), ownWarp, k.i32(0),
                              k.i32(31), NVVM::ShflKind::idx, UnitAttr());
  group = arith::ShRUIOp::create(k, warp, k.i32(2));
  consumer = k.sub(group, 1);
  stageBase = getAlignedSharedMemory(k, kStageAlignment);
}

Value ExpertBlockKernel::isTile(Value index) {
  return k.compare(CmpIPredicate::slt, index, tileCount);
}

Value ExpertBlockKernel::getKnown(Value index) {
  return k.min(index, k.sub(tileCount, 1));
}

/// The tile, or the last one if there are no more. Those that share an expert's
/// vectors follow each other, so that its tokens stay in the cache.
RowTile ExpertBlockKernel::loadTile(Value index) {
  Value known = getKnown(index), part = k.i32(0);
  if (vectors.tiles > 1) {
    Value tiles = k.i32(vectors.tiles);
    part = arith::RemUIOp::create(k, known, tiles);
    known = arith::DivUIOp::create(k, known, tiles);
  }
  auto field = [&](int64_t i) {
    return k.load(slotTiles.tiles, {k.toIndex(known), k.index(i)});
  };
  Value group = field(0);
  return {group, field(1), field(2),
          block.isWide() ? k.mul(part, vectors.depth)
                         : k.mul(group, block.getGroupSize())};
}

/// The token of a slot, or of a sorted pair.
Value ExpertBlockKernel::loadToken(Value row) {
  if (!block.isWide())
    return k.load(block.getTokens(), k.toIndex(row));
  Value pair = k.load(block.getPairs(), k.toIndex(row));
  return arith::DivUIOp::create(k, pair, k.i32(block.products.getTopK()));
}

Value ExpertBlockKernel::getStage(Value stage) {
  return movePointer(k, stageBase, k.getI8Type(),
                     k.mul(stage, vectors.getStageBytes()));
}

void ExpertBlockKernel::emit(const SumLimits *newLimits, Value attempt) {
  limits = newLimits;
  k.when(k.compare(CmpIPredicate::eq, thread, k.i32(0)), [&] {
    // The threads of the producer, and the bytes that the hardware copies.
    ring.emitInit(kConsumers * kWarpsOfGroup, kWarpsOfGroup * kWarp + 1);
    queue.emitInit(kExpertBlockThreads / kWarp);
    for (Value map : upMaps)
      prefetchTensorMap(k, map);
    prefetchTensorMap(k, downMap);
  });
  gpu::BarrierOp::create(k);
  tileCount = k.mul(k.load(slotTiles.count, k.index(0)), vectors.tiles);
  if (limits)
    tileCount = k.mul(tileCount, k.load(limits->isUsed, attempt));
  // A block without a tile looks at none.
  Value hasTile = isTile(firstTile);
  k.when(
      k.compare(CmpIPredicate::eq, group, k.i32(0)),
      [&] {
        NVVM::SetMaxRegisterOp::create(k, kProducerRegisters,
                                       NVVM::SetMaxRegisterAction::decrease);
        k.when(hasTile, [&] { emitProducer(); });
      },
      [&] {
        NVVM::SetMaxRegisterOp::create(k, kConsumerRegisters,
                                       NVVM::SetMaxRegisterAction::increase);
        k.when(hasTile, [&] { emitConsumer(); });
      });
}

void mlir::omnimoe::emitExpertBlock(KernelBuilder &k, FusedBlock block,
                                    const SlotTiles &tiles, TargetAttr target,
                                    StringRef name) {
  TileVectors vectors(block, target.getUnits());
  // Barriers and alignment take a little.
  int64_t stages =
      std::min(kMaxStages, (target.getL1Bytes() - 2 * kStageAlignment) /
                               vectors.getStageBytes());
  Value blocks =
      k.min(k.mul(tiles.bound, vectors.tiles), k.index(target.getUnits()));
  k.when(k.compare(CmpIPredicate::ugt, blocks, k.index(0)), [&] {
    SmallVector<Value> upMaps;
    for (GroupedMatmulOp matmul : block.matmuls)
      upMaps.push_back(createTensorMap(k, matmul.getWeights(), vectors.rows));
    Value downMap = createTensorMap(k, block.sum.getVectors(), vectors.rows);
    // Where an expert has hardly more than a tile, nobody else reads its
    // vectors: the tokens' sums should stay in the cache instead. (There are no
    // more tiles than full ones and one for each group.)
    Value cachePolicy;
    if (block.isWide())
      cachePolicy =
          getCachePolicy(k, k.compare(CmpIPredicate::ule, tiles.bound,
                                      k.index(2 * block.getNumGroups())));
    int64_t bytes = kStageAlignment + stages * vectors.getStageBytes();
    auto emitLaunch = [&](const SumLimits *limits, Value attempt) {
      Value one = k.index(1);
      auto launch = gpu::LaunchOp::create(k, blocks, one, one,
                                          k.index(kExpertBlockThreads), one,
                                          one, k.i32(bytes));
      launch.setModuleAttr(
          FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
      launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(&launch.getBody().front());
      SmallVector<Value> upPointers;
      for (Value map : upMaps)
        upPointers.push_back(getTensorMapPointer(k, map));
      ExpertBlockKernel(k, block, tiles, vectors, launch, upPointers,
                        getTensorMapPointer(k, downMap), cachePolicy, stages)
          .emit(limits, attempt);
      k.setInsertionPointToEnd(&launch.getBody().front());
      gpu::TerminatorOp::create(k);
    };
    if (!block.isExact())
      return emitLaunch(nullptr, Value());
    // Nothing waits for the device to say whether the second time is needed:
    // where it is not, there are no tiles then.
    SumLimits limits = emitSumLimits(k, block, (name + "_limits").str());
    k.loop(k.index(0), k.index(kSumAttempts), 1, [&](Value attempt) {
      k.when(k.compare(CmpIPredicate::ne, attempt, k.index(0)), [&] {
        emitNewLimits(k, block, limits, tiles, (name + "_new_limits").str());
      });
      emitLaunch(&limits, attempt);
    });
  });
}
