//===- OpenMP.h - The OpenMP run-time of compiled programs ------*- C++ -*-===//
//
// Compiled programs call LLVM's OpenMP run-time, which is found when the first
// of them is loaded. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_OPENMP_H
#define OMNIMOE_RUNTIME_OPENMP_H

#include <cstdint>
#include <string>

namespace mlir::omnimoe::runtime {

/// Loads libomp if it is not loaded yet. Looks at a copy the process already
/// holds (two copies of LLVM's OpenMP abort the process), then beside the
/// library this code is in, in the folders of `searchPath` (separated by
/// colons), then where the system's loader looks.
bool loadOpenMP(const std::string &searchPath, std::string &message);

/// Address of a libomp function; null if there is none or libomp is not loaded.
void *findOpenMPSymbol(const char *name);

/// Threads of parallel regions: what setNumThreads asked for, else
/// OMNIMOE_NUM_THREADS, else libomp's own choice (OMP_NUM_THREADS, or the
/// processors this process may run on).
int32_t getNumThreads();
/// Remembered for all threads of the process; 0 takes the wish back.
void setNumThreads(int32_t threads);

/// While it lives, parallel regions of the calling thread use the wished number
/// of threads; after it the thread's settings are as they were, since the host
/// program may use the same libomp. Does nothing before libomp is loaded.
class ThreadScope {
public:
  /// `sequential`: there is work for one thread only, so that waking others
  /// (some 70 us when they sleep) would be all that they bring.
  explicit ThreadScope(bool sequential);
  ~ThreadScope();
  ThreadScope(const ThreadScope &) = delete;
  ThreadScope &operator=(const ThreadScope &) = delete;

private:
  /// What the thread used before; 0 if that is not changed.
  int32_t previous = 0;
};

/// Processors this process may run on.
int32_t getNumProcessors();

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_OPENMP_H
