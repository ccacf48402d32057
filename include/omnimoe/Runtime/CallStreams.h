//===- CallStreams.h - The streams that one call uses -----------*- C++ -*-===//
//
// A call runs on its caller's stream. Where the program has work that does not
// depend on each other, the call forks: a second stream follows the caller's up
// to that point, and what is put on either runs side by side until one waits
// for the other. Nothing here waits on the host, and all of it may be captured
// into a graph. Streams and events are made once and handed from call to call.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_CALLSTREAMS_H
#define OMNIMOE_RUNTIME_CALLSTREAMS_H

#include "omnimoe/Runtime/CUDADriver.h"

namespace mlir::omnimoe::runtime {

/// A stream beside a caller's, and the event by which one waits for the other.
struct SideStream {
  cuda::Context context = nullptr;
  cuda::Stream stream = nullptr;
  cuda::Event event = nullptr;
};

class CallStreams {
public:
  /// Number 0 is the caller's, number 1 the one beside it.
  enum Number : int32_t { kCaller = 0, kSide = 1 };

  CallStreams(const cuda::Driver &driver, cuda::Context context,
              cuda::Stream caller)
      : driver(driver), caller(caller), current(caller) {
    side.context = context;
  }
  /// Leaves the stream beside the caller's to another call.
  ~CallStreams();
  CallStreams(const CallStreams &) = delete;
  CallStreams &operator=(const CallStreams &) = delete;

  /// What work is put on now.
  cuda::Stream getCurrent() const { return current; }

  /// Lets the second stream follow the caller's up to here.
  cuda::Result fork();
  /// Puts what follows on a stream. Before a fork both are the caller's.
  void select(int32_t number) { current = get(number); }
  /// Lets what follows on the current stream wait for all that the other
  /// has been given.
  cuda::Result wait(int32_t number);

private:
  cuda::Stream get(int32_t number) const {
    return number == kSide && side.stream ? side.stream : caller;
  }
  cuda::Result follow(cuda::Stream follower, cuda::Stream leader);

  const cuda::Driver &driver;
  cuda::Stream caller, current;
  SideStream side;
};

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_CALLSTREAMS_H
