//===- GroupLines.h - Groups that are lines of a grid ------------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_UTILS_GROUPLINES_H
#define OMNIMOE_LIB_CONVERSION_UTILS_GROUPLINES_H

#include "Utils/KernelBuilder.h"
#include "omnimoe/Dialect/OmniMoE/IR/GroupLayout.h"

namespace mlir::omnimoe {

/// Where an expert stands in the grid. All integers are of one type.
struct GridPlace {
  GridPlace(KernelBuilder &k, const GroupLayout &layout, Value expert);
  Value row, column;
};

/// The group of the expert at `place` for a token with `inRow` and `inColumn`
/// pairs in its row and in its column.
Value getGroupOfLine(KernelBuilder &k, const GroupLayout &layout,
                     const GridPlace &place, Value inRow, Value inColumn);

/// The experts of a group: neighbours in the table, or, by lines, a part of a
/// row or of a column of the grid.
struct GroupLine {
  GroupLine(KernelBuilder &k, const GroupLayout &layout, Value group);

  /// The place in the group of one of its experts.
  Value getColumn(KernelBuilder &k, Value expert) const;

  GroupLayout layout;
  Value isRow; ///< whether the line is a row; null if groups are neighbours
  Value line;  ///< its number among rows or columns; null likewise
  Value first; ///< the group's first place in the line, or in the table
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_UTILS_GROUPLINES_H
