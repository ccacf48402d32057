//===- ExpertBlock.h - Experts as dense products of slots --------*- C++
//-*-===//
//
// The expert-centric schedule on a GPU: one kernel for products, coefficients
// and sums of all pairs, in the order of a dispatch. Its unit of work is a tile
// of up to 128 rows of one group. Of atomic experts a row is a slot, a token
// with all its pairs in the group, and a column is an expert. Of wide experts a
// group is an expert, a row is a pair, and a column is a vector of the expert.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCK_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCK_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {

class BlockKernel;

/// Rows of a tile: two warpgroups have 64 each.
inline constexpr int64_t kSlotTileRows = 128, kWarpgroupRows = 64;
/// Columns of a group whose products are looked at together.
inline constexpr int64_t kSampledColumns = 16;
/// A cell of a tile is its row and, in so many bits, its column.
inline constexpr int64_t kColumnBits = 9;

/// A `grouped_matmul`, or several of the same tokens with tables of wide
/// experts, what is made of the products element by element, and the
/// `combine to_tokens` that takes the coefficients; on memrefs.
struct FusedBlock {
  GroupedMatmulOp products;             ///< the first of `matmuls`
  SmallVector<GroupedMatmulOp> matmuls; ///< all that the payload takes
  linalg::GenericOp payload; ///< null if the products are the coefficients
  CombineOp sum;
  bool clears = false; ///< sums start from zeros, which are to be written first

  bool isWide() {
    return cast<ShapedType>(products.getWeights().getType()).getRank() == 3;
  }
  /// Whether products are needed in memory as well.
  bool keepsProducts() { return products->hasAttr(kKeptProductsAttrName); }
  /// Whether sums must not depend on their order; they start from zeros then.
  bool isExact() { return sum->hasAttr(kExactSumsAttrName); }
  GroupLayout getLayout() {
    ScheduleAttr schedule = *products.getSchedule();
    return {products.getNumExperts(), schedule.getGroupSize(),
            schedule.getGridColumns()};
  }
  int64_t getGroupSize() { return getLayout().groupSize; }
  int64_t getNumGroups() { return getLayout().getNumGroups(); }
  /// Where groups are lines, few tiles meet a group's vectors: the blocks of a
  /// cluster copy a part of them each, for all.
  int64_t getClusterBlocks() { return getLayout().isByLines() ? 2 : 1; }
  /// A copy takes 256 rows of vectors at most: so many copies, of equal size.
  int64_t getParts() { return getGroupSize() > 256 ? 2 : 1; }
  /// The group's columns in the products, with those that fill them up.
  int64_t getColumns() {
    return llvm::alignTo(getGroupSize(), kSampledColumns * getParts());
  }
  int64_t getColumnBlocks() { return getColumns() / kSampledColumns; }
  /// What the payload takes besides products, and is found in memory by the
  /// number of a pair.
  SmallVector<OpOperand *> getPairInputs() {
    SmallVector<OpOperand *> inputs;
    if (payload)
      for (OpOperand *input : payload.getDpsInputOperands())
        if (isa<MemRefType>(input->get().getType()) &&
            llvm::none_of(matmuls, [&](GroupedMatmulOp matmul) {
              return matmul.getProducts() == input->get();
            }))
          inputs.push_back(input);
    return inputs;
  }
  Value getOffsets() { return products.getDispatch()[0]; }
  Value getTokens() { return products.getDispatch()[1]; }
  Value getStarts() { return products.getDispatch()[2]; }
  Value getPairs() { return products.getDispatch()[3]; }
};

/// The rows, of `rows` of a tile, that the first warpgroup of a cluster's block
/// has; the second one's come behind its 64.
Value getEvenSplit(KernelBuilder &k, Value rows);

/// The block that `region` holds, or failure with a message.
FailureOr<FusedBlock> matchFusedBlock(scf::ExecuteRegionOp region);

/// The work of a block, in memory of the device. Rows are numbers of slots, or
/// of sorted pairs. The pairs of a tile of slots stand where its sorted pairs
/// stand, but ordered by warpgroup, and then by the block of `kSampledColumns`
/// columns that they are in; where rows are pairs, there is nothing to order.
struct SlotTiles {
  Value tiles; ///< i32 [?, 3]: group, first row, past the last row
  Value count; ///< i32 [1]: how many there are
  Value taken; ///< i32 [1]: how many were asked for, 0 to begin with
  Value cells; ///< i16 [P]: a pair's row and column in its tile, or null
  Value pairs; ///< i32 [P]: the number of that pair, token * K + choice; null
               ///< if only the operands are needed
  SmallVector<Value> operands; ///< [P]: what that pair's coefficient takes from
                               ///< memory, for each of `getPairInputs`
  Value blocks; ///< i32 [?, 2B + 1]: where the pairs of a tile's B blocks of
                ///< columns begin, for one warpgroup and the other; their end
  Value bound;  ///< index on the host: there are no more tiles than that
};

/// What of each pair its dispatch has carried along, [P]: the expert, and what
/// the coefficient takes for each of `getPairInputs`. Null and empty if nothing
/// was: it is then found by the number of the pair.
struct CarriedPairs {
  Value experts;
  SmallVector<Value> operands;
};

/// Lets the dispatch of `block`, in front of `region`, carry that, if it may
/// come behind what makes it. Worthwhile where pairs are sorted token by token:
/// looked up later, each would come from another line of the cache.
CarriedPairs carryPairs(RewriterBase &rewriter, FusedBlock block,
                        scf::ExecuteRegionOp region);

/// Emits the kernel `name`, of which the first block does `body`. If `block`
/// clears its sums, other blocks do so meanwhile.
void emitBesideClearing(KernelBuilder &k, FusedBlock block, StringRef name,
                        int64_t threads,
                        llvm::function_ref<void(BlockKernel &)> body);

/// Clears the sums of `token`, by a warp.
void clearRow(KernelBuilder &k, FusedBlock block, BlockKernel &kernel,
              Value token);

/// Emits the kernels that cut slots into tiles and order their pairs.
SlotTiles emitSlotTiles(KernelBuilder &k, FusedBlock block,
                        const CarriedPairs &carried, TargetAttr target,
                        StringRef prefix);

/// Emits the kernel that cuts sorted pairs of wide experts into tiles.
SlotTiles emitPairTiles(KernelBuilder &k, FusedBlock block, StringRef prefix);

/// Emits the kernel that computes `block` tile by tile.
void emitExpertBlock(KernelBuilder &k, FusedBlock block, const SlotTiles &tiles,
                     TargetAttr target, StringRef name);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCK_H
