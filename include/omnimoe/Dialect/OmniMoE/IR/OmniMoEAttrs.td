//===- OmniMoEAttrs.td - Attributes of the omnimoe dialect --*- tablegen -*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEATTRS
#define OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEATTRS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "omnimoe/Dialect/OmniMoE/IR/OmniMoEDialect.td"

def OmniMoE_ScheduleKind : I32EnumAttr<"ScheduleKind",
    "how the (token, expert) pairs are computed", [
      I32EnumAttrCase<"TokenCentric", 0, "token_centric">,
      I32EnumAttrCase<"ExpertCentric", 1, "expert_centric">,
      I32EnumAttrCase<"Dense", 2, "dense">,
      I32EnumAttrCase<"Hybrid", 3, "hybrid">]> {
  let cppNamespace = "::mlir::omnimoe";
  let genSpecializedAttr = 0;
}

def OmniMoE_CombineKind : I32EnumAttr<"CombineKind",
    "what a combine sums to", [
      I32EnumAttrCase<"ToTokens", 0, "to_tokens">,
      I32EnumAttrCase<"ToExperts", 1, "to_experts">]> {
  let cppNamespace = "::mlir::omnimoe";
  let genSpecializedAttr = 0;
}

def OmniMoE_CombineKindAttr :
    EnumAttr<OmniMoE_Dialect, OmniMoE_CombineKind, "combine_kind"> {
  let assemblyFormat = "$value";
}

def OmniMoE_ScheduleAttr : AttrDef<OmniMoE_Dialect, "Schedule"> {
  let mnemonic = "schedule";
  let summary = "The way a group of pairs is computed";
  let description = [{
    Written by `omnimoe-select-schedule`, or by hand, and read by the passes
    that tile and reorder. `group_size` is the number of neighbouring experts
    that one dispatch group holds (expert_centric) or that one dense block
    holds (dense); 0 means that the schedule has no groups. `token_tile` is the
    largest number of tokens one parallel tile works on; 0 means one tile a
    thread, and on a GPU what suits a block. `pair_split` is the number of equal
    parts that the pairs of a token are cut into (token_centric), each summed on
    its own and the sums then added in order; it must divide K. 1 means that they
    are not cut. `column_tile` is the number of columns that one tile of a sum to
    tokens works on (token_centric): all tokens meet one slice of the vectors, which a cache
    holds, before the next, and the products that coefficients are made of come
    before all sums; it must divide D. 0 means that columns are not cut.
    `min_pairs`, at least 2, is the number of choices in one group from which on a
    token's pairs of that group are computed expert by expert (hybrid).
    `grid_columns` is the number of columns of the grid that expert ids number
    row by row, where groups are its rows and columns, of which each pair takes
    the one that its token has more choices in (expert_centric, on a GPU; see
    `omnimoe.dispatch`); it must divide the number of experts. 0 means that
    groups are neighbouring experts.

    - `token_centric`: each token streams its own K up and down vectors.
    - `expert_centric`: pairs are sorted by group; each group's vectors meet the
      tokens that chose one of them as one dense matrix product.
    - `dense`: every expert meets every token; products not chosen are dropped.
    - `hybrid`: pairs of a token that has several choices in their group
      expert-centric, the others token-centric.

    ```mlir
    #omnimoe.schedule<expert_centric, group_size = 64, token_tile = 1024>
    #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>
    #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>
    #omnimoe.schedule<hybrid, group_size = 320, token_tile = 1, min_pairs = 2>
    #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>
    ```
  }];
  let parameters = (ins
    EnumParameter<OmniMoE_ScheduleKind>:$kind,
    DefaultValuedParameter<"int64_t", "0">:$group_size,
    DefaultValuedParameter<"int64_t", "0">:$token_tile,
    DefaultValuedParameter<"int64_t", "1">:$pair_split,
    DefaultValuedParameter<"int64_t", "0">:$column_tile,
    DefaultValuedParameter<"int64_t", "0">:$min_pairs,
    DefaultValuedParameter<"int64_t", "0">:$grid_columns);
  let builders = [
    AttrBuilder<(ins "ScheduleKind":$kind, "int64_t":$groupSize,
                     "int64_t":$tokenTile, CArg<"int64_t", "1">:$pairSplit,
                     CArg<"int64_t", "0">:$columnTile,
                     CArg<"int64_t", "0">:$minPairs), [{
      return $_get($_ctxt, kind, groupSize, tokenTile, pairSplit, columnTile,
                   minPairs, /*gridColumns=*/0);
    }]>];
  let assemblyFormat = [{
    `<` $kind (`,` struct($group_size, $token_tile, $pair_split,
                        $column_tile, $min_pairs, $grid_columns)^)? `>`
  }];
  let genVerifyDecl = 1;
}

def OmniMoE_TargetAttr : AttrDef<OmniMoE_Dialect, "Target"> {
  let mnemonic = "target";
  let summary = "The machine that code is generated for";
  let description = [{
    The one place that knows the hardware: the cost model and the tile chooser
    read these numbers and nothing else. Hangs on the module as
    `omnimoe.target`.

    | parameter | meaning |
    | --- | --- |
    | `chip` | LLVM's CPU name, or `sm_90a` and the like |
    | `features` | LLVM's feature string (`+avx512f`, `+ptx86`) |
    | `units` | cores, or streaming multiprocessors |
    | `vectorBits` | widest vector register of a core, in bits |
    | `l1Bytes` | first-level cache or shared memory of one unit |
    | `l2Bytes` | second-level cache of one core, or of the whole chip |
    | `llcBytes` | last cache before memory |
    | `matrixGflops` | multiply-add rate of one unit in dense products, GFLOP/s |
    | `cacheGbps` | rate at which one unit reads scattered rows out of the last cache, GB/s |
    | `memoryGbps` | the same out of memory, GB/s for the whole machine |

    ```mlir
    module attributes {omnimoe.target = #omnimoe.target<chip = "sapphirerapids",
      features = "+avx512f", units = 2, vectorBits = 512, l1Bytes = 49152,
      l2Bytes = 2097152, llcBytes = 272629760, matrixGflops = 120,
      cacheGbps = 12, memoryGbps = 20>} {}
    ```
  }];
  let parameters = (ins
    StringRefParameter<"LLVM's name of the chip">:$chip,
    StringRefParameter<"LLVM's feature string">:$features,
    "int64_t":$units,
    "int64_t":$vectorBits,
    "int64_t":$l1Bytes,
    "int64_t":$l2Bytes,
    "int64_t":$llcBytes,
    "int64_t":$matrixGflops,
    "int64_t":$cacheGbps,
    "int64_t":$memoryGbps);
  let genVerifyDecl = 1;
  let assemblyFormat = "`<` struct(params) `>`";
  let extraClassDeclaration = [{
    /// Name of the attribute on a module that holds the target.
    static constexpr llvm::StringLiteral kModuleAttrName = "omnimoe.target";
    bool isGPU() const { return getChip().starts_with("sm_"); }
  }];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEATTRS
