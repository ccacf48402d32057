//===- Host.cpp - The machine that this process runs on -------------------===//

#include "omnimoe/Target/Host.h"

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Runtime/OpenMP.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/TargetParser/Host.h"
#include <unistd.h>

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// Rates
//===----------------------------------------------------------------------===//
//
// The cost model compares schedules, so it needs ratios between these rates
// more than their values. They are estimates from the width of the vectors, not
// measurements: the same machine must compile to the same program each time.

/// Clock under a load of wide vectors. Processors of one kind differ by some
/// tens of percent, and what they report is not what they sustain.
static constexpr double kGigahertz = 2.5;

/// Multiply-add instructions a core starts per cycle.
static constexpr double kFmaPerCycle = 2;

/// The part of the peak that a register-blocked product reaches on tiles in
/// the second-level cache.
static constexpr double kMatrixEfficiency = 0.75;

/// One core reading whole rows at scattered addresses, in GB/s: limited by the
/// misses it can have under way (10 to 16 lines of 64 bytes, at some 70 ns in
/// the last cache and 100 ns in memory) more than by its vectors.
static constexpr double kCacheGbpsPerCore = 18;
static constexpr double kMemoryGbpsPerCore = 12;

/// Where more cores no longer bring more out of memory, in GB/s.
static constexpr double kMemoryGbpsOfMachine = 200;

static void estimateRates(HostInfo &info) {
  double lanes = static_cast<double>(info.vectorBits) / 32;
  info.matrixGflops = static_cast<int64_t>(2 * lanes * kFmaPerCycle *
                                           kGigahertz * kMatrixEfficiency);
  info.cacheGbps = static_cast<int64_t>(kCacheGbpsPerCore);
  info.memoryGbps = static_cast<int64_t>(
      std::min(kMemoryGbpsPerCore * static_cast<double>(info.units),
               kMemoryGbpsOfMachine));
}

//===----------------------------------------------------------------------===//
// Caches
//===----------------------------------------------------------------------===//

/// Size of the data cache of a level as the kernel shows it; 0 if it does not.
static int64_t readCacheSize(int level) {
  for (int index = 0; index < 8; ++index) {
    std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    auto read = [&](const char *file) -> std::string {
      auto buffer = llvm::MemoryBuffer::getFileAsStream(folder + "/" + file);
      return buffer ? (*buffer)->getBuffer().trim().str() : "";
    };
    if (read("level") != std::to_string(level) || read("type") == "Instruction")
      continue;
    std::string size = read("size");
    StringRef digits(size);
    int64_t scale = digits.consume_back("K")   ? 1024
                    : digits.consume_back("M") ? 1024 * 1024
                                               : 1;
    int64_t value = 0;
    if (!digits.getAsInteger(10, value))
      return value * scale;
  }
  return 0;
}

static int64_t getCacheSize(int name, int level, int64_t otherwise) {
  int64_t size = sysconf(name);
  if (size <= 0)
    size = readCacheSize(level);
  return size > 0 ? size : otherwise;
}

static void findCaches(HostInfo &info) {
  info.l1Bytes = getCacheSize(_SC_LEVEL1_DCACHE_SIZE, 1, 32 << 10);
  info.l2Bytes = getCacheSize(_SC_LEVEL2_CACHE_SIZE, 2, 1 << 20);
  // Without a third level the second is the last.
  info.llcBytes = getCacheSize(_SC_LEVEL3_CACHE_SIZE, 3, info.l2Bytes);
}

//===----------------------------------------------------------------------===//
// Instructions
//===----------------------------------------------------------------------===//

static void findInstructions(HostInfo &info) {
  info.triple = llvm::sys::getProcessTriple();
  info.chip = llvm::sys::getHostCPUName().str();
  llvm::StringMap<bool> present = llvm::sys::getHostCPUFeatures();

  SmallVector<std::string> all;
  for (const auto &feature : present)
    all.push_back((feature.second ? "+" : "-") + feature.first().str());
  llvm::sort(all, [](StringRef a, StringRef b) {
    return a.drop_front() < b.drop_front();
  });
  info.allFeatures = llvm::join(all, ",");

  // Features that stand for what vector code can use.
  static constexpr StringLiteral shown[] = {
      "avx2",     "fma",      "f16c",       "avx512f",    "avx512bw",
      "avx512vl", "avx512dq", "avx512bf16", "avx512fp16", "amx-tile",
      "amx-bf16", "neon",     "fullfp16",   "bf16",       "sve"};
  SmallVector<std::string> some;
  for (StringRef feature : shown)
    if (present.lookup(feature))
      some.push_back("+" + feature.str());
  info.features = llvm::join(some, ",");

  info.vectorBits = present.lookup("avx512f") ? 512
                    : present.lookup("avx")   ? 256
                                              : 128;
}

const HostInfo &mlir::omnimoe::getHostInfo() {
  static const HostInfo info = [] {
    HostInfo info;
    findInstructions(info);
    findCaches(info);
    info.units = runtime::getNumProcessors();
    estimateRates(info);
    return info;
  }();
  return info;
}

TargetAttr mlir::omnimoe::getHostTarget(MLIRContext *context) {
  context->loadDialect<OmniMoEDialect>();
  const HostInfo &info = getHostInfo();
  return TargetAttr::get(context, info.chip, info.features, info.units,
                         info.vectorBits, info.l1Bytes, info.l2Bytes,
                         info.llcBytes, info.matrixGflops, info.cacheGbps,
                         info.memoryGbps);
}
