//===- GroupLayout.h - How experts are cut into groups -----------*- C++
//-*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_IR_GROUPLAYOUT_H
#define OMNIMOE_DIALECT_OMNIMOE_IR_GROUPLAYOUT_H

#include "llvm/Support/MathExtras.h"
#include <cstdint>

namespace mlir::omnimoe {

/// The groups of a dispatch: `groupSize` neighbouring experts each, or, by
/// lines, the rows of a grid of `gridColumns` columns and then its columns,
/// each line cut into parts of `groupSize` experts.
struct GroupLayout {
  int64_t numExperts, groupSize;
  int64_t gridColumns = 0; ///< 0 if groups are neighbouring experts

  bool isByLines() const { return gridColumns != 0; }
  int64_t getGridRows() const { return numExperts / gridColumns; }
  int64_t getNumLines() const { return getGridRows() + gridColumns; }
  int64_t getPartsOfRow() const {
    return llvm::divideCeil(gridColumns, groupSize);
  }
  int64_t getPartsOfColumn() const {
    return llvm::divideCeil(getGridRows(), groupSize);
  }
  /// Those of rows, which come first.
  int64_t getRowGroups() const { return getGridRows() * getPartsOfRow(); }
  int64_t getNumGroups() const {
    return isByLines() ? getRowGroups() + gridColumns * getPartsOfColumn()
                       : llvm::divideCeil(numExperts, groupSize);
  }
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_IR_GROUPLAYOUT_H
