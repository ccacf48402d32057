//===- BlockEmitter.cpp - Operations computed by one thread block ---------===//

#include "BlockEmitter.h"
#include "Route.h"
#include "TileEpilogue.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"
#include "omnimoe/Conversion/Passes.h"

using namespace mlir;
using namespace mlir::omnimoe;

Value BlockEmitter::fromLane(Value value, Value lane) {
  return gpu::ShuffleOp::create(k, value, k.toI32(lane), k.i32(kWarp),
                                gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

void mlir::omnimoe::keepRegisters(KernelBuilder &k) {
  k.getInsertionBlock()->getParentOp()->setAttr(kKeepsRegistersAttrName,
                                                k.getUnitAttr());
}

void BlockEmitter::barrier() { gpu::BarrierOp::create(k); }

void BlockEmitter::foldZeroFills(Block &body) {
  auto fold = [&](Operation *op, Value out) {
    // The last operation before that touches the destination.
    Operation *before = op->getPrevNode();
    while (before && !llvm::is_contained(before->getOperands(), out))
      before = before->getPrevNode();
    auto fill = dyn_cast_or_null<linalg::FillOp>(before);
    if (!fill || !isZeroFloat(OpFoldResult(fill.value())))
      return;
    startsAtZero.insert(op);
    fill->erase();
  };
  for (auto combine : body.getOps<CombineOp>())
    fold(combine, combine.getOut());
  for (auto op : body.getOps<linalg::LinalgOp>())
    if (std::optional<MatrixProduct> product = matchMatrixProduct(op))
      fold(op, product->result->get());
}

LogicalResult BlockEmitter::emit(Operation *op) {
  k.setInsertionPoint(op);
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
    if (!matmul.isDispatched()) {
      emitGroupedMatmul(matmul);
    } else {
      // A sum may make the products in passing.
      for (auto combine : op->getBlock()->getOps<CombineOp>())
        if (combine.goesByExpert() && findProducts(combine) == matmul)
          return success();
      if (failed(emitProductsByExpert(matmul)))
        return failure();
    }
  } else if (auto combine = dyn_cast<CombineOp>(op)) {
    if (!getElementTypeOrSelf(combine.getOut().getType()).isF32())
      return failure();
    if (combine.goesByExpert()) {
      GroupedMatmulOp products = findProducts(combine);
      emitCombineToExperts(combine);
      if (products)
        products.erase();
    } else if (combine.isToTokens() && !combine.isDispatched())
      emitCombineToTokens(combine);
    else
      return failure();
  } else if (auto partition = dyn_cast<PartitionOp>(op)) {
    if (failed(emitPartition(partition)))
      return failure();
  } else if (auto route = dyn_cast<RouteOp>(op)) {
    if (failed(emitRoute(route)))
      return failure();
  } else if (auto copy = dyn_cast<memref::CopyOp>(op)) {
    auto generic = linalg::makeMemRefCopyOp(k, k.getLoc(), copy.getSource(),
                                            copy.getTarget());
    if (failed(emit(generic)))
      return failure();
    copy.erase();
    return success();
  } else if (std::optional<MatrixProduct> product = matchMatrixProduct(op)) {
    if (failed(emitProduct(*product)))
      return failure();
  } else if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op)) {
    if (failed(linalgOp.getNumReductionLoops() ? emitReduction(linalgOp)
                                               : emitElementwise(linalgOp)))
      return failure();
  } else {
    return failure();
  }
  barrier();
  op->erase();
  return success();
}

/// Tensor cores add a product to its result in shared memory, where the rest of
/// the tile finds whole rows of it.
LogicalResult BlockEmitter::emitProduct(const MatrixProduct &product) {
  FailureOr<ProductTile> tile = getProductTile(product.result->get());
  auto isShared = [](OpOperand *operand) {
    return gpu::GPUDialect::hasWorkgroupMemoryAddressSpace(
        cast<MemRefType>(operand->get().getType()));
  };
  auto launch = product.op->getParentOfType<gpu::LaunchOp>();
  if (failed(tile) || !suitsTensorCores(product) || isShared(product.left) ||
      isShared(product.right) || threads != kTileThreads || !launch)
    return failure();
  std::unique_ptr<TileMultiplier> multiplier =
      createTensorCoreMultiplier(k, launch, *tile, /*parts=*/1,
                                 /*hasBuffers=*/true);
  TileEpilogue epilogue(k, *product.op->getBlock(), *multiplier);
  if (startsAtZero.contains(product.op))
    epilogue.startAtZero(product.result->get());
  return epilogue.emitProduct(product);
}

LogicalResult BlockEmitter::emitRoute(RouteOp op) {
  for (Value operand : op->getOperands()) {
    auto type = dyn_cast<MemRefType>(operand.getType());
    if (!type || !type.areTrailingDimsContiguous(1))
      return failure();
  }
  if (!getElementTypeOrSelf(op.getRowLogits().getType()).isF32() ||
      !getElementTypeOrSelf(op.getColLogits().getType()).isF32() ||
      !getElementTypeOrSelf(op.getScores().getType()).isF32())
    return failure();
  RoutePlan plan = planRoute(op.getNumRows(), op.getNumCols(), op.getTopK());
  if (plan.threads != threads || plan.sharedBytes() > kSharedBytes)
    return failure();
  FailureOr<int64_t> tokens = ValueBoundsConstraintSet::computeConstantBound(
      presburger::BoundType::UB, {op.getScores(), 0},
      /*stopCondition=*/nullptr, /*closedUB=*/true);
  if (plan.warpPerToken)
    emitRouteByWarps(k, op, plan, threadId,
                     succeeded(tokens) && *tokens <= plan.tokensPerBlock);
  else
    emitRouteByBlock(k, op, plan, threadId);
  return success();
}

FailureOr<SmallVector<VectorOperand>>
mlir::omnimoe::classifyOperands(linalg::LinalgOp op, bool &contiguous) {
  SmallVector<VectorOperand> operands;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return failure();
    FailureOr<VectorOperand> classified = classifyOperand(op, operand);
    contiguous &= succeeded(classified);
    operands.push_back(succeeded(classified)
                           ? *classified
                           : VectorOperand{operand.get(), map, Access::Vector});
  }
  return operands;
}

/// Elements of the last loop that a thread takes at a time: what makes its
/// narrowest access 16 bytes, as long as every thread still has work.
static int64_t getVectorElements(linalg::LinalgOp op,
                                 ArrayRef<VectorOperand> operands,
                                 int64_t threads) {
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  int64_t length = ranges.back();
  if (ShapedType::isDynamic(length) || !hasVectorPayload(op))
    return 1;
  int64_t elements = 1;
  for (const VectorOperand &operand : operands)
    if (operand.access == Access::Vector)
      elements =
          std::max(elements,
                   getAccessElements(
                       length, getElementTypeOrSelf(operand.memref.getType())));
  int64_t rows = 1;
  for (int64_t range : ArrayRef(ranges).drop_back())
    if (!ShapedType::isDynamic(range))
      rows *= range;
  while (elements > 1 && rows * (length / elements) < threads)
    elements /= 2;
  return elements;
}

/// Neighbouring threads take neighbouring elements of the last loop, as many
/// threads as it has work for; where it is short, groups of threads take
/// different turns of the loop before it. Other loops are sequential: a tile is
/// a token or few.
LogicalResult BlockEmitter::emitElementwise(linalg::LinalgOp op) {
  if (op.getNumLoops() == 0)
    return failure();
  bool contiguous = true;
  FailureOr<SmallVector<VectorOperand>> classified =
      classifyOperands(op, contiguous);
  if (failed(classified))
    return failure();
  SmallVector<VectorOperand> operands = *classified;
  for (OpOperand &init : op.getDpsInitsMutable())
    if (!op.getMatchingIndexingMap(&init).isPermutation())
      return failure();
  int64_t elements = contiguous ? getVectorElements(op, operands, threads) : 1;
  int64_t length = op.getStaticLoopRanges().back(), lanes = threads;
  if (op.getNumLoops() > 1 && !ShapedType::isDynamic(length))
    while (lanes > 1 && lanes / 2 * elements >= length)
      lanes /= 2;
  Value lane = threadId, group;
  if (lanes < threads) {
    group = arith::DivUIOp::create(k, threadId, k.index(lanes));
    lane = arith::RemUIOp::create(k, threadId, k.index(lanes));
  }

  SmallVector<Value> lengths = getLoopLengths(k, op, operands), ivs;
  auto indices = [&](const VectorOperand &operand) {
    return getIndices(k, operand, ivs);
  };
  auto alignment = [&](VectorType type) {
    int64_t bytes = elements * type.getElementTypeBitWidth() / 8;
    return llvm::MaybeAlign(std::min(bytes, kAccessBytes));
  };
  auto load = [&](const VectorOperand &operand) -> Value {
    auto memref = dyn_cast<MemRefType>(operand.memref.getType());
    if (elements == 1)
      return memref ? k.load(operand.memref, indices(operand)) : operand.memref;
    Type scalar = memref ? memref.getElementType() : operand.memref.getType();
    auto type = VectorType::get({elements}, scalar);
    if (operand.access == Access::Vector)
      return vector::LoadOp::create(k, type, operand.memref, indices(operand),
                                    /*nontemporal=*/false, alignment(type));
    return k.broadcast(type, memref ? k.load(operand.memref, indices(operand))
                                    : operand.memref);
  };
  auto emitElements = [&] {
    IRMapping mapping;
    Block *payload = op.getBlock();
    for (auto [argument, operand] :
         llvm::zip(payload->getArguments(), operands))
      if (!argument.use_empty())
        mapping.map(argument, load(operand));
    auto outputs = ArrayRef(operands).drop_front(op.getNumDpsInputs());
    if (elements == 1) {
      for (auto [value, out] :
           llvm::zip(clonePayload(k, op, mapping, ivs), outputs))
        k.store(value, out.memref, indices(out));
      return;
    }
    for (auto [vector, out] : llvm::zip(
             clonePayloadOnVectors(k, payload, mapping, elements), outputs))
      vector::StoreOp::create(k, vector, out.memref, indices(out),
                              /*nontemporal=*/false,
                              alignment(cast<VectorType>(vector.getType())));
  };
  std::function<void(unsigned)> emitLoop = [&](unsigned depth) {
    bool last = depth + 1 == op.getNumLoops();
    bool grouped = group && depth + 2 == op.getNumLoops();
    Value from = last ? k.mul(lane, elements) : grouped ? group : k.index(0);
    int64_t step = last ? lanes * elements : grouped ? threads / lanes : 1;
    k.loop(from, lengths[depth], step, [&](Value iv) {
      ivs.push_back(iv);
      last ? emitElements() : emitLoop(depth + 1);
      ivs.pop_back();
    });
  };
  emitLoop(0);
  return success();
}
