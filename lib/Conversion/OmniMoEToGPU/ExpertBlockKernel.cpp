//===- ExpertBlockKernel.cpp - Products, coefficients and sums in one -----===//
//
// The frame of the kernel: what its warps share, and its launch.
//
//===----------------------------------------------------------------------===//

#include "ExpertBlockKernel.h"

#include "BlockEmitter.h"
#include "ClusterParts.h"
#include "DevicePointer.h"
#include "ThreadTeam.h"
#include "Utils/GroupLines.h"

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
    columns = depth / products;
    rows = block.getLayout().isByLines() ? depth / block.getClusterBlocks()
                                         : columns;
  }
}

ExpertBlockKernel::ExpertBlockKernel(
    KernelBuilder &k, FusedBlock block, const SlotTiles &slotTiles,
    const TileVectors &vectors, gpu::LaunchOp launch, ArrayRef<TableMap> upMaps,
    TableMap downMap, Value cachePolicy, int64_t stages)
    : k(k), block(block), slotTiles(slotTiles), vectors(vectors),
      upMaps(upMaps), downMap(downMap), cachePolicy(cachePolicy),
      stages(stages), steps(block.products.getHiddenSize() / kBlockDepth),
      elementType(getElementTypeOrSelf(block.products.getX().getType())),
      ring(k, launch, stages, block.getClusterBlocks()),
      queue(k, launch, slotTiles.taken, block.getClusterBlocks()),
      clusterBlocks(block.getClusterBlocks()) {
  thread = k.toI32(launch.getThreadIds().x);
  if (clusterBlocks > 1)
    blockOfCluster = k.toI32(launch.getBlockIds().z);
  firstTile = getTileOf(k.toI32(launch.getBlockIds().x));
  lane = k.both(thread, k.i32(kWarp - 1));
  isFirstLane = k.compare(CmpIPredicate::eq, lane, k.i32(0));
  warp = getUniformWarp(k, thread);
  group = arith::ShRUIOp::create(k, warp, k.i32(2));
  consumer = k.sub(group, 1);
  stageBase = getAlignedSharedMemory(k, kStageAlignment);
}

Value ExpertBlockKernel::isTile(Value index) {
  return k.compare(CmpIPredicate::slt, index, tileCount);
}

/// The tile of this block among those of the cluster that were taken.
Value ExpertBlockKernel::getTileOf(Value number) {
  return blockOfCluster ? k.add(k.mul(number, clusterBlocks), blockOfCluster)
                        : number;
}

/// A line has few slots: consumers share them evenly.
Value ExpertBlockKernel::getSplit(const RowTile &tile) {
  return getEvenSplit(k, k.sub(tile.last, tile.first));
}

/// Says that this warp has read the stage.
void ExpertBlockKernel::release(Value stage) {
  if (blockOfCluster)
    ring.releaseToCluster(stage, lane);
  else
    ring.release(stage, isFirstLane);
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
  RowTile tile{field(0), field(1), field(2)};
  if (block.isWide()) {
    tile.firstVector = k.mul(part, vectors.depth);
    return tile;
  }
  GroupLine line(k, block.getLayout(), tile.group);
  tile.firstVector = line.first;
  tile.line = line.line;
  tile.isRow = line.isRow;
  return tile;
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
    SmallVector<TableMap> maps(upMaps);
    maps.push_back(downMap);
    for (TableMap map : maps) {
      prefetchTensorMap(k, map.rows);
      if (map.columns)
        prefetchTensorMap(k, map.columns);
    }
  });
  if (blockOfCluster)
    meetInCluster(k);
  else
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
  // What the others of the cluster say to this block must find it there.
  if (blockOfCluster)
    meetInCluster(k);
}

static TableMap createTableMap(KernelBuilder &k, FusedBlock block, Value table,
                               int64_t rows) {
  GroupLayout layout = block.getLayout();
  if (!layout.isByLines())
    return {createTensorMap(k, table, rows), Value()};
  auto create = [&](bool ofColumns) {
    return createLineTensorMap(k, table, layout.gridColumns, ofColumns, rows);
  };
  return {create(false), create(true)};
}

/// The pointers by which a kernel knows the maps.
static TableMap getPointers(KernelBuilder &k, TableMap map) {
  return {getTensorMapPointer(k, map.rows),
          map.columns ? getTensorMapPointer(k, map.columns) : Value()};
}

void mlir::omnimoe::emitExpertBlock(KernelBuilder &k, FusedBlock block,
                                    const SlotTiles &tiles, TargetAttr target,
                                    StringRef name) {
  TileVectors vectors(block, target.getUnits());
  // Barriers and alignment take a little.
  int64_t stages =
      std::min(kMaxStages, (target.getL1Bytes() - 2 * kStageAlignment) /
                               vectors.getStageBytes());
  // Of clusters, if there are any.
  int64_t clusterBlocks = block.getClusterBlocks();
  Value blocks =
      k.min(arith::CeilDivUIOp::create(k, k.mul(tiles.bound, vectors.tiles),
                                       k.index(clusterBlocks)),
            k.index(target.getUnits() / clusterBlocks));
  k.when(k.compare(CmpIPredicate::ugt, blocks, k.index(0)), [&] {
    SmallVector<TableMap> upMaps;
    for (GroupedMatmulOp matmul : block.matmuls)
      upMaps.push_back(
          createTableMap(k, block, matmul.getWeights(), vectors.rows));
    TableMap downMap =
        createTableMap(k, block, block.sum.getVectors(), vectors.rows);
    // Where an expert has hardly more than a tile, or a line than a cluster's,
    // nobody else reads its vectors: the tokens' sums should stay in the cache
    // instead. (There are no more tiles than full ones and one, or a cluster's,
    // for each group.)
    Value cachePolicy;
    if (block.getLayout().isByLines())
      cachePolicy = getCachePolicy(k, k.integer(k.getI1Type(), 1));
    else if (block.isWide())
      cachePolicy =
          getCachePolicy(k, k.compare(CmpIPredicate::ule, tiles.bound,
                                      k.index(2 * block.getNumGroups())));
    int64_t bytes = kStageAlignment + stages * vectors.getStageBytes();
    auto emitLaunch = [&](const SumLimits *limits, Value attempt) {
      Value one = k.index(1);
      auto launch = gpu::LaunchOp::create(
          k, blocks, one, k.index(clusterBlocks), k.index(kExpertBlockThreads),
          one, one, k.i32(bytes));
      launch.setModuleAttr(
          FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
      launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(&launch.getBody().front());
      SmallVector<TableMap> upPointers;
      for (TableMap map : upMaps)
        upPointers.push_back(getPointers(k, map));
      ExpertBlockKernel(k, block, tiles, vectors, launch, upPointers,
                        getPointers(k, downMap), cachePolicy, stages)
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
