//===- OmniMoEOps.td - Operations of the omnimoe dialect ----*- tablegen -*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEOPS
#define OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEOPS

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/TilingInterface.td"
include "omnimoe/Dialect/OmniMoE/IR/OmniMoEAttrs.td"

//===----------------------------------------------------------------------===//
// Operand types
//===----------------------------------------------------------------------===//

/// A ranked tensor or memref; which ranks and sizes fit is the verifier's part,
/// since its messages can name the operand it disagrees with.
class ShapedOf<list<Type> elements, string summary> :
    AnyTypeOf<[RankedTensorOf<elements>, MemRefOf<elements>], summary,
              "::mlir::ShapedType">;

def OmniMoE_Values : ShapedOf<[F32], "tensor or memref of f32">;
def OmniMoE_Vectors :
    ShapedOf<[F32, F16, BF16], "tensor or memref of f32, f16 or bf16">;
def OmniMoE_Ids : ShapedOf<[I32], "tensor or memref of i32">;
def OmniMoE_Carried :
    ShapedOf<[F32, F16, BF16, I32], "tensor or memref of f32, f16, bf16 or i32">;

class OmniMoE_Op<string mnemonic, list<Trait> traits = []> :
    Op<OmniMoE_Dialect, mnemonic, !listconcat(traits, [
      DestinationStyleOpInterface,
      DeclareOpInterfaceMethods<MemoryEffectsOpInterface>,
      DeclareOpInterfaceMethods<ConditionallySpeculatable>,
      DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface,
                                ["reifyResultShapes"]>])> {
  let hasVerifier = 1;
  let hasFolder = 1;
}

/// An operation that can be cut along its tokens and their pairs (or, for a sum
/// to experts, along D).
class OmniMoE_TileableOp<string mnemonic, list<Trait> traits = []> :
    OmniMoE_Op<mnemonic, !listconcat(traits, [
    DeclareOpInterfaceMethods<TilingInterface, [
      "getLoopIteratorTypes", "getIterationDomain", "getTiledImplementation",
      "getResultTilePosition", "generateResultTileValue"]>])>;

//===----------------------------------------------------------------------===//
// route
//===----------------------------------------------------------------------===//

def OmniMoE_RouteOp : OmniMoE_TileableOp<"route"> {
  let summary = "Exact top-K of the outer sum of row and column scores";
  let description = [{
    For each token t, finds the K experts with the highest
    `row_logits[t, i] + col_logits[t, j]` over the R x C grid (the
    Cartesian-product router, arXiv 2602.05711 section 3.1). Expert
    `i * C + j` is returned in `experts`, its sum in `scores`, both [T, K].
    K is the static size of the results' last dimension.

    The result is exact and unique, so every schedule and target agrees to the
    bit:

    - higher sums (in f32) come first;
    - among equal sums the lower expert id comes first;
    - where rounding alone makes a pair's sum equal to that of a pair that beats
      it both in its row and in its column, the latter goes first;
    - a NaN logit counts as minus infinity, as does a NaN sum.

    Cost: O(R + C + K log K) a token, and no R x C scores in memory.

    ```mlir
    %s, %e = omnimoe.route
        ins(%rows, %cols : tensor<?x64xf32>, tensor<?x64xf32>)
        outs(%s0, %e0 : tensor<?x16xf32>, tensor<?x16xi32>)
        -> tensor<?x16xf32>, tensor<?x16xi32>
    ```
  }];
  let arguments = (ins
    OmniMoE_Values:$row_logits,
    OmniMoE_Values:$col_logits,
    OmniMoE_Values:$scores,
    OmniMoE_Ids:$experts);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $row_logits `,` $col_logits `:` type($row_logits) `,` type($col_logits) `)`
    `outs` `(` $scores `,` $experts `:` type($scores) `,` type($experts) `)`
    attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::MutableOperandRange(getOperation(), 2, 2);
    }
    int64_t getNumRows() { return getRowLogits().getType().getShape()[1]; }
    int64_t getNumCols() { return getColLogits().getType().getShape()[1]; }
    int64_t getTopK() { return getScores().getType().getShape()[1]; }
  }];
}

//===----------------------------------------------------------------------===//
// partition
//===----------------------------------------------------------------------===//

def OmniMoE_PartitionOp : OmniMoE_TileableOp<"partition"> {
  let summary = "Part the pairs in crowded groups from the others";
  let description = [{
    A group is `group_size` neighbouring experts, as for a dispatch. It is
    *crowded* for a token that has at least `min_pairs` choices in it. Both
    results are `experts`, i32 [T, K], with the ids of the other part replaced
    by -1, which is nobody's:

    ```
    crowded[t, k] = experts[t, k] if the group of experts[t, k] is crowded for t, else -1
    rest[t, k]    = experts[t, k] if it is not, else -1
    ```

    A pair whose expert id lies outside [0, num_experts) is -1 in both. Each
    token is looked at by itself, in O(K).

    ```mlir
    %c, %r = omnimoe.partition ins(%experts : tensor<?x512xi32>)
        outs(%c0, %r0 : tensor<?x512xi32>, tensor<?x512xi32>)
        num_experts = 102400 group_size = 320 min_pairs = 2
        -> tensor<?x512xi32>, tensor<?x512xi32>
    ```
  }];
  let arguments = (ins
    OmniMoE_Ids:$experts,
    OmniMoE_Ids:$crowded,
    OmniMoE_Ids:$rest,
    I64Attr:$num_experts,
    I64Attr:$group_size,
    I64Attr:$min_pairs);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $experts `:` type($experts) `)`
    `outs` `(` $crowded `,` $rest `:` type($crowded) `,` type($rest) `)`
    `num_experts` `=` $num_experts `group_size` `=` $group_size
    `min_pairs` `=` $min_pairs attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::MutableOperandRange(getOperation(), 1, 2);
    }
    int64_t getNumGroups() {
      return ::llvm::divideCeil(getNumExperts(), getGroupSize());
    }
    int64_t getTopK() { return getExperts().getType().getShape()[1]; }
  }];
}

//===----------------------------------------------------------------------===//
// dispatch
//===----------------------------------------------------------------------===//

def OmniMoE_DispatchOp : OmniMoE_Op<"dispatch", [AttrSizedOperandSegments]> {
  let summary = "Sort the pairs by group of experts";
  let description = [{
    A group is `group_size` neighbouring experts: expert e belongs to group
    `e / group_size`. A *slot* is one (group, token) with at least one pair.
    Slots are ordered by group, then by token; the pairs of a slot stand in the
    order of the token's list. The results describe this two-level order, with
    G groups and P = T * K pairs:

    | result | shape | meaning |
    | --- | --- | --- |
    | `offsets` | i32 [G + 1] | group g owns slots `offsets[g]` to `offsets[g+1]` |
    | `tokens` | i32 [P] | the token of each slot |
    | `starts` | i32 [P + 1] | slot s owns `pairs[starts[s]]` to `pairs[starts[s+1]]` |
    | `pairs` | i32 [P] | `t * K + k` of each pair |

    `tokens` holds defined values up to the number of slots `offsets[G]`, and
    `starts` up to and including that index; the rest is unspecified. P must be
    below 2^31. A pair whose expert id lies outside [0, num_experts) is left
    out of every group. With `group_size = 1` every expert is its own group.
    Computed by a counting sort in O(P + G).

    With `grid_columns` = C, experts are those of a grid of C columns, numbered
    row by row, and groups are its *lines*: first its rows, then its columns,
    each cut into parts of `group_size` experts. A pair belongs to its row if its
    token has at least as many pairs in that row as in the pair's column,
    otherwise to its column. Scores that are sums of a row's and a column's crowd
    in few rows and few columns: of 512 choices among 320 x 320 experts, 77 rows
    hold all, but 21 lines do. A GPU keeps no order among the pairs of a slot
    then.

    What is to be known of each pair can travel with it: `carry` takes values of
    pairs, [T, K], and leaves them, [P], where the pairs stand in `pairs`.

    ```mlir
    %o, %t, %s, %p = omnimoe.dispatch
        ins(%experts : tensor<?x16xi32>)
        outs(%o0, %t0, %s0, %p0 : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
        num_experts = 4096 group_size = 64
        -> tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
    %l, %u, %b, %q = omnimoe.dispatch
        ins(%experts : tensor<?x16xi32>)
        outs(%l0, %u0, %b0, %q0 : tensor<129xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
        num_experts = 4096 group_size = 64 grid_columns = 64
        -> tensor<129xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
    omnimoe.dispatch ins(%e : memref<?x16xi32>)
        outs(%o1, %t1, %s1, %p1 : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
        carry(%weights to %sorted : memref<?x16xf32> to memref<?xf32>)
        num_experts = 4096 group_size = 64
    ```
  }];
  let arguments = (ins
    OmniMoE_Ids:$experts,
    Variadic<OmniMoE_Carried>:$carried,
    OmniMoE_Ids:$offsets,
    OmniMoE_Ids:$tokens,
    OmniMoE_Ids:$starts,
    OmniMoE_Ids:$pairs,
    Variadic<OmniMoE_Carried>:$sorted,
    I64Attr:$num_experts,
    DefaultValuedAttr<I64Attr, "1">:$group_size,
    DefaultValuedAttr<I64Attr, "0">:$grid_columns);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $experts `:` type($experts) `)`
    `outs` `(` $offsets `,` $tokens `,` $starts `,` $pairs `:`
      type($offsets) `,` type($tokens) `,` type($starts) `,` type($pairs) `)`
    (`carry` `(` $carried^ `to` $sorted `:` type($carried) `to` type($sorted) `)`)?
    `num_experts` `=` $num_experts (`group_size` `=` $group_size^)?
    (`grid_columns` `=` $grid_columns^)? attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      return ::mlir::MutableOperandRange(
          getOperation(), 1 + getCarried().size(), 4 + getSorted().size());
    }
    GroupLayout getLayout() {
      return {static_cast<int64_t>(getNumExperts()),
              static_cast<int64_t>(getGroupSize()),
              static_cast<int64_t>(getGridColumns())};
    }
    int64_t getNumGroups() { return getLayout().getNumGroups(); }
    int64_t getTopK() { return getExperts().getType().getShape()[1]; }
  }];
}

//===----------------------------------------------------------------------===//
// grouped_matmul
//===----------------------------------------------------------------------===//

def OmniMoE_GroupedMatmulOp : OmniMoE_TileableOp<"grouped_matmul"> {
  let summary = "Products of tokens and the vectors of their chosen experts";
  let description = [{
    The sampled matrix product of the layer (arXiv 2602.05711, equation of the
    atomic expert): for each pair (t, k) with expert e = `experts[t, k]`

    ```
    products[t, k]    = sum over d of x[t, d] * weights[e, d]        (atomic)
    products[t, k, j] = sum over d of x[t, d] * weights[e, j, d]     (width r)
    ```

    Shapes: `x` [T, D]; `weights` [N, D] or [N, r, D]; `experts` i32 [T, K];
    `products` f32 [T, K] or [T, K, r], overwritten. Sums are taken in f32. A
    pair whose expert id lies outside [0, N) gives 0 and reads nothing.

    Given a `dispatch` of `experts` the work goes group by group; results stand
    token-major either way, so the order of work is never visible in the values.
    On memrefs a GPU's tile may have one row of `weights` and the part of
    `offsets` that belongs to it, as for a sum to experts; it then writes the
    products of that expert's pairs alone.

    ```mlir
    %s = omnimoe.grouped_matmul
        ins(%x, %up, %experts : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
        outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %s = omnimoe.grouped_matmul
        ins(%x, %up, %experts : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
        dispatch(%o, %t, %b, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
        outs(%s0 : tensor<?x16xf32>)
        {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x16xf32>
    ```
  }];
  let arguments = (ins
    OmniMoE_Vectors:$x,
    OmniMoE_Vectors:$weights,
    OmniMoE_Ids:$experts,
    Variadic<OmniMoE_Ids>:$dispatch,
    OmniMoE_Values:$products,
    OptionalAttr<OmniMoE_ScheduleAttr>:$schedule);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    `ins` `(` $x `,` $weights `,` $experts `:`
      type($x) `,` type($weights) `,` type($experts) `)`
    (`dispatch` `(` $dispatch^ `:` type($dispatch) `)`)?
    `outs` `(` $products `:` type($products) `)`
    attr-dict (`->` type($results)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getProductsMutable(); }
    int64_t getNumExperts() { return getWeights().getType().getShape()[0]; }
    int64_t getHiddenSize() { return getWeights().getType().getShape().back(); }
    int64_t getTopK() { return getExperts().getType().getShape()[1]; }
    /// Vectors an expert has: 1 if the experts are atomic.
    int64_t getExpertWidth() {
      auto shape = getWeights().getType().getShape();
      return shape.size() == 3 ? shape[1] : 1;
    }
    bool isDispatched() { return !getDispatch().empty(); }
  }];
}

//===----------------------------------------------------------------------===//
// combine
//===----------------------------------------------------------------------===//

def OmniMoE_CombineOp : OmniMoE_TileableOp<"combine", [
    DeclareOpInterfaceMethods<PartialReductionOpInterface, [
      "generateInitialTensorForPartialReduction", "tileToPartialReduction",
      "mergeReductions", "getPartialResultTilePosition"]>]> {
  let summary = "Weighted sums of vectors to tokens or to experts";
  let description = [{
    With coefficients `a` f32 [T, K] or [T, K, r] and `experts` i32 [T, K],
    adds to the output, in f32 and rounding once at the end:

    ```
    to_tokens:   out[t, :]    += sum over k (and j) of a[t, k, j] * vectors[experts[t, k], j, :]
    to_experts:  out[e, j, :] += sum over (t, k) with experts[t, k] = e of a[t, k, j] * vectors[t, :]
    ```

    `to_tokens` is the layer's weighted sum of down vectors (arXiv 2602.05711):
    `vectors` [N, D] or [N, r, D], `out` [T, D]. `to_experts` is the gradient of
    the experts' vectors: `vectors` [T, D], `out` [N, D] or [N, r, D]. A pair
    whose expert id lies outside [0, N) adds nothing.

    Given a `dispatch` of `experts`, the work goes group by group. A sum to
    experts whose schedule is `expert_centric` with a group for every expert
    finds the pairs of row e between `offsets[e]` and `offsets[e + 1]`: it can be
    cut along its experts, and a tile then has the part of `offsets` that belongs
    to its rows. Schedules that work in blocks multiply the experts of a block that a token did not choose
    by zero, so that a value in `vectors` which is not finite can reach the
    tokens of its neighbours as NaN; `token_centric` never touches it.

    ```mlir
    %y = omnimoe.combine to_tokens
        ins(%a, %down, %experts : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
        outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    %dw = omnimoe.combine to_experts
        ins(%ds, %x, %experts : tensor<?x16xf32>, tensor<?x512xf32>, tensor<?x16xi32>)
        outs(%dw0 : tensor<4096x512xf32>) -> tensor<4096x512xf32>
    ```
  }];
  let arguments = (ins
    OmniMoE_CombineKindAttr:$kind,
    OmniMoE_Values:$coefficients,
    OmniMoE_Vectors:$vectors,
    OmniMoE_Ids:$experts,
    Variadic<OmniMoE_Ids>:$dispatch,
    OmniMoE_Vectors:$out,
    OptionalAttr<OmniMoE_ScheduleAttr>:$schedule);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let assemblyFormat = [{
    $kind `ins` `(` $coefficients `,` $vectors `,` $experts `:`
      type($coefficients) `,` type($vectors) `,` type($experts) `)`
    (`dispatch` `(` $dispatch^ `:` type($dispatch) `)`)?
    `outs` `(` $out `:` type($out) `)`
    attr-dict (`->` type($results)^)?
  }];
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getOutMutable(); }
    bool isToTokens() { return getKind() == CombineKind::ToTokens; }
    /// The operand that is indexed by expert: `vectors` or `out`.
    ::mlir::Value getExpertSide() { return isToTokens() ? getVectors() : getOut(); }
    int64_t getNumExperts();
    int64_t getHiddenSize();
    int64_t getExpertWidth();
    int64_t getTopK() { return getExperts().getType().getShape()[1]; }
    bool isDispatched() { return !getDispatch().empty(); }
    /// A sum to experts that goes expert by expert, each a group of its own.
    bool goesByExpert();
  }];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEOPS
