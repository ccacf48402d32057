//===- GroupLines.cpp - Groups that are lines of a grid -------------------===//

#include "Utils/GroupLines.h"

using namespace mlir;
using namespace mlir::omnimoe;

static Value divide(KernelBuilder &k, Value value, int64_t divisor) {
  return arith::DivUIOp::create(k, value, k.integer(value.getType(), divisor));
}

GridPlace::GridPlace(KernelBuilder &k, const GroupLayout &layout, Value expert)
    : row(divide(k, expert, layout.gridColumns)),
      column(k.sub(expert, k.mul(row, layout.gridColumns))) {}

Value mlir::omnimoe::getGroupOfLine(KernelBuilder &k, const GroupLayout &layout,
                                    const GridPlace &place, Value inRow,
                                    Value inColumn) {
  Value ofRow = k.add(k.mul(place.row, layout.getPartsOfRow()),
                      divide(k, place.column, layout.groupSize));
  Value ofColumn = k.add(k.mul(place.column, layout.getPartsOfColumn()),
                         divide(k, place.row, layout.groupSize));
  return k.choose(k.compare(arith::CmpIPredicate::uge, inRow, inColumn), ofRow,
                  k.add(ofColumn, layout.getRowGroups()));
}

GroupLine::GroupLine(KernelBuilder &k, const GroupLayout &layout, Value group)
    : layout(layout) {
  if (!layout.isByLines()) {
    first = k.mul(group, layout.groupSize);
    return;
  }
  Type type = group.getType();
  Value rowGroups = k.integer(type, layout.getRowGroups());
  isRow = k.compare(arith::CmpIPredicate::ult, group, rowGroups);
  Value number = k.choose(isRow, group, k.sub(group, rowGroups));
  Value parts = k.choose(isRow, k.integer(type, layout.getPartsOfRow()),
                         k.integer(type, layout.getPartsOfColumn()));
  line = arith::DivUIOp::create(k, number, parts);
  first = k.mul(k.sub(number, k.mul(line, parts)), layout.groupSize);
}

Value GroupLine::getColumn(KernelBuilder &k, Value expert) const {
  if (!layout.isByLines())
    return k.sub(expert, first);
  GridPlace place(k, layout, expert);
  return k.sub(k.choose(isRow, place.column, place.row), first);
}
