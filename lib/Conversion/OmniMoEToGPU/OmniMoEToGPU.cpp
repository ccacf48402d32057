//===- OmniMoEToGPU.cpp - The pass convert-omnimoe-to-gpu -----------------===//
//
// 1. Each scf.forall becomes a gpu.launch with one block per tile.
// 2. Buffers made in the tile become shared memory.
// 3. The tile's operations are computed by the block, one after the other.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTOMNIMOETOGPUPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static bool isComputed(Operation *op) {
  return isa<linalg::LinalgOp>(op) ||
         isa_and_present<OmniMoEDialect>(op->getDialect());
}

/// Threads that suit the operations of a tile; the widest sum decides.
static int64_t chooseThreads(scf::ForallOp forall) {
  int64_t threads = 0;
  forall.walk([&](CombineOp combine) {
    threads = std::max(
        threads,
        getBlockThreads(combine.getHiddenSize(),
                        getElementTypeOrSelf(combine.getVectors().getType())));
  });
  return threads ? threads : 4 * kWarp;
}

/// A buffer of the tile, in shared memory.
static LogicalResult moveToSharedMemory(gpu::LaunchOp launch,
                                        memref::AllocOp alloc) {
  MemRefType type = alloc.getType();
  if (!type.hasStaticShape())
    return alloc.emitOpError("needs a static shape to lie in shared memory; "
                             "the tile's number of tokens is not constant");
  auto space = gpu::AddressSpaceAttr::get(alloc.getContext(),
                                          gpu::AddressSpace::Workgroup);
  auto sharedType = MemRefType::get(type.getShape(), type.getElementType(),
                                    MemRefLayoutAttrInterface(), space);
  BlockArgument shared =
      launch.addWorkgroupAttribution(sharedType, alloc.getLoc());
  for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
    if (isa<memref::DeallocOp>(user))
      user->erase();
    else if (!isComputed(user) && !isa<memref::DimOp>(user))
      return user->emitOpError("cannot use a buffer in shared memory");
  alloc.replaceAllUsesWith(shared);
  alloc.erase();
  return success();
}

/// All kernels of a program go into one GPU module.
static constexpr StringLiteral kKernelModule = "kernels";

static LogicalResult convertForall(IRRewriter &rewriter, scf::ForallOp forall,
                                   StringRef name) {
  if (forall.getRank() != 1 || forall->getNumResults() != 0)
    return forall.emitOpError("must have one loop and work on memrefs to "
                              "become a kernel");
  int64_t threads = chooseThreads(forall);
  rewriter.setInsertionPoint(forall);
  KernelBuilder k(forall.getLoc(), rewriter);
  auto bound = [&](OpFoldResult value) {
    return getValueOrCreateConstantIndexOp(k, k.getLoc(), value);
  };
  Value from = bound(forall.getMixedLowerBound().front());
  Value to = bound(forall.getMixedUpperBound().front());
  Value step = bound(forall.getMixedStep().front());
  Value tiles = arith::CeilDivUIOp::create(k, k.sub(to, from), step);
  Value one = k.index(1);
  // No tokens, no blocks: a launch of zero blocks would be an error.
  auto ifOp = scf::IfOp::create(
      k, k.compare(arith::CmpIPredicate::ugt, tiles, k.index(0)), false);
  k.setInsertionPointToStart(ifOp.thenBlock());
  auto launch =
      gpu::LaunchOp::create(k, tiles, one, one, k.index(threads), one, one);
  launch.setModuleAttr(FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
  launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
  Block *body = &launch.getBody().front();
  k.setInsertionPointToStart(body);
  Value iv = k.add(from, k.mul(launch.getBlockIds().x, step));
  rewriter.setInsertionPointToEnd(body);
  auto terminator = gpu::TerminatorOp::create(rewriter, forall.getLoc());
  forall.getTerminator().erase();
  rewriter.inlineBlockBefore(forall.getBody(), terminator, {iv});
  rewriter.eraseOp(forall);

  for (auto alloc : llvm::make_early_inc_range(body->getOps<memref::AllocOp>()))
    if (failed(moveToSharedMemory(launch, alloc)))
      return failure();
  BlockEmitter emitter(k, launch.getThreadIds().x, threads);
  for (Operation &op : llvm::make_early_inc_range(*body))
    if (isComputed(&op) && failed(emitter.emit(&op)))
      return op.emitOpError("has no GPU lowering with these operands");
  return success();
}

namespace {
struct ConvertOmniMoEToGPUPass
    : omnimoe::impl::ConvertOmniMoEToGPUPassBase<ConvertOmniMoEToGPUPass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<scf::ForallOp> foralls;
    getOperation()->walk([&](scf::ForallOp op) { foralls.push_back(op); });
    for (auto [index, forall] : llvm::enumerate(foralls)) {
      auto function = forall->getParentOfType<FunctionOpInterface>();
      std::string name = (function.getName() + "_" + Twine(index)).str();
      if (failed(convertForall(rewriter, forall, name)))
        return signalPassFailure();
    }
  }
};
} // namespace
