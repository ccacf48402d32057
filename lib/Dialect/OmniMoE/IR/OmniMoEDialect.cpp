//===- OmniMoEDialect.cpp - Registration and attributes -------------------===//

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::omnimoe;

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEDialect.cpp.inc"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEAttrs.cpp.inc"

void OmniMoEDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEOps.cpp.inc"
      >();
}

LogicalResult ScheduleAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                   ScheduleKind kind, int64_t groupSize,
                                   int64_t tokenTile, int64_t pairSplit,
                                   int64_t columnTile, int64_t minPairs,
                                   int64_t gridColumns) {
  if (groupSize < 0 || tokenTile < 0 || columnTile < 0)
    return emitError() << "schedule sizes must not be negative, got group_size "
                       << groupSize << ", token_tile " << tokenTile
                       << " and column_tile " << columnTile;
  bool grouped = kind != ScheduleKind::TokenCentric;
  if (grouped && groupSize == 0)
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << " needs a group_size of at least 1";
  if (!grouped && groupSize != 0)
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << " has no groups, got group_size " << groupSize;
  if (pairSplit < 1)
    return emitError() << "pair_split must be at least 1, got " << pairSplit;
  if (grouped && pairSplit != 1)
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << " does not split pairs, got pair_split " << pairSplit;
  if (columnTile != 0 && (grouped || pairSplit != 1))
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << (grouped ? "" : " with split pairs")
                       << " does not cut columns, got column_tile "
                       << columnTile;
  if (kind == ScheduleKind::Hybrid && minPairs < 2)
    return emitError() << "schedule hybrid needs min_pairs of at least 2, got "
                       << minPairs;
  if (kind != ScheduleKind::Hybrid && minPairs != 0)
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << " does not part pairs, got min_pairs " << minPairs;
  if (gridColumns < 0)
    return emitError() << "grid_columns must not be negative, got "
                       << gridColumns;
  if (kind != ScheduleKind::ExpertCentric && gridColumns != 0)
    return emitError() << "schedule " << stringifyScheduleKind(kind)
                       << " has no groups of a grid's lines, got grid_columns "
                       << gridColumns;
  return success();
}

LogicalResult TargetAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringRef chip, StringRef features,
                                 int64_t units, int64_t vectorBits,
                                 int64_t l1Bytes, int64_t l2Bytes,
                                 int64_t llcBytes, int64_t matrixGflops,
                                 int64_t cacheGbps, int64_t memoryGbps) {
  if (chip.empty())
    return emitError() << "target needs the name of a chip";
  for (auto [name, value] : {std::pair<StringRef, int64_t>{"units", units},
                             {"vectorBits", vectorBits},
                             {"l1Bytes", l1Bytes},
                             {"l2Bytes", l2Bytes},
                             {"llcBytes", llcBytes},
                             {"matrixGflops", matrixGflops},
                             {"cacheGbps", cacheGbps},
                             {"memoryGbps", memoryGbps}})
    if (value <= 0)
      return emitError() << "target parameter '" << name
                         << "' must be positive, got " << value;
  return success();
}
