//===- MeasuredSchedules.cpp - What schedules took ------------------------===//

#include "MeasuredSchedules.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace mlir::omnimoe;

std::optional<double> MeasuredBlock::getSeconds(ScheduleKind kind,
                                                int64_t tokens) const {
  auto found = points.find(kind);
  if (found == points.end())
    return std::nullopt;
  auto above = found->second.upper_bound(tokens);
  if (above == found->second.begin())
    return std::nullopt;
  auto [t0, s0] = *std::prev(above);
  if (above == found->second.end())
    return s0 * tokens / t0;
  auto [t1, s1] = *above;
  return s0 + (s1 - s0) * (tokens - t0) / (t1 - t0);
}

SmallVector<int64_t> MeasuredBlock::getTokens() const {
  llvm::SetVector<int64_t> tokens;
  for (const auto &[kind, seconds] : points)
    tokens.insert_range(llvm::make_first_range(seconds));
  return tokens.takeVector();
}

FailureOr<MeasuredSchedules> mlir::omnimoe::parseMeasuredSchedules(
    ArrayRef<std::string> entries,
    llvm::function_ref<InFlightDiagnostic()> emitError) {
  MeasuredSchedules measured;
  for (StringRef entry : entries) {
    auto [name, rest] = entry.split(':');
    SmallVector<StringRef> points;
    rest.split(points, ':');
    for (StringRef point : points) {
      SmallVector<StringRef> parts;
      point.split(parts, '=');
      int64_t tokens = 0;
      double seconds = 0;
      std::optional<ScheduleKind> kind;
      if (parts.size() == 3)
        kind = symbolizeScheduleKind(parts[1]);
      if (!kind || parts[0].getAsInteger(10, tokens) || tokens < 1 ||
          parts[2].getAsDouble(seconds) || !std::isfinite(seconds) ||
          seconds <= 0)
        return emitError()
               << "measured: expected "
                  "'<block>:<tokens>=<schedule>=<seconds>:...', got '"
               << entry << "'";
      measured[name].add(tokens, *kind, seconds);
    }
  }
  return measured;
}

std::string mlir::omnimoe::getBlockName(const ExpertBlockShape &shape,
                                        Type type, bool gated) {
  std::string name;
  llvm::raw_string_ostream(name)
      << type << "-n" << shape.numExperts << "-r" << shape.width << "-d"
      << shape.hiddenSize << "-k" << shape.topK << (gated ? "-gated" : "");
  return name;
}
