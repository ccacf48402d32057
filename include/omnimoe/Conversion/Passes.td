//===- Passes.td - Conversions out of the omnimoe dialect ---*- tablegen -*-===//

#ifndef OMNIMOE_CONVERSION_PASSES
#define OMNIMOE_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"
include "omnimoe/Conversion/KernelPasses.td"

def ConvertOmniMoEToVectorPass : Pass<"convert-omnimoe-to-vector"> {
  let summary = "Lower bufferized omnimoe operations to loops and vectors";
  let description = [{
    The CPU lowering. Each operation on memrefs becomes sequential `scf` loops
    with `vector` operations; parallelism stands around it already.

    - `route`: the exact pruned search (docs/Rationale.md).
    - `dispatch`: a counting sort.
    - `grouped_matmul`, `combine` with schedule `token_centric` (or none): four
      expert vectors at a time are streamed against the token in registers.
    - the same given a dispatch, or with schedule `dense`: blocks of experts are
      multiplied with blocks of tokens by `linalg.matmul` on scratch memory, from
      which the chosen products are picked; `convert-linalg-to-vector` lowers
      those products.

    Before:
    ```mlir
    omnimoe.grouped_matmul ins(%x, %up, %e : memref<?x512xf32>, memref<4096x512xf32>, memref<?x16xi32>)
                           outs(%s : memref<?x16xf32>)
    ```
    After:
    ```mlir
    scf.for %t = %c0 to %T step %c1 {
      scf.for %q = %c0 to %c16 step %c4 {
        ... vector.load, vector.fma, vector.reduction ...
    ```
  }];
  let options = [Option<"vectorBits", "vector-bits", "int64_t", "512",
                        "Width of the vector registers">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ConvertLinalgToVectorPass : Pass<"convert-linalg-to-vector"> {
  let summary = "Lower bufferized linalg operations to register-blocked vector loops";
  let description = [{
    What remains of `linalg` inside a tile becomes sequential loops over
    vectors as wide as the target's registers, with masked tails:

    - `linalg.matmul` whose right side and result are contiguous along the last
      dimension: a register-blocked kernel of `rows x 2` accumulators, the left
      side broadcast one scalar at a time, so that neither side is packed.
    - `linalg.transpose` of two dimensions: square blocks in registers.
    - element-wise operations, fills and reductions along the last dimension.

    Anything else is left alone for `convert-linalg-to-loops`.

    Before:
    ```mlir
    linalg.matmul ins(%w, %xt : memref<2048x512xf32>, memref<512x?xf32>) outs(%ht : memref<2048x?xf32>)
    ```
    After:
    ```mlir
    scf.for %m = %c0 to %c2040 step %c12 {
      scf.for %n = %c0 to %N step %c32 {
        %acc:24 = scf.for %k = %c0 to %c512 step %c1 iter_args(...) { ... vector.fma ... }
    ```
  }];
  let options = [Option<"vectorBits", "vector-bits", "int64_t", "512",
                        "Width of the vector registers">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ConvertOmniMoEToGPUPass : Pass<"convert-omnimoe-to-gpu"> {
  let summary = "Turn parallel tiles into GPU kernels";
  let description = [{
    Each `scf.forall` over tiles of tokens, bufferized, becomes a `gpu.launch`
    with one thread block per tile. Buffers made in the tile become shared
    memory, and each operation of the tile is computed by all threads of the
    block, with barriers between: `grouped_matmul` by a warp per pair, `combine
    to_tokens` by a thread per piece of the output, element-wise operations by a
    thread per few elements, reductions along a row by a warp, `route` by a warp
    per token where a warp can hold it. Expert vectors are read once, 16 bytes a
    thread: where a row is a multiple of 16 bytes, buffers must start at one too.
    Up to 16 down vectors of a token are loaded ahead of the products, if there
    are no more than four tiles for each multiprocessor: with more, its registers
    are better used by more blocks, and two kernels are made if that is not known.

    Products that follow a dispatch with a group for every expert have a block for
    each; where the tiles of a `combine to_experts` of the same tokens come next,
    they are computed in these, from what is loaded for the sum. Other groups are
    refused, and hidden sizes of which a block's threads do not have 16 bytes each.

    A tile of rows and columns of a dense product is one block too, with the sums
    in registers: two f16 or two bf16 matrices are multiplied by `mma.sync` out
    of a ring of stages in shared memory, others in f32. What is made of the
    sums element by element is made of them in registers. A tile of two narrow
    products of the same rows gives each warp whole rows of one of them, so that
    reductions of rows, as of a softmax, stay in registers as well; a tile of 64
    rows is of two blocks, a cluster, with half of the summed loop each. Where a
    router of the same tokens comes next and takes what such tiles of two f16 or
    two bf16 matrices make, it becomes part of their kernel: a warpgroup for each
    product, then a warp for each token, which makes the logits of the sums, in
    registers, and chooses the experts. The axes have up to 64 rows and columns
    then, and up to 128 candidates. An operation in no tile is a launch of one
    block.

    Large tiles of two such matrices stored along the sums are multiplied by
    warpgroups (`wgmma`). A warpgroup of its own fills the ring: the hardware
    copies whole tiles, or, where the tile gathers rows of the left matrix by
    indices, threads copy the rows from where they are. Rows outside of the
    matrix are not read then, and count as zeros. What results are made of besides
    sums is loaded before the sums are computed if 64 registers hold it, otherwise
    several pieces at a time.

    Before:
    ```mlir
    scf.forall (%t) = (0) to (%T) step (1) {
      %s = memref.alloc() : memref<1x16xf32>
      omnimoe.grouped_matmul ins(%x_tile, %up, %e_tile : ...) outs(%s : memref<1x16xf32>)
    ```
    After:
    ```mlir
    gpu.launch blocks(%t, ...) in (%gx = %T, ...) threads(%i, ...) in (%bx = %c128, ...)
        workgroup(%s : memref<1x16xf32, #gpu.address_space<workgroup>>) {
      ... vector.load, vector.fma, gpu.shuffle xor ...
      gpu.barrier
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::nvgpu::NVGPUDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def ConvertOmniMoEDispatchToGPUPass :
    Pass<"convert-omnimoe-dispatch-to-gpu", "::mlir::ModuleOp"> {
  let summary = "Sort pairs by group of experts on the GPU";
  let description = [{
    Each `dispatch` on memrefs becomes a sequence of kernels. A stable radix sort
    of the pairs by group, at most 10 bits at a time, takes three for each digit (count,
    scan, scatter); three more find the slots in the sorted pairs. No kernel
    waits for another block and none counts with atomics on memory, so results
    are those of the CPU to the bit. Scratch buffers are allocated beside, their
    sizes functions of the number of tokens: run this pass before
    `omnimoe-plan-workspace`. How many blocks share out the pairs follows the
    target's `units`.

    Where groups are up to 1,024 lines of a grid (`grid_columns`), nothing is
    sorted: a block for each token finds the line of each pair and counts, into a
    table of tokens and groups; three kernels add up along tokens and groups and
    write the slots; and a block for each token puts its pairs, and what they
    carry, where their slots begin. The pairs of a slot are in no fixed order then.
    Numbers of pairs that nothing else reads are not written.

    Before:
    ```mlir
    omnimoe.dispatch ins(%e : memref<?x16xi32>)
        outs(%o, %t, %s, %p : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
        num_experts = 4096 group_size = 64
    ```
    After:
    ```mlir
    %keys = memref.alloc(%P) : memref<?xi32>
    gpu.launch ... function(@f_dispatch0_count0) ...
    gpu.launch ... function(@f_dispatch0_scan0) ...
    gpu.launch ... function(@f_dispatch0_scatter0) ...
    gpu.launch ... function(@f_dispatch0_heads) ...
    gpu.launch ... function(@f_dispatch0_slots) ...
    gpu.launch ... function(@f_dispatch0_offsets) ...
    ```

    Before, by lines:
    ```mlir
    omnimoe.dispatch ins(%e : memref<?x16xi32>)
        outs(%o, %t, %s, %p : memref<129xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
        num_experts = 4096 group_size = 64 grid_columns = 64
    ```
    After:
    ```mlir
    %counts = memref.alloc(%T) : memref<?x128xi16>
    gpu.launch ... function(@f_dispatch0_lines) ...
    gpu.launch ... function(@f_dispatch0_sums) ...
    gpu.launch ... function(@f_dispatch0_scan) ...
    gpu.launch ... function(@f_dispatch0_offsets) ...
    gpu.launch ... function(@f_dispatch0_slots) ...
    gpu.launch ... function(@f_dispatch0_place) ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::NVVM::NVVMDialect", "::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ConvertOmniMoEExpertBlockToGPUPass :
    Pass<"convert-omnimoe-expert-block-to-gpu", "::mlir::ModuleOp"> {
  let summary = "Compute expert-centric blocks by tensor cores";
  let description = [{
    Each region of `omnimoe-fuse-expert-blocks`, bufferized, becomes three
    kernels. The first two cut the slots of the dispatch into tiles of up to 128
    slots of one group, and order the pairs of a tile by columns. Tiles of the
    same range of tokens follow each other, so that the sums of these tokens stay
    in the second-level cache. The third is persistent, with one producer and two
    consumer warpgroups. For a tile it gathers the slots' tokens, with zeros where
    a tile is not full, multiplies them by all up vectors of the group, computes
    the coefficients of the pairs from the few products that they need,
    multiplies these by the down vectors, and adds the results to the tokens' rows
    in memory (`red.global.add.f32`, so the order of a token's sums is not fixed). Coefficients never lie in memory, and
    products do only where the `grouped_matmul` is marked `omnimoe.kept`; expert
    vectors are read once per tile. Where the region fills the sums with zeros,
    other blocks of the first kernel do so while one cuts slots into tiles.

    Where groups are lines of a grid, a vector meets few tokens. Two blocks are a
    cluster then and share a tile: each copies half of the vectors to both, out of
    the table seen by rows or by columns. The dispatch is moved in front of the
    block and carries the ids and what coefficients take from memory, so this
    pass runs before `convert-omnimoe-dispatch-to-gpu`.

    Where the `combine` is marked `omnimoe.exact`, what a tile adds is rounded to
    multiples of a quantum of the token's, so that sums are exact, hence the same
    in any order. `@f_experts0_limits` guesses the quanta, and the kernel is
    launched twice: `@f_experts0_new_limits` clears, between both, the rows of
    tokens whose sums did not fit, and the second launch computes these alone.

    Of wide experts, [N, r, D], a group is an expert and rows of a tile are its
    pairs, each with all products, so that coefficients are computed in the
    registers that products are in, and two kernels remain: one writes the tiles,
    expert by expert, whatever their tokens. A tile takes up to 256 of an expert's
    vectors, and more vectors are further tiles. Products with several tables, as
    a gate makes them, share 256 columns and may take several passes over the
    tokens. r may be any number from 2 on: vectors are filled with zeros to a
    multiple of 16. Products of wide experts cannot be kept.

    Coefficients are rounded to the type of the vectors, as tensor cores take them.
    Vectors must be f16 or bf16, their length a multiple of 64, and a group one
    wide expert or up to 320 atomic ones: what the cost model takes for granted.
    Scratch buffers are allocated beside: run this pass before
    `omnimoe-plan-workspace`.

    Before:
    ```mlir
    scf.execute_region no_inline {
      omnimoe.grouped_matmul ins(%x, %up, %e : ...) dispatch(%o, %t, %b, %p : ...) outs(%s : ...)
      linalg.generic ... ins(%s, %g : ...) outs(%s : memref<?x16xf32>)
      omnimoe.combine to_tokens ins(%s, %down, %e : ...) dispatch(%o, %t, %b, %p : ...) outs(%y : ...)
    }
    ```
    After:
    ```mlir
    %tiles = memref.alloc(%n) : memref<?x3xi32>
    %cells = memref.alloc(%P) : memref<?xi16>
    gpu.launch ... function(@f_experts0_tiles) ...
    gpu.launch ... function(@f_experts0_cells) ...
    gpu.launch ... function(@f_experts0) ...
    ```

    Before, by lines:
    ```mlir
    omnimoe.dispatch ins(%e : ...) outs(%o, %t, %b, %p : ...) num_experts = 4096 group_size = 64 grid_columns = 64
    scf.execute_region no_inline { ... }
    ```
    After:
    ```mlir
    omnimoe.dispatch ins(%e : ...) outs(%o, %t, %b, %p : ...) carry(%e, %g to %ids, %gates : ...)
        num_experts = 4096 group_size = 64 grid_columns = 64
    gpu.launch ... function(@f_experts0_tiles) ...
    gpu.launch ... function(@f_experts0_cells) ...
    gpu.launch blocks(...) in (..., %z = %c2) ... function(@f_experts0) ...
    ```

    Before, with a gate:
    ```mlir
    scf.execute_region no_inline {
      omnimoe.grouped_matmul ins(%x, %gate, %e : ..., memref<256x256x1024xbf16>, ...) dispatch(...) outs(%s : memref<?x4x256xf32>)
      omnimoe.grouped_matmul ins(%x, %up, %e : ..., memref<256x256x1024xbf16>, ...) dispatch(...) outs(%r : memref<?x4x256xf32>)
      linalg.generic ... ins(%s, %r, %g : ..., memref<?x4xf32>) outs(%s : memref<?x4x256xf32>)
      omnimoe.combine to_tokens ins(%s, %down, %e : ...) dispatch(...) outs(%y : ...)
    }
    ```
    After:
    ```mlir
    %tiles = memref.alloc(%n) : memref<?x3xi32>
    gpu.launch ... function(@f_experts0_tiles) ...
    gpu.launch ... function(@f_experts0) ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::NVVM::NVVMDialect",
                           "::mlir::nvgpu::NVGPUDialect", "::mlir::omnimoe::OmniMoEDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

def ConvertMathToNVVMApproxPass : Pass<"convert-math-to-nvvm-approx"> {
  let summary = "Use the GPU's own exponential, quotient, square root and absolute value";
  let description = [{
    Without CUDA's device library `math.exp` has no implementation on a GPU. The
    hardware's `ex2.approx` is accurate to 2 units in the last place. `math.sqrt`
    becomes `sqrt.rn`, which is exact, and `math.absf` clears the sign bit.
    `arith.divf` becomes `div.full`, accurate to 2 units in the last place: the
    quotient that is rounded to nearest branches for rare operands. A sigmoid,
    `1 / (1 + exp(x))`, or one times x, as in silu, becomes `div.approx.ftz`: as
    accurate, but 0 where x is above 87.3 (magnitudes below 2^-119). Operations
    outside of kernels, and on other types than f32, are left alone.

    Before:
    ```mlir
    %e = math.exp %x : f32
    ```
    After:
    ```mlir
    %s = arith.mulf %x, %log2e : f32
    %e = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%s) : (f32) -> f32
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::vector::VectorDialect"];
}

def ConvertMathToPolynomialPass : Pass<"convert-math-to-polynomial"> {
  let summary = "Expand exp, tanh, erf and others on f32 into polynomials";
  let description = [{
    Upstream's polynomial approximations, which are accurate to a few units in
    the last place of f32. On vectors the alternative is a call of the scalar
    library function for every lane.

    Before:
    ```mlir
    %e = math.exp %x : vector<16xf32>
    ```
    After: a range reduction and a polynomial in `arith` and `vector` operations.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
                           "::mlir::vector::VectorDialect"];
}

#endif // OMNIMOE_CONVERSION_PASSES
