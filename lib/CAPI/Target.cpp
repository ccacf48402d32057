//===- Target.cpp - Targets and threads of the C API ----------------------===//

#include "Support.h"

#include "mlir/IR/MLIRContext.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Runtime/OpenMP.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/NVIDIA.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace mlir::omnimoe;

OmniMoeStatus omnimoe_targets(OmniMoeString *json) {
  if (!json)
    return capi::failOnNull("json");
  MLIRContext context(MLIRContext::Threading::DISABLED);
  llvm::json::Array targets;
  auto add = [&](StringRef name, TargetAttr target) {
    std::string attribute;
    llvm::raw_string_ostream(attribute) << target;
    targets.push_back(llvm::json::Object{{"name", name},
                                         {"chip", target.getChip()},
                                         {"units", target.getUnits()},
                                         {"attribute", attribute}});
  };
  add("cpu", getHostTarget(&context));
  for (StringRef chip : getNVIDIAChips())
    add(chip, getNVIDIATarget(&context, chip));
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(targets));
  return capi::give(text, json);
}

OmniMoeStatus omnimoe_set_num_threads(int32_t threads) {
  if (threads < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "threads: expected 0 or more, got " +
                          std::to_string(threads));
  runtime::setNumThreads(threads);
  return OMNIMOE_OK;
}

int32_t omnimoe_get_num_threads(void) { return runtime::getNumThreads(); }
