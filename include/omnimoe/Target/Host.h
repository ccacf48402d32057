//===- Host.h - The machine that this process runs on -----------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_HOST_H
#define OMNIMOE_TARGET_HOST_H

#include <cstdint>
#include <string>

namespace mlir {
class MLIRContext;
} // namespace mlir

namespace mlir::omnimoe {

class TargetAttr;

/// What is known of the host, found out once per process. The fields are those
/// of `#omnimoe.target`.
struct HostInfo {
  std::string triple;
  std::string chip;
  /// Every feature LLVM knows, switched on or off, for the code generator.
  std::string allFeatures;
  /// The vector extensions among them, for people to read.
  std::string features;
  int64_t units;
  int64_t vectorBits;
  int64_t l1Bytes;
  int64_t l2Bytes;
  int64_t llcBytes;
  int64_t matrixGflops;
  int64_t cacheGbps;
  int64_t memoryGbps;
};

const HostInfo &getHostInfo();

/// The host as `#omnimoe.target`.
TargetAttr getHostTarget(MLIRContext *context);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_HOST_H
