//===- Differentiate.cpp - From a function to that of its gradients -------===//
//
// 1. Clone the function and bring it to the forms that have rules: arith and
//    math on tensors and named linalg operations become generic ones.
// 2. Mark what depends on the chosen arguments.
// 3. Go through the operations from last to first; each passes the adjoint of
//    its result on to its operands (Differentiate*.cpp has the rules).
// 4. Return the adjoints of the chosen arguments. What the gradient does not
//    need of the forward operations is dead and goes.
// 5. To save values: from last to first, every marked forward operation that is
//    still needed becomes an argument, which may free others before it.
//
//===----------------------------------------------------------------------===//

#include "Differentiate.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_DIFFERENTIATEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Numbers the operations whose results may be saved, while the pass runs.
static constexpr StringLiteral kNumber = "omnimoe.number";
static constexpr StringLiteral kName = "omnimoe.name";

/// Worth their memory: what would have to look experts up or multiply matrices
/// to be computed again.
static bool isWorthSaving(Operation *op) {
  return isa<RouteOp, GroupedMatmulOp, CombineOp, linalg::MatmulOp>(op);
}

static bool hasFloatElements(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa<FloatType>(tensor.getElementType());
}

namespace {
struct DifferentiatePass
    : omnimoe::impl::DifferentiatePassBase<DifferentiatePass> {
  using DifferentiatePassBase::DifferentiatePassBase;

  LogicalResult checkOptions();
  FailureOr<func::FuncOp> findFunction();
  FailureOr<SmallVector<unsigned>> findArguments(func::FuncOp function);
  LogicalResult checkElementTypes(func::FuncOp function);

  void markActive(func::FuncOp function, ArrayRef<unsigned> arguments,
                  Adjoints &adjoints);
  FailureOr<Adjoints::Sparse> findSparse(func::FuncOp function);
  LogicalResult differentiate(func::FuncOp function,
                              ArrayRef<unsigned> arguments);
  LogicalResult cleanUp(func::FuncOp function);
  /// Replaces saved values by arguments from `position` on; returns their
  /// numbers: of the operation and of its result.
  SmallVector<std::pair<int64_t, unsigned>> takeSaved(func::FuncOp function,
                                                      unsigned position);
  void returnSaved(func::FuncOp function,
                   ArrayRef<std::pair<int64_t, unsigned>> saved);

  void runOnOperation() override;
};
} // namespace

//===----------------------------------------------------------------------===//
// What to differentiate
//===----------------------------------------------------------------------===//

LogicalResult DifferentiatePass::checkOptions() {
  if (emit != "backward" && emit != "forward")
    return getOperation().emitError("unknown emit '")
           << emit << "', expected backward or forward";
  return success();
}

FailureOr<func::FuncOp> DifferentiatePass::findFunction() {
  func::FuncOp found;
  for (auto function : getOperation().getOps<func::FuncOp>()) {
    if (!function.isPublic() || function.isExternal())
      continue;
    if (found)
      return function.emitOpError("is a second public function beside '")
             << found.getName() << "'; one function is differentiated";
    found = function;
  }
  if (!found)
    return getOperation().emitError(
        "there is no public function to differentiate");
  if (!llvm::hasSingleElement(found.getBody()))
    return found.emitOpError("has branches, which have no derivative");
  if (!llvm::any_of(found.getResultTypes(), hasFloatElements))
    return found.emitOpError("has no result of a float type to differentiate");
  return found;
}

FailureOr<SmallVector<unsigned>>
DifferentiatePass::findArguments(func::FuncOp function) {
  SmallVector<unsigned> arguments;
  for (int64_t number : wrt) {
    if (number < 0 || number >= function.getNumArguments())
      return function.emitOpError("wrt: expected the number of an argument, 0 "
                                  "to ")
             << int64_t(function.getNumArguments()) - 1 << ", got " << number;
    if (llvm::is_contained(arguments, unsigned(number)))
      return function.emitOpError("wrt: argument ")
             << number << " is listed twice";
    if (!hasFloatElements(function.getArgument(number).getType()))
      return function.emitOpError("wrt: argument ")
             << number << " is a " << function.getArgument(number).getType()
             << ", which has no gradient";
    arguments.push_back(number);
  }
  if (wrt.empty())
    for (BlockArgument argument : function.getArguments())
      if (hasFloatElements(argument.getType()))
        arguments.push_back(argument.getArgNumber());
  if (arguments.empty())
    return function.emitOpError("has no argument of a float type to "
                                "differentiate by");
  return arguments;
}

LogicalResult DifferentiatePass::checkElementTypes(func::FuncOp function) {
  auto check = [&](Location loc, Type type) -> LogicalResult {
    if (!hasFloatElements(type))
      return success();
    Type element = getElementTypeOrSelf(type);
    if (element.isF32() || element.isF16() || element.isBF16())
      return success();
    return emitError(loc, "has no derivative: expected element type f32, f16 "
                          "or bf16, got ")
           << element;
  };
  for (BlockArgument argument : function.getArguments())
    if (failed(check(argument.getLoc(), argument.getType())))
      return failure();
  for (Operation &op : function.getBody().front())
    for (Type type : op.getResultTypes())
      if (failed(check(op.getLoc(), type)))
        return failure();
  return success();
}

/// The ids by which `use` looks experts up in a table; null if it does not.
static Value getIdsOfTable(OpOperand &use) {
  Operation *user = use.getOwner();
  if (auto products = dyn_cast<GroupedMatmulOp>(user))
    return products.getWeights() == use.get() && products.getX() != use.get()
               ? products.getExperts()
               : Value();
  auto combine = dyn_cast<CombineOp>(user);
  return combine && combine.isToTokens() && combine.getVectors() == use.get() &&
                 combine.getOut() != use.get()
             ? combine.getExperts()
             : Value();
}

/// The tables of `sparse`; `ids` are those of the experts.
FailureOr<Adjoints::Sparse>
DifferentiatePass::findSparse(func::FuncOp function) {
  Adjoints::Sparse found;
  found.rows = rows;
  for (int64_t number : sparse) {
    if (number < 0 || number >= function.getNumArguments())
      return function.emitOpError("sparse: expected the number of an argument, "
                                  "0 to ")
             << int64_t(function.getNumArguments()) - 1 << ", got " << number;
    Value table = function.getArgument(number);
    found.tables.insert(table);
    for (OpOperand &use : table.getUses()) {
      if (isa<tensor::DimOp>(use.getOwner()))
        continue;
      Value ids = getIdsOfTable(use);
      if (!ids || (found.ids && found.ids != ids))
        return use.getOwner()->emitOpError("sparse: argument ")
               << number
               << (ids ? " is not looked up by the ids that others are"
                       : " is not used as a table of expert vectors alone");
      found.ids = ids;
    }
  }
  if (!sparse.empty() && (rows < 1 || !found.ids))
    return function.emitOpError("sparse: expected at least one row, and a use "
                                "of the tables");
  return found;
}

//===----------------------------------------------------------------------===//
// Reverse mode
//===----------------------------------------------------------------------===//

void DifferentiatePass::markActive(func::FuncOp function,
                                   ArrayRef<unsigned> arguments,
                                   Adjoints &adjoints) {
  for (unsigned argument : arguments)
    adjoints.setActive(function.getArgument(argument));
  auto isActive = [&](Value value) { return adjoints.isActive(value); };
  for (Operation &op : function.getBody().front()) {
    // Sizes do not depend on elements.
    if (op.hasAttr(kStopGradient) || isa<tensor::DimOp>(op))
      continue;
    bool depends = llvm::any_of(op.getOperands(), isActive);
    op.walk([&](Operation *inner) {
      depends |= llvm::any_of(inner->getOperands(), isActive);
    });
    if (!depends)
      continue;
    for (Value result : op.getResults())
      if (isa<FloatType>(getElementTypeOrSelf(result.getType())))
        adjoints.setActive(result);
  }
}

static LogicalResult differentiateOp(Operation *op, Adjoints &adjoints) {
  if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
    return differentiateLinalg(linalgOp, adjoints);
  if (isa_and_present<OmniMoEDialect>(op->getDialect()))
    return differentiateOmniMoE(op, adjoints);
  return differentiateTensor(op, adjoints);
}

LogicalResult DifferentiatePass::differentiate(func::FuncOp function,
                                               ArrayRef<unsigned> arguments) {
  if (failed(prepareLinalg(function)))
    return failure();
  Block &body = function.getBody().front();
  auto returnOp = cast<func::ReturnOp>(body.getTerminator());
  OpBuilder builder(returnOp);
  Adjoints adjoints(builder);
  FailureOr<Adjoints::Sparse> foundSparse = findSparse(function);
  if (failed(foundSparse))
    return failure();
  adjoints.sparse = *foundSparse;
  markActive(function, arguments, adjoints);
  SmallVector<Operation *> forward;
  for (Operation &op : body.without_terminator())
    forward.push_back(&op);

  bool isOnly = llvm::count_if(function.getResultTypes(), hasFloatElements) < 2;
  for (auto [index, result] : llvm::enumerate(returnOp.getOperands())) {
    if (!hasFloatElements(result.getType()))
      continue;
    std::string name = isOnly ? "d_result" : "d_result" + std::to_string(index);
    if (failed(function.insertArgument(
            function.getNumArguments(), result.getType(),
            builder.getDictionaryAttr(
                builder.getNamedAttr(kName, builder.getStringAttr(name))),
            result.getLoc())))
      return failure();
    Value cotangent = function.getArguments().back();
    if (adjoints.isActive(result))
      adjoints.add(result.getLoc(), result,
                   castElements(builder, result.getLoc(), cotangent,
                                builder.getF32Type()));
  }

  if (Value ids = adjoints.sparse.ids) {
    if (failed(function.insertArgument(
            function.getNumArguments(), ids.getType(),
            builder.getDictionaryAttr(
                builder.getNamedAttr(kName, builder.getStringAttr("rows"))),
            ids.getLoc())))
      return failure();
    adjoints.sparse.ids = function.getArguments().back();
  }

  for (Operation *op : llvm::reverse(forward)) {
    bool reached = llvm::any_of(op->getResults(), [&](Value result) {
      return adjoints.isActive(result) && adjoints.get(result);
    });
    if (!reached)
      continue;
    if (failed(differentiateOp(op, adjoints)))
      return failure();
    ++numDifferentiated;
  }

  SmallVector<Value> gradients;
  for (unsigned number : arguments) {
    Value argument = function.getArgument(number);
    Type element = getElementTypeOrSelf(argument.getType());
    Location loc = argument.getLoc();
    Value adjoint = adjoints.get(argument);
    gradients.push_back(adjoint ? castElements(builder, loc, adjoint, element)
                                : adjoints.zeros(loc, argument, element));
  }
  func::ReturnOp::create(builder, returnOp.getLoc(), gradients);
  returnOp.erase();
  function.setType(builder.getFunctionType(function.getArgumentTypes(),
                                           ValueRange(gradients).getTypes()));
  function.removeResAttrsAttr();
  return success();
}

/// Removes what is dead or computed twice.
LogicalResult DifferentiatePass::cleanUp(func::FuncOp function) {
  RewritePatternSet patterns(&getContext());
  linalg::populateEraseUnusedOperandsAndResultsPatterns(patterns);
  GreedyRewriteConfig config;
  config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
  if (failed(applyPatternsGreedily(function, std::move(patterns), config)))
    return failure();
  IRRewriter rewriter(&getContext());
  DominanceInfo dominance(function);
  eliminateCommonSubExpressions(rewriter, dominance, function);
  return success();
}

//===----------------------------------------------------------------------===//
// Saved values
//===----------------------------------------------------------------------===//

SmallVector<std::pair<int64_t, unsigned>>
DifferentiatePass::takeSaved(func::FuncOp function, unsigned position) {
  SmallVector<std::pair<int64_t, unsigned>> saved;
  IRRewriter rewriter(&getContext());
  Block &body = function.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body))) {
    if (isOpTriviallyDead(&op)) {
      rewriter.eraseOp(&op);
      continue;
    }
    auto number = op.getAttrOfType<IntegerAttr>(kNumber);
    if (!number)
      continue;
    for (OpResult result : llvm::reverse(op.getResults())) {
      if (result.use_empty())
        continue;
      (void)function.insertArgument(position, result.getType(),
                                    /*argAttrs=*/{}, result.getLoc());
      rewriter.replaceAllUsesWith(result, function.getArgument(position));
      saved.emplace_back(number.getInt(), result.getResultNumber());
    }
    rewriter.eraseOp(&op);
  }
  std::reverse(saved.begin(), saved.end());
  for (unsigned index = 0; index < saved.size(); ++index)
    function.setArgAttr(
        position + index, kName,
        rewriter.getStringAttr("saved" + std::to_string(index)));
  numSaved += saved.size();
  return saved;
}

void DifferentiatePass::returnSaved(
    func::FuncOp function, ArrayRef<std::pair<int64_t, unsigned>> saved) {
  auto returnOp =
      cast<func::ReturnOp>(function.getBody().front().getTerminator());
  llvm::DenseMap<int64_t, Operation *> numbered;
  function.walk([&](Operation *op) {
    if (auto number = op->getAttrOfType<IntegerAttr>(kNumber))
      numbered[number.getInt()] = op;
  });
  for (auto [number, result] : saved)
    returnOp.getOperandsMutable().append(
        numbered.lookup(number)->getResult(result));
  SmallVector<DictionaryAttr> attrs;
  function.getAllResultAttrs(attrs);
  function.setType(FunctionType::get(&getContext(), function.getArgumentTypes(),
                                     returnOp.getOperandTypes()));
  attrs.resize(function.getNumResults());
  function.setAllResultAttrs(attrs);
}

void DifferentiatePass::runOnOperation() {
  if (failed(checkOptions()))
    return signalPassFailure();
  FailureOr<func::FuncOp> found = findFunction();
  if (failed(found) || failed(checkElementTypes(*found)))
    return signalPassFailure();
  func::FuncOp function = *found;
  FailureOr<SmallVector<unsigned>> arguments = findArguments(function);
  if (failed(arguments))
    return signalPassFailure();

  // Element-wise operations on tensors become generic in both functions, so
  // that they can be differentiated in the one place.
  OpPassManager elementwise(ModuleOp::getOperationName());
  elementwise.addPass(createConvertElementwiseToLinalgPass());
  if (failed(runPipeline(elementwise, getOperation())))
    return signalPassFailure();
  Builder builder(&getContext());
  for (auto [number, op] :
       llvm::enumerate(function.getBody().front().without_terminator()))
    if (save && isWorthSaving(&op))
      op.setAttr(kNumber, builder.getI64IntegerAttr(number));

  unsigned numArguments = function.getNumArguments();
  auto backward = cast<func::FuncOp>(function->clone());
  backward.setName((function.getName() + "_backward").str());
  getOperation().insert(std::next(function->getIterator()), backward);
  if (failed(differentiate(backward, *arguments)) || failed(cleanUp(backward)))
    return signalPassFailure();
  SmallVector<std::pair<int64_t, unsigned>> saved;
  if (save) {
    saved = takeSaved(backward, numArguments);
    if (failed(cleanUp(backward)))
      return signalPassFailure();
  }
  if (emit == "forward") {
    returnSaved(function, saved);
    function.walk([](Operation *op) { op->removeAttr(kNumber); });
    backward.erase();
    return;
  }
  function.erase();
}
