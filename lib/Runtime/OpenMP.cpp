//===- OpenMP.cpp - The OpenMP run-time of compiled programs --------------===//

#include "omnimoe/Runtime/OpenMP.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <mutex>
#include <sched.h>
#include <thread>

using namespace mlir::omnimoe::runtime;

namespace {

struct Library {
  void *handle = nullptr;
  void (*setNumThreads)(int) = nullptr;
  int (*getMaxThreads)() = nullptr;
  void (*setBlocktime)(int) = nullptr;
  /// What libomp would use if nobody asked for anything.
  int32_t ownChoice = 0;
};

} // namespace

static std::mutex loadMutex;
/// Set once, when libomp is ready for use; never unloaded, as its threads live
/// as long as the process.
static std::atomic<const Library *> loaded{nullptr};
static std::atomic<int32_t> requestedThreads{0};

/// How long a worker spins for the next parallel region before it sleeps.
/// Long enough for the regions of one call to follow each other without waking
/// anybody, short enough that the threads of other run-times (PyTorch's, BLAS)
/// do not find the processors taken after a call; libomp's own value is 200.
static constexpr int kBlocktimeMilliseconds = 1;

int32_t mlir::omnimoe::runtime::getNumProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return CPU_COUNT(&set);
  // More processors than a cpu_set_t holds.
  unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int32_t>(count) : 1;
}

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

static int findLoadedOpenMP(dl_phdr_info *info, size_t, void *result) {
  const char *path = info->dlpi_name;
  const char *slash = std::strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  if (std::strncmp(name, "libomp.so", 9) && std::strncmp(name, "libomp-", 7) &&
      std::strncmp(name, "libomp5.so", 10) && std::strncmp(name, "libiomp5", 8))
    return 0;
  *static_cast<std::string *>(result) = path;
  return 1;
}

static void *openLibrary(const std::string &searchPath, std::string &message) {
  std::string present;
  dl_iterate_phdr(findLoadedOpenMP, &present);
  if (!present.empty())
    if (void *handle = dlopen(present.c_str(), RTLD_NOW | RTLD_NOLOAD))
      return handle;

  std::string path;
  Dl_info self;
  if (dladdr(reinterpret_cast<void *>(&findLoadedOpenMP), &self) &&
      self.dli_fname)
    if (const char *slash = std::strrchr(self.dli_fname, '/'))
      path.assign(self.dli_fname, slash);
  path += ":" + searchPath;

  for (size_t begin = 0; begin <= path.size();) {
    size_t end = path.find(':', begin);
    end = end == std::string::npos ? path.size() : end;
    if (end > begin) {
      std::string file = path.substr(begin, end - begin) + "/libomp.so.5";
      if (void *handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL))
        return handle;
    }
    begin = end + 1;
  }
  for (const char *name : {"libomp.so.5", "libomp.so"})
    if (void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL))
      return handle;
  const char *error = dlerror();
  message = "OpenMP run-time: expected libomp.so.5 in " + path +
            " or where the system's loader looks (on Debian: package "
            "libomp5-22); " +
            (error ? error : "not found");
  return nullptr;
}

template <typename Function>
static bool bind(void *handle, const char *name, Function &function,
                 std::string &message) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function)
    return true;
  message = std::string("OpenMP run-time: the library has no ") + name;
  return false;
}

bool mlir::omnimoe::runtime::loadOpenMP(const std::string &searchPath,
                                        std::string &message) {
  if (loaded.load(std::memory_order_acquire))
    return true;
  std::lock_guard<std::mutex> lock(loadMutex);
  if (loaded.load(std::memory_order_relaxed))
    return true;

  static Library library;
  library.handle = openLibrary(searchPath, message);
  void *fork = nullptr;
  if (!library.handle ||
      !bind(library.handle, "__kmpc_fork_call", fork, message) ||
      !bind(library.handle, "omp_set_num_threads", library.setNumThreads,
            message) ||
      !bind(library.handle, "omp_get_max_threads", library.getMaxThreads,
            message))
    return false;
  // Not every run-time of this kind has it.
  std::string ignored;
  bind(library.handle, "kmp_set_blocktime", library.setBlocktime, ignored);
  library.ownChoice = library.getMaxThreads();
  loaded.store(&library, std::memory_order_release);
  return true;
}

void *mlir::omnimoe::runtime::findOpenMPSymbol(const char *name) {
  const Library *library = loaded.load(std::memory_order_acquire);
  return library ? dlsym(library->handle, name) : nullptr;
}

//===----------------------------------------------------------------------===//
// Threads
//===----------------------------------------------------------------------===//

/// A positive number of threads in an environment variable, else 0.
static int32_t getFromEnvironment(const char *name) {
  const char *text = std::getenv(name);
  long value = text ? std::strtol(text, nullptr, 10) : 0;
  return value > 0 && value < 65536 ? static_cast<int32_t>(value) : 0;
}

/// The wish of the caller or of the environment; 0 if there is none.
static int32_t getWish() {
  static const int32_t fromEnvironment =
      getFromEnvironment("OMNIMOE_NUM_THREADS");
  int32_t wish = requestedThreads.load(std::memory_order_relaxed);
  return wish ? wish : fromEnvironment;
}

int32_t mlir::omnimoe::runtime::getNumThreads() {
  if (int32_t wish = getWish())
    return wish;
  if (const Library *library = loaded.load(std::memory_order_acquire))
    return library->ownChoice;
  int32_t fromOpenMP = getFromEnvironment("OMP_NUM_THREADS");
  return fromOpenMP ? fromOpenMP : getNumProcessors();
}

void mlir::omnimoe::runtime::setNumThreads(int32_t threads) {
  requestedThreads.store(threads, std::memory_order_relaxed);
}

ThreadScope::ThreadScope(bool sequential) {
  const Library *library = loaded.load(std::memory_order_acquire);
  if (!library)
    return;
  // libomp keeps its settings per thread, so they are made where a thread
  // invokes, the lasting one once.
  static thread_local bool hasBlocktime = false;
  if (!hasBlocktime) {
    hasBlocktime = true;
    if (library->setBlocktime && !std::getenv("KMP_BLOCKTIME"))
      library->setBlocktime(kBlocktimeMilliseconds);
  }
  int32_t wish = sequential ? 1 : getWish();
  if (!wish)
    return;
  int32_t current = library->getMaxThreads();
  if (current == wish)
    return;
  library->setNumThreads(wish);
  previous = current;
}

ThreadScope::~ThreadScope() {
  if (previous)
    loaded.load(std::memory_order_relaxed)->setNumThreads(previous);
}
