//===- PlanWorkspace.cpp - One buffer for a program's intermediates -------===//
//
// 1. Collect the allocations of the public function outside of loops.
// 2. Add the workspace argument, and for each allocation its offset: the sum of
//    the sizes before it, each rounded up to kAlignment. What is under a branch
//    on T takes room only where that branch is taken.
// 3. Clone the computation of the sizes into `omnimoe_workspace_size`, with T
//    in place of the arguments' leading sizes.
//
// 4. Free every other allocation at the end of its block, which is part of a
//    tile. (Upstream's ownership-based deallocation does not look into
//    scf.forall.)
//
// Planned allocations live from their place to the end of the program; they are
// few, since values between operations exist only in tiles.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_PLANWORKSPACEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr int64_t kAlignment = 64;
static constexpr StringLiteral kSizeFunction = "omnimoe_workspace_size";

/// Bytes of `alloc`, rounded up; `sizes` are its dynamic sizes.
static Value getBytes(OpBuilder &builder, Location loc, memref::AllocOp alloc,
                      ValueRange sizes) {
  MemRefType type = alloc.getType();
  int64_t fixed = type.getElementTypeBitWidth() / 8;
  for (int64_t dim : type.getShape())
    if (!ShapedType::isDynamic(dim))
      fixed *= dim;
  Value bytes = arith::ConstantIndexOp::create(builder, loc, fixed);
  for (Value size : sizes)
    bytes = arith::MulIOp::create(builder, loc, bytes, size);
  Value alignment = arith::ConstantIndexOp::create(builder, loc, kAlignment);
  Value blocks = arith::CeilDivUIOp::create(builder, loc, bytes, alignment);
  return arith::MulIOp::create(builder, loc, blocks, alignment);
}

namespace {
/// Clones computations that depend on T alone to another place.
class SizeCloner {
public:
  SizeCloner(OpBuilder &builder, Value tokens)
      : builder(builder), tokens(tokens) {}

  /// `value` as a function of T, or null if it depends on anything else.
  Value clone(Value value) {
    if (Value mapped = mapping.lookupOrNull(value))
      return mapped;
    Operation *op = value.getDefiningOp();
    if (!op)
      return nullptr;
    if (auto dim = dyn_cast<memref::DimOp>(op)) {
      std::optional<int64_t> index = dim.getConstantIndex();
      if (isa<BlockArgument>(dim.getSource()) && index == 0) {
        mapping.map(value, tokens);
        return tokens;
      }
    }
    if (!isPure(op) || op->getNumRegions() != 0)
      return nullptr;
    for (Value operand : op->getOperands())
      if (!clone(operand))
        return nullptr;
    builder.clone(*op, mapping);
    return mapping.lookup(value);
  }

private:
  OpBuilder &builder;
  Value tokens;
  IRMapping mapping;
};

/// `bytes`, or none if the number of tokens takes another branch than the one
/// that `alloc` is in.
static Value getBytesIfReached(OpBuilder &builder, SizeCloner &cloner,
                               memref::AllocOp alloc, Value bytes) {
  Location loc = alloc.getLoc();
  Operation *inside = alloc;
  for (Operation *parent = alloc->getParentOp(); parent;
       inside = parent, parent = parent->getParentOp()) {
    auto ifOp = dyn_cast<scf::IfOp>(parent);
    Value condition = ifOp ? cloner.clone(ifOp.getCondition()) : Value();
    if (!condition)
      continue;
    Value none = arith::ConstantIndexOp::create(builder, loc, 0);
    bool inThen = inside->getParentRegion() == &ifOp.getThenRegion();
    bytes = arith::SelectOp::create(
        builder, loc, condition, inThen ? bytes : none, inThen ? none : bytes);
  }
  return bytes;
}

struct PlanWorkspacePass
    : omnimoe::impl::PlanWorkspacePassBase<PlanWorkspacePass> {
  /// An allocation that may happen once per invocation at most.
  static bool isPlanned(memref::AllocOp alloc) {
    return !alloc->getParentOfType<LoopLikeOpInterface>() &&
           alloc.getType().getLayout().isIdentity();
  }

  LogicalResult plan(func::FuncOp function) {
    Location loc = function.getLoc();
    SmallVector<memref::AllocOp> allocs;
    function.walk([&](memref::AllocOp alloc) {
      if (isPlanned(alloc))
        allocs.push_back(alloc);
    });

    OpBuilder builder(function);
    auto sizeFunction =
        func::FuncOp::create(builder, loc, kSizeFunction,
                             builder.getFunctionType(builder.getIndexType(),
                                                     builder.getIndexType()));
    Block *sizeBody = sizeFunction.addEntryBlock();
    OpBuilder sizeBuilder = OpBuilder::atBlockEnd(sizeBody);
    SizeCloner inSizeFunction(sizeBuilder, sizeBody->getArgument(0));
    Value total = arith::ConstantIndexOp::create(sizeBuilder, loc, 0);

    if (failed(function.insertArgument(
            function.getNumArguments(),
            MemRefType::get({ShapedType::kDynamic}, builder.getI8Type()), {},
            loc)))
      return failure();
    Value workspace = function.getArguments().back();

    // The function's own T, computed at its start, from the first argument
    // whose leading size is dynamic.
    builder.setInsertionPointToStart(&function.getBody().front());
    Value tokens;
    for (BlockArgument argument : function.getArguments().drop_back()) {
      auto type = dyn_cast<MemRefType>(argument.getType());
      if (type && type.getRank() && type.isDynamicDim(0)) {
        tokens = memref::DimOp::create(builder, loc, argument, 0);
        break;
      }
    }
    if (!tokens)
      tokens = arith::ConstantIndexOp::create(builder, loc, 0);
    SizeCloner inFunction(builder, tokens);
    Value offset = arith::ConstantIndexOp::create(builder, loc, 0);

    for (memref::AllocOp alloc : allocs) {
      SmallVector<Value> sizes, sizesOfTokens;
      for (Value size : alloc.getDynamicSizes()) {
        sizes.push_back(inFunction.clone(size));
        sizesOfTokens.push_back(inSizeFunction.clone(size));
        if (!sizes.back() || !sizesOfTokens.back())
          return alloc.emitOpError("has a size that depends on more than the "
                                   "number of tokens");
      }
      Value view = memref::ViewOp::create(
          builder, alloc.getLoc(),
          MemRefType::get(alloc.getType().getShape(),
                          alloc.getType().getElementType()),
          workspace, offset, sizes);
      Value bytes = getBytes(builder, loc, alloc, sizes);
      offset = arith::AddIOp::create(
          builder, loc, offset,
          getBytesIfReached(builder, inFunction, alloc, bytes));
      bytes = getBytes(sizeBuilder, loc, alloc, sizesOfTokens);
      total = arith::AddIOp::create(
          sizeBuilder, loc, total,
          getBytesIfReached(sizeBuilder, inSizeFunction, alloc, bytes));
      for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
        if (isa<memref::DeallocOp>(user))
          user->erase();
      alloc.replaceAllUsesWith(view);
      alloc.erase();
      ++numPlanned;
    }
    func::ReturnOp::create(sizeBuilder, loc, total);
    return success();
  }

  /// A buffer of a tile never leaves the block it is made in.
  static LogicalResult freeInTiles(func::FuncOp function) {
    WalkResult result = function.walk([](memref::AllocOp alloc) {
      auto isFree = [](Operation *user) {
        return isa<memref::DeallocOp>(user);
      };
      if (llvm::any_of(alloc->getUsers(), isFree))
        return WalkResult::advance();
      Operation *terminator = alloc->getBlock()->getTerminator();
      if (llvm::is_contained(terminator->getOperands(), alloc.getResult())) {
        alloc.emitOpError("is a tile's buffer that leaves its block");
        return WalkResult::interrupt();
      }
      OpBuilder builder(terminator);
      memref::DeallocOp::create(builder, alloc.getLoc(), alloc);
      return WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }

  void runOnOperation() override {
    if (getOperation().lookupSymbol(kSizeFunction))
      return;
    auto functions = llvm::to_vector(getOperation().getOps<func::FuncOp>());
    func::FuncOp entry;
    for (func::FuncOp function : functions) {
      if (!function.isPublic() || function.isExternal())
        continue;
      if (entry) {
        function.emitOpError("is a second public function beside '")
            << entry.getName() << "'; a program has one entry point";
        return signalPassFailure();
      }
      entry = function;
    }
    if (entry && (failed(plan(entry)) || failed(freeInTiles(entry))))
      signalPassFailure();
  }
};
} // namespace
