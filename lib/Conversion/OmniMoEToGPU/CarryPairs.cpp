//===- CarryPairs.cpp - What a dispatch carries for an expert block -------===//

#include "ExpertBlock.h"
#include "LineDispatch.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The dispatch that writes the pairs of `block`, if it can move to `region`:
/// nobody in between needs it, or writes the ids.
static DispatchOp findDispatch(FusedBlock block, scf::ExecuteRegionOp region) {
  DispatchOp dispatch;
  for (Operation *user : block.getPairs().getUsers())
    if (auto op = dyn_cast<DispatchOp>(user))
      dispatch = op;
  if (!dispatch || dispatch->getBlock() != region->getBlock() ||
      !dispatch->isBeforeInBlock(region))
    return {};
  auto isBetween = [&](Operation *user) {
    Operation *above = region->getBlock()->findAncestorOpInBlock(*user);
    return above && dispatch->isBeforeInBlock(above) &&
           above->isBeforeInBlock(region);
  };
  for (Value out : dispatch.getDpsInits())
    if (llvm::any_of(out.getUsers(), isBetween))
      return {};
  for (Operation *user : dispatch.getExperts().getUsers()) {
    auto effects = dyn_cast<MemoryEffectOpInterface>(user);
    if (isBetween(user) &&
        (!effects ||
         effects.getEffectOnValue<MemoryEffects::Write>(dispatch.getExperts())))
      return {};
  }
  return dispatch;
}

CarriedPairs mlir::omnimoe::carryPairs(RewriterBase &rewriter, FusedBlock block,
                                       scf::ExecuteRegionOp region) {
  CarriedPairs carried;
  DispatchOp dispatch = findDispatch(block, region);
  if (!dispatch || !dispatch.getLayout().isByLines() ||
      !suitsLineDispatch(dispatch))
    return carried;
  SmallVector<Value> values{dispatch.getExperts()};
  for (OpOperand *input : block.getPairInputs()) {
    Type type = getElementTypeOrSelf(input->get());
    bool mayTravel = type.isF32() || type.isF16() || type.isBF16() ||
                     type.isSignlessInteger(32);
    if (!mayTravel || !block.payload.getMatchingIndexingMap(input).isIdentity())
      return carried;
    values.push_back(input->get());
  }
  rewriter.moveOpBefore(dispatch, region);
  rewriter.setInsertionPoint(dispatch);
  KernelBuilder k(dispatch.getLoc(), rewriter);
  Value pairs = k.mul(k.createOrFold<memref::DimOp>(dispatch.getExperts(), 0),
                      dispatch.getTopK());
  SmallVector<Value> sorted;
  for (Value value : values)
    sorted.push_back(memref::AllocOp::create(
        k, MemRefType::get({ShapedType::kDynamic}, getElementTypeOrSelf(value)),
        pairs));
  rewriter.modifyOpInPlace(dispatch, [&] {
    dispatch.getCarriedMutable().append(values);
    dispatch.getSortedMutable().append(sorted);
  });
  carried.experts = sorted.front();
  carried.operands.assign(std::next(sorted.begin()), sorted.end());
  return carried;
}
