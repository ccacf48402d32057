//===- MeasuredSchedules.h - What schedules took ----------------*- C++ -*-===//
//
// Seconds that schedules of an expert block were measured to take, which stand
// above the cost model's estimates of them.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_MEASUREDSCHEDULES_H
#define OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_MEASUREDSCHEDULES_H

#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include <map>

namespace mlir::omnimoe {

/// The measurements of one kind of expert block.
class MeasuredBlock {
public:
  void add(int64_t tokens, ScheduleKind kind, double seconds) {
    points[kind][tokens] = seconds;
  }

  /// The seconds that schedules of `kind` take for `tokens` tokens: on the line
  /// between two measurements, in proportion to T beyond the last one. Nothing
  /// is said of fewer tokens than were measured.
  std::optional<double> getSeconds(ScheduleKind kind, int64_t tokens) const;

  /// Every number of tokens that something was measured at.
  SmallVector<int64_t> getTokens() const;

private:
  std::map<ScheduleKind, std::map<int64_t, double>> points;
};

using MeasuredSchedules = llvm::StringMap<MeasuredBlock>;

/// Reads `<block>:<tokens>=<schedule>=<seconds>:...` for each block; reports
/// what is none of that.
FailureOr<MeasuredSchedules>
parseMeasuredSchedules(ArrayRef<std::string> entries,
                       llvm::function_ref<InFlightDiagnostic()> emitError);

/// Names blocks that take equally long: `bf16-n4096-r1-d512-k16`, with `-gated`
/// behind it if two products make a coefficient. The grid is left out, so that
/// what was measured with ids as arguments serves a layer with its router.
std::string getBlockName(const ExpertBlockShape &shape, Type type, bool gated);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_MEASUREDSCHEDULES_H
