//===- NVIDIA.cpp - What is known of NVIDIA's chips -----------------------===//

#include "omnimoe/Target/NVIDIA.h"

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

using namespace mlir;
using namespace mlir::omnimoe;

ArrayRef<StringRef> mlir::omnimoe::getNVIDIAChips() {
  static const StringRef chips[] = {"sm_90a"};
  return chips;
}

/// Rates measured on an H100 SXM: scattered rows at 5.5 TB/s out of the
/// second-level cache and 3 TB/s out of memory, bf16 products at 700 TFLOP/s.
TargetAttr mlir::omnimoe::getNVIDIATarget(MLIRContext *context,
                                          StringRef chip) {
  if (!llvm::is_contained(getNVIDIAChips(), chip))
    return nullptr;
  constexpr int64_t units = 132;
  return TargetAttr::get(context, chip, /*features=*/"+ptx86", units,
                         /*vectorBits=*/128, /*l1Bytes=*/227 << 10,
                         /*l2Bytes=*/50 << 20, /*llcBytes=*/50 << 20,
                         /*matrixGflops=*/700'000 / units,
                         /*cacheGbps=*/5500 / units, /*memoryGbps=*/3000);
}
