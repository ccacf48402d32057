//===- CallStreams.cpp - The streams that one call uses -------------------===//

#include "omnimoe/Runtime/CallStreams.h"

#include <mutex>
#include <vector>

using namespace mlir::omnimoe::runtime;
using namespace mlir::omnimoe::runtime::cuda;

namespace {
/// Side streams that no call is using right now.
struct IdleStreams {
  std::mutex mutex;
  std::vector<SideStream> streams;
};
} // namespace

static IdleStreams &getIdleStreams() {
  // Never destroyed: the driver may be gone before static objects are.
  static auto *idle = new IdleStreams;
  return *idle;
}

/// The capture that a stream takes part in; 0 if in none.
static Result getCapture(const Driver &driver, Stream stream, uint64_t &id) {
  CaptureStatus status = kNotCapturing;
  id = 0;
  Result result = driver.streamGetCaptureInfo(stream, &status, &id, nullptr,
                                              nullptr, nullptr);
  if (status == kNotCapturing)
    id = 0;
  return result;
}

/// Takes an idle stream of the capture that `caller` is in, or of none. One
/// that another capture holds must not be touched before that ends.
static bool takeIdle(const Driver &driver, Stream caller, SideStream &side) {
  IdleStreams &idle = getIdleStreams();
  std::lock_guard<std::mutex> lock(idle.mutex);
  uint64_t wanted = 0, id = 0;
  if (getCapture(driver, caller, wanted))
    return false;
  auto fits = [&](const SideStream &candidate) {
    return candidate.context == side.context &&
           getCapture(driver, candidate.stream, id) == kSuccess &&
           (id == 0 || id == wanted);
  };
  for (size_t i = idle.streams.size(); i-- > 0;)
    if (fits(idle.streams[i])) {
      side = idle.streams[i];
      idle.streams.erase(idle.streams.begin() + i);
      return true;
    }
  return false;
}

static Result create(const Driver &driver, SideStream &side) {
  // No capture minds a stream that it has not seen.
  RelaxedCapture relaxed(driver);
  Event event = nullptr;
  Result result = driver.eventCreate(&event, kNoTiming);
  if (result == kSuccess)
    result = driver.streamCreate(&side.stream, kNonBlocking);
  if (result == kSuccess)
    side.event = event;
  return result;
}

Result CallStreams::fork() {
  if (side.stream)
    return follow(side.stream, caller);
  if (!takeIdle(driver, caller, side))
    if (Result result = create(driver, side))
      return result;
  return follow(side.stream, caller);
}

Result CallStreams::wait(int32_t number) {
  Stream other = get(number);
  return other == current ? kSuccess : follow(current, other);
}

Result CallStreams::follow(Stream follower, Stream leader) {
  if (Result result = driver.eventRecord(side.event, leader))
    return result;
  return driver.streamWaitEvent(follower, side.event, /*flags=*/0);
}

CallStreams::~CallStreams() {
  if (!side.stream)
    return;
  IdleStreams &idle = getIdleStreams();
  std::lock_guard<std::mutex> lock(idle.mutex);
  idle.streams.push_back(side);
}
