//===- EntryFunction.cpp - The public function of a program ---------------===//

#include "omnimoe/Target/EntryFunction.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::omnimoe;
namespace json = llvm::json;

FailureOr<func::FuncOp> mlir::omnimoe::getEntryFunction(ModuleOp module) {
  func::FuncOp entry;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (!function.isPublic() || function.isDeclaration())
      continue;
    if (entry) {
      InFlightDiagnostic error = function.emitError()
                                 << "second public function '"
                                 << function.getName()
                                 << "'; a program has exactly one";
      error.attachNote(entry.getLoc())
          << "'" << entry.getName() << "' is the first";
      return error;
    }
    entry = function;
  }
  if (!entry)
    return module.emitError()
           << "expected one public func.func with a body, found none";
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isDeclaration())
      return function.emitError()
             << "function '" << function.getName()
             << "' has no body; a program is complete in itself";
  return entry;
}

//===----------------------------------------------------------------------===//
// Signature
//===----------------------------------------------------------------------===//

static FailureOr<OmniMoeType> getElementType(Type type) {
  if (type.isF32())
    return OMNIMOE_F32;
  if (type.isF16())
    return OMNIMOE_F16;
  if (type.isBF16())
    return OMNIMOE_BF16;
  if (type.isSignlessInteger(32))
    return OMNIMOE_I32;
  return failure();
}

/// `role` is "argument" or "result".
static FailureOr<runtime::TensorSpec> getTensor(func::FuncOp function,
                                                StringRef role, unsigned index,
                                                Type type, std::string name) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return function.emitError() << role << " " << index
                                << ": expected a ranked tensor, got " << type;
  FailureOr<OmniMoeType> element = getElementType(tensor.getElementType());
  if (failed(element))
    return function.emitError()
           << role << " " << index
           << ": expected elements of f32, f16, bf16 or i32, got " << type;
  runtime::TensorSpec spec{std::move(name), *element, {}};
  for (auto [i, size] : llvm::enumerate(tensor.getShape())) {
    if (i > 0 && ShapedType::isDynamic(size))
      return function.emitError()
             << role << " " << index
             << ": only the leading size can be dynamic, got " << type;
    spec.shape.push_back(ShapedType::isDynamic(size) ? runtime::kTokens : size);
  }
  return spec;
}

FailureOr<runtime::Signature>
mlir::omnimoe::getSignature(func::FuncOp function) {
  runtime::Signature signature;
  FunctionType type = function.getFunctionType();
  for (auto [i, input] : llvm::enumerate(type.getInputs())) {
    auto given = function.getArgAttrOfType<StringAttr>(i, kNameAttr);
    auto spec = getTensor(function, "argument", i, input,
                          given ? given.str() : "arg" + std::to_string(i));
    if (failed(spec))
      return failure();
    signature.inputs.push_back(std::move(*spec));
  }
  for (auto [i, result] : llvm::enumerate(type.getResults())) {
    auto given = function.getResultAttrOfType<StringAttr>(i, kNameAttr);
    std::string name =
        type.getNumResults() == 1 ? "output" : "output" + std::to_string(i);
    auto spec = getTensor(function, "result", i, result,
                          given ? given.str() : std::move(name));
    if (failed(spec))
      return failure();
    signature.outputs.push_back(std::move(*spec));
  }
  return signature;
}

//===----------------------------------------------------------------------===//
// Schedules
//===----------------------------------------------------------------------===//

static json::Value toJSON(Attribute attribute) {
  return llvm::TypeSwitch<Attribute, json::Value>(attribute)
      .Case([](BoolAttr value) { return value.getValue(); })
      .Case([](IntegerAttr value) { return value.getValue().getSExtValue(); })
      .Case([](FloatAttr value) { return value.getValueAsDouble(); })
      .Case([](StringAttr value) { return value.getValue().str(); })
      .Case([](ArrayAttr value) {
        json::Array array;
        for (Attribute element : value)
          array.push_back(toJSON(element));
        return array;
      })
      .Case([](DictionaryAttr value) {
        json::Object object;
        for (NamedAttribute entry : value)
          // A key of a StringRef would point into the context, which goes
          // first.
          object[entry.getName().str()] = toJSON(entry.getValue());
        return object;
      })
      .Default([](Attribute value) {
        std::string text;
        llvm::raw_string_ostream(text) << value;
        return text;
      });
}

json::Array mlir::omnimoe::getSchedules(ModuleOp module) {
  auto schedules = module->getAttrOfType<ArrayAttr>(kSchedulesAttr);
  if (!schedules)
    return {};
  return std::move(*toJSON(schedules).getAsArray());
}
