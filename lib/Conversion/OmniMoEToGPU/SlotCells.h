//===- SlotCells.h - The pairs of a tile by rows and columns ----*- C++ -*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SLOTCELLS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SLOTCELLS_H

#include "ExpertBlock.h"

namespace mlir::omnimoe {

/// Where the slots and tiles of each bin are, a group in a chunk of tokens.
struct SlotBins {
  SlotTiles tiles;
  Value slots;    ///< i32 [bins, 2]: first slot, past the last slot
  Value before;   ///< i32 [bins + 1]: the tiles before
  Value count;    ///< index on the host: how many bins there are
  Value unsorted; ///< i16 [P]: scratch memory
};

/// Emits the kernel, of `blocks` blocks, that writes the tiles, cells, pairs,
/// operands and blocks of `bins.tiles`.
void emitSlotCells(KernelBuilder &k, FusedBlock block,
                   const CarriedPairs &carried, const SlotBins &bins,
                   Value blocks, StringRef name);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SLOTCELLS_H
