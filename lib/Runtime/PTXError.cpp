//===- PTXError.cpp - Why the driver did not take PTX ---------------------===//

#include "omnimoe/Runtime/PTXError.h"

#include "omnimoe/Runtime/PTXText.h"

using namespace mlir::omnimoe::runtime;

/// The CUDA whose driver first took a version of PTX, as drivers count; 0 for
/// versions that came later than this was written.
static int32_t getCUDAOfPTX(int32_t version) {
  static constexpr struct {
    int32_t ptx, cuda;
  } versions[] = {{80, 12000}, {81, 12010}, {82, 12020}, {83, 12030},
                  {84, 12040}, {85, 12050}, {86, 12070}, {87, 12080},
                  {88, 12090}, {90, 13000}};
  for (auto known : versions)
    if (version <= known.ptx)
      return known.cuda;
  return 0;
}

std::string mlir::omnimoe::runtime::explainPTXError(const cuda::Driver &driver,
                                                    cuda::Result result,
                                                    const std::string &text) {
  if (result == cuda::kUnsupportedPTXVersion) {
    int32_t version = getPTXVersion(text);
    int32_t needed = getCUDAOfPTX(version);
    return "the CUDA driver is too old for the program: it serves CUDA " +
           cuda::toVersionText(driver.version) + ", and PTX " +
           std::to_string(version / 10) + "." + std::to_string(version % 10) +
           " needs a driver of CUDA " +
           (needed ? cuda::toVersionText(needed) : "newer than that") +
           (needed ? " or newer" : "");
  }
  if (result == cuda::kJITCompilerNotFound)
    return "the CUDA driver cannot compile PTX: its "
           "libnvidia-ptxjitcompiler.so.1 is not found; install it, or let the "
           "container see it";
  return "the CUDA driver cannot load the program: " + driver.describe(result);
}
