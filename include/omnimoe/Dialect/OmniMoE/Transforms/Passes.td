//===- Passes.td - Passes on the omnimoe dialect ------------*- tablegen -*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"
include "omnimoe/Dialect/OmniMoE/Transforms/FusionPasses.td"
include "omnimoe/Dialect/OmniMoE/Transforms/ProgramPasses.td"

def SelectSchedulePass : Pass<"omnimoe-select-schedule", "ModuleOp"> {
  let summary = "Write the schedule of every expert block into the IR";
  let description = [{
    An *expert block* is a `combine to_tokens` with the element-wise operations
    and the `grouped_matmul` that feed it (on a GPU also a second one of the same
    tokens with wide experts, for a gate) and the element-wise operations that
    follow it. For each block the cost model
    estimates the time of every schedule on the module's target
    (`omnimoe.target`, or the host if it has none) and the cheapest is written
    to both operations as `#omnimoe.schedule`. Where the best schedule depends
    on the number of tokens, the block is cloned under an `scf.if` on it, one
    version per range: nothing is compiled again for another T. An operation in no block gets the
    schedule that suits 1,024 tokens, a sum to experts `expert_centric` with a group
    for every expert. On a GPU products take that one too where such a sum reads
    the same tokens, or where each row of a table that the cache does not hold is
    met several times; a sum to tokens cuts such a table's columns
    (`column_tile`). So does a `token_centric` block whose tables do not fit the
    cache together, if that wins: then all products come before the sums. An
    `expert_centric` block of atomic experts takes the rows and columns of the grid
    as groups there (`grid_columns`): that of the router which chose the ids, or a
    square one. Operations that already carry a schedule are left alone.

    A new version starts where another schedule wins by 10 %. If what suits the
    most tokens is within 10 % there, it takes that, so as not to end soon; for
    that, `hybrid` must win by 1.5 % against `expert_centric`.

    What was measured counts more than estimates. `measured` holds, for a block
    of a name, the seconds that schedules took at some T; between two of them
    the seconds lie on a line, beyond the last they grow with T. From the
    smallest T that was measured on, only schedules with a measurement are
    chosen from, if the target has one of them. What was measured are sums in
    any order; if they are to be exact, the seconds grow as the estimates do.
    Blocks are named by what their time depends on: `bf16-n4096-r1-d512-k16` has
    4,096 bf16 experts of width 1, D = 512 and K = 16; `-gated` is added if two
    products make a coefficient.

    The choice is recorded on the module as `omnimoe.schedules`, one dictionary
    a version: the block's name, the schedule, the range of T it serves, and the
    seconds of each schedule for `tokens` tokens, as `estimates` and, if the
    choice was made by them, as `measured`. `tokens` is the start of the range or
    the first T in it that was measured, or 1,024 if there is one version for all.

    On a GPU kernels by groups add to tokens in no fixed order. With
    `deterministic` their `combine` is marked `omnimoe.exact`: atomic experts
    whose sums start from zeros, of up to 8,192 choices. All else goes token by
    token then.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : ...) -> tensor<?x16xf32>
    %a = linalg.generic ... ins(%s, %g : ...)
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : ...) outs(%y0 : ...) -> tensor<?x512xf32>
    ```
    After:
    ```mlir
    %s = omnimoe.grouped_matmul ... {schedule = #omnimoe.schedule<token_centric, token_tile = 8>}
    %a = linalg.generic ...
    %y = omnimoe.combine to_tokens ... {schedule = #omnimoe.schedule<token_centric, token_tile = 8>}
    ```
  }];
  let options = [
    Option<"schedule", "schedule", "std::string", "\"auto\"",
           "auto, token_centric, expert_centric, dense or hybrid">,
    Option<"deterministic", "deterministic", "bool", "false",
           "Only what gives the same bits every time">,
    Option<"threads", "threads", "int64_t", "0",
           "Parallel units to plan for; 0 means all of the target's">,
    ListOption<"measured", "measured", "std::string",
               "<block>:<tokens>=<schedule>=<seconds>:... for each block">];
  let statistics = [
    Statistic<"numBlocks", "expert-blocks", "Expert blocks given a schedule">,
    Statistic<"numVersions", "versions", "Versions that the blocks have">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect"];
}

def DifferentiatePass : Pass<"omnimoe-differentiate", "ModuleOp"> {
  let summary = "Turn a function into the function of its gradients";
  let description = [{
    Reverse-mode differentiation. The module's one public function
    `@f(arguments) -> results` becomes `@f_backward(arguments, cotangents) ->
    gradients`: given the derivative of a loss by every result of a float type,
    the derivative by every argument of a float type, or by those that `wrt`
    lists, in that order. Cotangents have the types of the results and gradients
    those of the arguments; all sums between are in f32. Arguments that no
    result depends on get zeros.

    The function is one block of operations of omnimoe, linalg, tensor, and
    arith and math on whole tensors or in payloads. Their gradients are
    operations of the same dialects, so a gradient goes through the pipelines as
    every program does. An operation with the attribute
    `omnimoe.stop_gradient` counts as a constant. Expert ids have no gradient;
    the choice of a `route` is constant and its scores have one.

    Values of the forward function that the gradient needs are computed again.
    With `save`, those that are products, sums or choices of experts or matrix
    products are arguments instead: the function that `emit=forward` gives
    returns them behind its own results, and the one that `emit=backward` gives
    takes them between arguments and cotangents.

    A table of expert vectors may have far more rows than a batch touches. The
    gradient of a table that `sparse` lists has `rows` rows: the function takes
    one argument more, the last, of the ids' type, which names the row of each
    pair's expert (pairs of a row outside of `rows` add nothing). All uses of
    such tables go by the same ids.

    Before:
    ```mlir
    func.func @f(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>) -> tensor<?x4xf32> {
      %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : tensor<?x4xf32>)
      return %s : tensor<?x4xf32>
    }
    ```
    After:
    ```mlir
    func.func @f_backward(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>,
                          %ds: tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<64x8xf32>) {
      %dx = omnimoe.combine to_tokens ins(%ds, %up, %e : ...) outs(%x_zeros : tensor<?x8xf32>)
      %dup = omnimoe.combine to_experts ins(%ds, %x, %e : ...) outs(%up_zeros : tensor<64x8xf32>)
      return %dx, %dup : tensor<?x8xf32>, tensor<64x8xf32>
    }
    ```
    With `sparse=1 rows=16`:
    ```mlir
    func.func @f_backward(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>,
                          %ds: tensor<?x4xf32>, %r: tensor<?x4xi32>) -> (tensor<?x8xf32>, tensor<16x8xf32>) {
      %dx = omnimoe.combine to_tokens ins(%ds, %up, %e : ...) outs(%x_zeros : tensor<?x8xf32>)
      %dup = omnimoe.combine to_experts ins(%ds, %x, %r : ...) outs(%up_zeros : tensor<16x8xf32>)
      return %dx, %dup : tensor<?x8xf32>, tensor<16x8xf32>
    }
    ```
  }];
  let options = [
    ListOption<"wrt", "wrt", "int64_t",
               "Numbers of the arguments to differentiate by; all floats if empty">,
    Option<"save", "save", "bool", "false",
           "Save products and choices instead of computing them again">,
    Option<"emit", "emit", "std::string", "\"backward\"",
           "backward, or forward for the function that saves">,
    ListOption<"sparse", "sparse", "int64_t",
               "Numbers of the tables whose gradients have few rows">,
    Option<"rows", "rows", "int64_t", "0", "Rows of these gradients">];
  let statistics = [
    Statistic<"numDifferentiated", "differentiated", "Operations differentiated">,
    Statistic<"numSaved", "saved", "Values saved for the gradient">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::tensor::TensorDialect"];
}

def AccumulateInF32Pass : Pass<"omnimoe-accumulate-in-f32", "::mlir::func::FuncOp"> {
  let summary = "Give every combine an f32 destination";
  let description = [{
    A combine sums in f32 and rounds once. One with an f16 or bf16 destination
    becomes a combine into an f32 tensor that starts as the extended
    destination, followed by the one rounding. Later passes may then add to the
    destination piece by piece.

    Before:
    ```mlir
    %y = omnimoe.combine to_tokens ins(...) outs(%y0 : tensor<?x512xbf16>) -> tensor<?x512xbf16>
    ```
    After:
    ```mlir
    %f0 = linalg.generic ... ins(%y0 : tensor<?x512xbf16>) outs(...) { arith.extf } -> tensor<?x512xf32>
    %f = omnimoe.combine to_tokens ins(...) outs(%f0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    %y = linalg.generic ... ins(%f : tensor<?x512xf32>) outs(%y0 : ...) { arith.truncf } -> tensor<?x512xbf16>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

def PartitionPairsPass : Pass<"omnimoe-partition-pairs", "::mlir::func::FuncOp"> {
  let summary = "Make two blocks of an expert block whose schedule is hybrid";
  let description = [{
    A slot of the expert-centric schedule costs the same for one pair as for
    many. A `combine to_tokens` whose schedule is `hybrid` is therefore cloned,
    with the products and element-wise operations that feed it and nothing else:
    `omnimoe.partition` gives one of the two the pairs of a token that has at
    least `min_pairs` choices in a group, expert-centric, and the other those
    that are left, token-centric and marked `omnimoe.few_pairs`. The sums of the
    latter are what those of the former are added to.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : ...)
           {schedule = #omnimoe.schedule<hybrid, group_size = 320, token_tile = 1, min_pairs = 2>}
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : ...) outs(%y0 : ...)
           {schedule = #omnimoe.schedule<hybrid, group_size = 320, token_tile = 1, min_pairs = 2>}
    ```
    After:
    ```mlir
    %c, %r = omnimoe.partition ins(%e : tensor<?x512xi32>) outs(...)
               num_experts = 102400 group_size = 320 min_pairs = 2
    %s1 = omnimoe.grouped_matmul ins(%x, %up, %r : ...) outs(%s0 : ...)
           {omnimoe.few_pairs, schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
    %y1 = omnimoe.combine to_tokens ins(%s1, %down, %r : ...) outs(%y0 : ...)
           {omnimoe.few_pairs, schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
    %s = omnimoe.grouped_matmul ins(%x, %up, %c : ...) outs(%s0 : ...)
           {schedule = #omnimoe.schedule<expert_centric, group_size = 320>}
    %y = omnimoe.combine to_tokens ins(%s, %down, %c : ...) outs(%y1 : ...)
           {schedule = #omnimoe.schedule<expert_centric, group_size = 320>}
    ```
  }];
  let statistics = [Statistic<"numPartitioned", "partitioned", "Blocks that became two">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect", "::mlir::tensor::TensorDialect"];
}

def SplitPairsPass : Pass<"omnimoe-split-pairs", "::mlir::func::FuncOp"> {
  let summary = "Cut the pairs of each token into parts that run in parallel";
  let description = [{
    With few tokens, tiles of whole tokens leave most of a chip idle. A
    `combine to_tokens` whose schedule has `pair_split` = S > 1 is tiled along
    single tokens and along its K pairs (a partial reduction): each tile sums
    K / S pairs of a token and writes its partial sum, [T, S, D]. What only
    the combine needs, the products and the element-wise operations on them, is
    fused into the tile. A second loop, over tokens and blocks of columns, adds
    the S sums in order to the destination and takes in the element-wise
    operations that follow. No result depends on which tile ends first.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : tensor<?x512xf32>)
           {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : ...) outs(%y0 : tensor<?x1024xf32>)
           {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
    ```
    After:
    ```mlir
    %p = scf.forall (%t, %k) = (0, 0) to (%T, 512) step (1, 16) shared_outs(... : tensor<?x32x1024xf32>) {
      %s = omnimoe.grouped_matmul ins(%x_tile, %up, %e_tile : ...) outs(... : tensor<1x16xf32>)
      %part = omnimoe.combine to_tokens ins(%s, %down, %e_tile : ...) outs(%zero : tensor<1x1024xf32>)
    }
    %y = scf.forall (%t, %d) = (0, 0) to (%T, 1024) step (1, 128) shared_outs(... = %y0) {
      %sum = linalg.reduce ins(%p_tile : tensor<1x32x128xf32>) outs(%y_tile : tensor<1x128xf32>) dimensions = [1]
    }
    ```
  }];
  let options = [Option<"columnTile", "column-tile", "int64_t", "128",
                        "Largest number of columns of a tile that adds partial sums">];
  let statistics = [Statistic<"numSplit", "split", "Combines whose pairs were split">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect",
                           "::mlir::affine::AffineDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

def TilePass : Pass<"omnimoe-tile", "::mlir::func::FuncOp"> {
  let summary = "Cut the program along its tokens into parallel tiles";
  let description = [{
    Walks the function from its results backwards. Each operation that no tile
    holds yet and whose first loop is parallel becomes the root of an
    `scf.forall` over tiles of tokens, and its producers are fused into the
    tile as long as nothing else needs them whole (upstream's tile-and-fuse on
    `TilingInterface`). So the values between operations, [T, K] or [T, I], only
    ever exist for one tile. A sum to experts is cut along its experts if it goes
    expert by expert, else along D; tiles never meet either way.

    A tile holds at most as many tokens as the schedule's `token_tile` (of the
    operations in it the smallest; `token-tile` where none says), and at
    most `ceil(T / threads)`, so that few tokens still use every thread. On a
    GPU a tile is one block of threads and always has the same number of tokens:
    the schedule's, 32 with a product of matrices, 64 if another of at most 64
    columns has the same rows, as many as have 1,024 elements (32 at most) where all
    operations are element-wise, or 4 where none says. A product that is added to a
    sum to tokens has tiles of its own, whose size suits it. A sum to tokens whose schedule has a
    `column_tile` is cut along its columns as well, with these as the outer loop;
    products that its coefficients are made of stay in a tile of their own, since
    every slice would need them again. Products that follow a dispatch are in no tile:
    on a GPU they start from zeros, which pairs of no expert keep, and a sum to
    experts of the same tokens is moved right behind them.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : tensor<?x16xf32>)
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : ...) outs(%y0 : tensor<?x512xf32>)
    ```
    After:
    ```mlir
    %y = scf.forall (%t) = (0) to (%T) step (%tile) shared_outs(%yi = %y0) {
      %s = omnimoe.grouped_matmul ins(%x_tile, %up, %e_tile : ...) outs(... : tensor<?x16xf32>)
      %y_tile = omnimoe.combine to_tokens ins(%s, %down, %e_tile : ...)
      scf.forall.in_parallel { tensor.parallel_insert_slice %y_tile into %yi[%t, 0] ... }
    }
    ```
  }];
  let options = [
    Option<"tokenTile", "token-tile", "int64_t", "64",
           "Tokens of a tile where no schedule says">,
    Option<"threads", "threads", "int64_t", "0",
           "Parallel units to plan for; 0 means all of the target's">];
  let statistics = [Statistic<"numTiled", "tiled-roots", "Roots that were tiled">,
                    Statistic<"numFused", "fused-producers", "Producers fused into a tile">];
  // The target's attribute is ours, whatever the module holds.
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect",
                           "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect"];
}

def NarrowProductsPass : Pass<"omnimoe-narrow-products", "::mlir::func::FuncOp"> {
  let summary = "Round computed operands of products to the other operand's type";
  let description = [{
    Tensor cores multiply two f16 or two bf16 matrices. An operand of a product
    that the program computes in f32, element by element, and multiplies with a
    f16 or bf16 matrix is rounded to that type, as frameworks round the
    values between two layers. Sums stay in f32. Operands that are arguments
    are left alone, and so are products of two f32 matrices.

    Before:
    ```mlir
    %h = linalg.generic ... -> tensor<?x4096xf32>
    %y = linalg.matmul ... ins(%h, %down : tensor<?x4096xf32>, tensor<1024x4096xbf16>) ...
    ```
    After:
    ```mlir
    %h = linalg.generic ... -> tensor<?x4096xf32>
    %n = linalg.generic ... ins(%h : tensor<?x4096xf32>) outs(...) { arith.truncf } -> tensor<?x4096xbf16>
    %y = linalg.matmul ... ins(%n, %down : tensor<?x4096xbf16>, tensor<1024x4096xbf16>) ...
    ```
  }];
  let statistics = [Statistic<"numNarrowed", "narrowed", "Operands rounded">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

def TileProductsPass : Pass<"omnimoe-tile-products", "::mlir::func::FuncOp"> {
  let summary = "Cut dense products along rows and columns into parallel tiles";
  let description = [{
    Every product of two matrices becomes an `scf.forall` over tiles of rows and
    columns of its result. An element-wise operation that alone uses
    the product becomes part of the tile, as the last thing that is done to the
    sums; one that uses two products, such as SwiGLU, takes both into its tile.
    A GPU computes such a tile in one thread block, with the sums in registers.
    The size of the tile is chosen for the module's target; where it depends on
    the number of rows, there are versions under an `scf.if`. So it does for the
    sums of long rows: few rows of large tiles have them computed in parts, by as
    many blocks as the attribute `omnimoe.parts` says. Where large tiles are for
    warpgroups, a `linalg.generic` that gathers rows of a matrix by indices, for
    the products alone, becomes part of the tile: its rows are never stored. A
    product of at most
    128 columns whose rows are reduced, as a softmax does, is left to
    `omnimoe-tile` on a GPU: a block computes whole rows, and what is made of them.

    Before:
    ```mlir
    %g = linalg.matmul ... ins(%x, %gate : ...) outs(%zero : ...) -> tensor<?x4096xf32>
    %u = linalg.matmul ... ins(%x, %up : ...) outs(%zero : ...) -> tensor<?x4096xf32>
    %h = linalg.generic ... ins(%g, %u : ...) outs(%e : ...) -> tensor<?x4096xbf16>
    ```
    After:
    ```mlir
    %h = scf.forall (%i, %j) = (0, 0) to (%T, 4096) step (64, 64) shared_outs(%out = %e) {
      %g = linalg.matmul ... -> tensor<?x64xf32>
      %u = linalg.matmul ... -> tensor<?x64xf32>
      %h = linalg.generic ... ins(%g, %u : ...) -> tensor<?x64xbf16>
      scf.forall.in_parallel { tensor.parallel_insert_slice %h into %out[%i, %j] ... }
    }
    ```
  }];
  let statistics = [Statistic<"numTiled", "tiled-roots", "Roots that were tiled">,
                    Statistic<"numFused", "fused-products", "Products fused into a tile">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect",
                           "::mlir::affine::AffineDialect", "::mlir::tensor::TensorDialect"];
}

def FuseExpertBlocksPass : Pass<"omnimoe-fuse-expert-blocks", "::mlir::func::FuncOp"> {
  let summary = "Keep an expert-centric block together for one kernel";
  let description = [{
    A `combine to_tokens` with a dispatch, the element-wise operation that makes
    its coefficients, and the `grouped_matmul` on the same dispatch that feeds it
    (or several of the same tokens with tables of wide experts, as with a gate)
    move into one `scf.execute_region` that is not to be inlined, if nothing else
    needs the values between them. Later passes leave the region whole, and
    `convert-omnimoe-expert-block-to-gpu` makes one kernel of it: products of
    slots stay in registers until they are coefficients. Products that are needed
    later, as by a gradient, are a second result of the region; the
    `grouped_matmul` is then marked `omnimoe.kept` and starts from zeros. Where
    those of wide experts are needed later, the block stays as it is. Zeros that
    the sums start from move along: the kernels write them in passing.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) dispatch(%o, %t, %b, %p : ...) outs(%s0 : ...)
    %a = linalg.generic ... ins(%s, %g : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>)
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : ...) dispatch(%o, %t, %b, %p : ...) outs(%y0 : ...)
    ```
    After:
    ```mlir
    %y = scf.execute_region -> tensor<?x512xf32> no_inline {
      %s = omnimoe.grouped_matmul ...
      %a = linalg.generic ...
      %1 = omnimoe.combine to_tokens ...
      scf.yield %1 : tensor<?x512xf32>
    }
    ```
  }];
  let statistics = [Statistic<"numFused", "fused", "Blocks that became a region">];
  let dependentDialects = ["::mlir::scf::SCFDialect"];
}

def ExpertCentricReorderPass : Pass<"omnimoe-expert-centric-reorder", "::mlir::func::FuncOp"> {
  let summary = "Let expert-centric operations work group by group";
  let description = [{
    Gives every `grouped_matmul` and `combine` whose schedule is
    `expert_centric` a dispatch of its experts: the scattered look-ups become
    dense products of a group's vectors with the tokens that chose it
    (expert-centric scheduling, arXiv 2602.05711 section 3.2). Operations on
    the same experts with the same groups share one dispatch. Values stay
    token-major, so nothing else changes.

    Before:
    ```mlir
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) outs(%s0 : ...)
           {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    ```
    After:
    ```mlir
    %o, %t, %b, %p = omnimoe.dispatch ins(%e : tensor<?x16xi32>) outs(...)
                       num_experts = 4096 group_size = 64
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : ...) dispatch(%o, %t, %b, %p : ...) outs(%s0 : ...)
           {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    ```
  }];
  let options = [
    Option<"onlyToExperts", "only-to-experts", "bool", "false",
           "Reorder sums to experts alone, which need the whole batch">];
  let statistics = [Statistic<"numDispatches", "dispatches", "Dispatches created">,
                    Statistic<"numReordered", "reordered", "Operations given a dispatch">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect"];
}

def TransposeActivationsPass : Pass<"omnimoe-transpose-activations", "::mlir::func::FuncOp"> {
  let summary = "Put tokens along the vector lanes of dense products";
  let description = [{
    A product of activations and weights that both lie with the summed
    dimension innermost, `x[T, D] * w[I, D]^T`, has no operand that can be
    loaded as a vector along its result. This pass transposes the small side,
    the tile of activations, instead of packing the large one: the product
    becomes `w[I, D] * x^T[D, T]`, whose weights are read in place, one scalar at
    a time, and whose lanes run along the tokens. Element-wise operations between
    products then work on transposed values, and transposes that meet cancel.

    Before:
    ```mlir
    %h = linalg.matmul indexing_maps = [(m,n,k)->(m,k), (m,n,k)->(n,k), (m,n,k)->(m,n)]
           ins(%x, %w : tensor<?x512xf32>, tensor<2048x512xf32>) outs(%h0 : tensor<?x2048xf32>)
    ```
    After:
    ```mlir
    %xt = linalg.transpose ins(%x : tensor<?x512xf32>) outs(...) permutation = [1, 0]
    %ht = linalg.matmul ins(%w, %xt : tensor<2048x512xf32>, tensor<512x?xf32>) outs(%h0t : tensor<2048x?xf32>)
    %h = linalg.transpose ins(%ht : tensor<2048x?xf32>) outs(%h0) permutation = [1, 0]
    ```
  }];
  let statistics = [Statistic<"numTransposes", "transposes", "Transposes that remain for the products">];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES
