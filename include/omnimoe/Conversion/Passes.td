//===- Passes.td - Conversions out of the omnimoe dialect ---*- tablegen -*-===//

#ifndef OMNIMOE_CONVERSION_PASSES
#define OMNIMOE_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

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
    rows is of two blocks, a cluster, with half of the summed loop each. An
    operation in no tile is a launch of one block.

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
    consumer warpgroups. For a tile it gathers the slots' tokens, multiplies them
    by all up vectors of the group, computes the coefficients of the pairs from
    the few products that they need, multiplies these by the down vectors, and
    adds the results to the tokens' rows in memory (`red.global.add.f32`, so the
    order of a token's sums is not fixed). Coefficients never lie in memory, and
    products do only where the `grouped_matmul` is marked `omnimoe.kept`; expert
    vectors are read once per tile.

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

def AlignSharedMemoryPass : Pass<"omnimoe-align-shared-memory"> {
  let summary = "Align the shared memory of kernels to 16 bytes";
  let description = [{
    LLVM takes a buffer of 16 bytes or more for aligned to 16 and merges accesses
    accordingly, but PTX declares it with the alignment of its elements unless
    one is given: the merged access then traps.

    Before:
    ```mlir
    gpu.func @f() workgroup(%s : memref<5xf32, #gpu.address_space<workgroup>>) kernel
    ```
    After:
    ```mlir
    gpu.func @f() workgroup(%s : memref<5xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}) kernel
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def AssignStreamsPass : Pass<"omnimoe-assign-streams", "ModuleOp"> {
  let summary = "Let independent parts of a program run side by side";
  let description = [{
    What operations read and write is followed to the function's arguments and to
    the workspace, whose parts do not overlap; an operation of which that is not
    known waits for all before it and is waited for by all after it. Of two
    products of few columns that do not need each other's results, such as a
    router's, the later goes to a second stream. So does a product for whole
    warpgroups, if something else does not need its result, nor it that one's,
    and it has fewer tiles than there are multiprocessors: one that has more
    keeps the second-level cache as busy as other operations do, and would only
    slow them down.

    The program forks before its first operation, and has come together when it
    returns. It does not fork for 32 rows or fewer, and where it does not, both
    streams are the caller's.

    Runs after `omnimoe-plan-workspace` and before `convert-omnimoe-to-gpu`;
    `convert-gpu-launch-to-runtime` lowers the calls.

    Before:
    ```mlir
    scf.forall ... { linalg.matmul ins(%x, %u ...) outs(%rows) }
    scf.forall ... { linalg.matmul ins(%x, %v ...) outs(%columns) }
    scf.forall ... { omnimoe.route ins(%rows, %columns) outs(%scores, %experts) }
    ```
    After:
    ```mlir
    scf.if %many { func.call @omnimoe_gpu_fork() : () -> () }
    scf.forall ... { linalg.matmul ins(%x, %u ...) outs(%rows) }
    func.call @omnimoe_gpu_select_stream(%side) : (i32) -> ()
    scf.forall ... { linalg.matmul ins(%x, %v ...) outs(%columns) }
    func.call @omnimoe_gpu_select_stream(%caller) : (i32) -> ()
    func.call @omnimoe_gpu_wait_for_stream(%side) : (i32) -> ()
    scf.forall ... { omnimoe.route ins(%rows, %columns) outs(%scores, %experts) }
    ```
  }];
  let statistics = [Statistic<"numForked", "forked", "Functions with two streams">];
  let dependentDialects = ["::mlir::func::FuncDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::omnimoe::OmniMoEDialect"];
}

def OverlapLaunchesPass : Pass<"omnimoe-overlap-launches", "ModuleOp"> {
  let summary = "Let a kernel be launched while its predecessor ends";
  let description = [{
    Between two kernels of a stream the hardware drains the first, then sets up
    the second: one to three microseconds in which little runs. Here every
    kernel of a function that launches several begins by waiting for its
    predecessor (`griddepcontrol.wait`, after which all that the predecessor
    wrote can be seen) and then allows its own successor to be set up
    (`griddepcontrol.launch_dependents`). Its launches are marked, and
    `convert-gpu-launch-to-runtime` asks the driver for a programmatic
    dependence on the kernel before. A launch right behind a change of streams
    is not marked: it depends on more than one kernel. A function with one launch
    is left alone.

    Before:
    ```mlir
    gpu.launch_func @kernels::@first ...
    gpu.launch_func @kernels::@second ...
    gpu.func @second() kernel {
    ```
    After:
    ```mlir
    gpu.launch_func @kernels::@first ... {omnimoe.overlaps}
    gpu.launch_func @kernels::@second ... {omnimoe.overlaps}
    gpu.func @second() kernel attributes {omnimoe.overlaps} {
      llvm.inline_asm has_side_effects asm_dialect = att "griddepcontrol.wait;", "~{memory}" : () -> ()
      llvm.inline_asm has_side_effects asm_dialect = att "griddepcontrol.launch_dependents;", "~{memory}" : () -> ()
    ```
  }];
  let statistics = [Statistic<"numOverlapped", "overlapped", "Kernels that wait by themselves">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def FinishKernelsPass : Pass<"omnimoe-finish-kernels", "ModuleOp"> {
  let summary = "State what the assembler must know of a kernel";
  let description = [{
    A tensor map, which the tensor memory accelerator finds its tiles by, must
    lie in a parameter of the kernel itself: its 128 bytes are passed by value,
    and code in the kernel has a pointer to them. On the host the operand of the
    launch becomes a cast to a pointer, which `convert-gpu-launch-to-runtime`
    replaces. A kernel that changes how many registers its warps have states its
    exact number of threads. One with dynamic shared memory states that one block
    on a multiprocessor will do (`nvvm.minctasm`), so that the assembler does not
    spill registers for more. Blocks that meet in a cluster are those along the
    last dimension of the grid, which must be constant (`nvvm.cluster_dim`).

    The pass runs twice, since some attributes only exist in the LLVM dialect:
    before `convert-gpu-to-nvvm` it makes pointers of the maps, and after it lets
    them be passed by value.

    Before:
    ```mlir
    gpu.func @f(%map: !nvgpu.tensormap.descriptor<...>) kernel attributes {known_block_size = array<i32: 384, 1, 1>} {
      %p = builtin.unrealized_conversion_cast %map : !nvgpu.tensormap.descriptor<...> to !llvm.ptr
      nvvm.setmaxregister decrease 24
    ```
    After:
    ```mlir
    gpu.func @f(%p: !llvm.ptr) kernel attributes {nvvm.reqntid = array<i32: 384, 1, 1>, omnimoe.tensor_maps = array<i64: 0>} {
      nvvm.setmaxregister decrease 24
    ```
    After the second run:
    ```mlir
    llvm.func @f(%p: !llvm.ptr {llvm.align = 64 : i32, llvm.byval = !llvm.array<16 x i64>, nvvm.grid_constant})
        attributes {nvvm.kernel, nvvm.reqntid = array<i32: 384, 1, 1>}
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

def ConvertMathToNVVMApproxPass : Pass<"convert-math-to-nvvm-approx"> {
  let summary = "Use the GPU's own exponential, quotient, square root and absolute value";
  let description = [{
    Without CUDA's device library `math.exp` has no implementation on a GPU. The
    hardware's `ex2.approx` is accurate to 2 units in the last place. `math.sqrt`
    becomes `sqrt.rn`, which is exact, and `math.absf` clears the sign bit.
    `arith.divf` becomes `div.full`, accurate to 2 units in the last place: the
    quotient that is rounded to nearest branches for rare operands. Operations
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

def KernelsToPTXPass : Pass<"omnimoe-kernels-to-ptx", "ModuleOp"> {
  let summary = "Generate PTX of kernels, several at a time";
  let description = [{
    What `gpu-module-to-binary{format=isa}` does, which takes one kernel after
    the other. Here each kernel is optimized, and its code generated, in an LLVM
    module of its own, on as many threads as there are processors; what is not a
    kernel is copied into each of the modules. The texts become one. LLVM's
    vectorizers are off, and so is loop strength reduction in large kernels.

    Before:
    ```mlir
    gpu.module @kernels [#nvvm.target<O = 3, chip = "sm_90a">] {
      llvm.func @first() attributes {gpu.kernel, nvvm.kernel} { llvm.return }
      llvm.func @second() attributes {gpu.kernel, nvvm.kernel} { llvm.return }
    }
    ```
    After:
    ```mlir
    gpu.binary @kernels [#gpu.object<#nvvm.target<O = 3, chip = "sm_90a">,
        properties = {O = 3 : i32}, assembly = ".version ... .visible .entry first()...
                                                .visible .entry second()...">]
    ```
  }];
  let dependentDialects = ["::mlir::gpu::GPUDialect"];
}

def ConvertGPULaunchToRuntimePass : Pass<"convert-gpu-launch-to-runtime", "ModuleOp"> {
  let summary = "Turn kernel launches into calls of the runtime";
  let description = [{
    The entry function gets the queue to launch on, an opaque pointer, as its
    last argument. Each `gpu.launch_func` becomes a call of

    ```c
    void omnimoe_gpu_launch(void *queue, int32_t kernel, int64_t grid_x, int64_t grid_y,
                            int64_t grid_z, int64_t block_x, int64_t block_y, int64_t block_z,
                            int64_t shared_bytes, int32_t overlaps, void **parameters);
    ```

    `kernel` counts in the list of names that the module gets as
    `omnimoe.kernels`; `overlaps` is 1 if the launch is marked
    `omnimoe.overlaps`. A memref is passed as the words of its descriptor, which
    is what convert-gpu-to-nvvm makes of it on the other side; integers, floats
    and pointers are passed as they are. The buffers for the parameters stand on
    the stack once per function. Launches must not be asynchronous. A
    `memref.copy` of contiguous memrefs becomes a call of

    ```c
    void omnimoe_gpu_copy(void *queue, void *target, const void *source, int64_t bytes);
    ```

    A kernel's tensor map is made on the stack by

    ```c
    void omnimoe_gpu_tensor_map(void *queue, void *map, void *base, int32_t type, int32_t rank,
                                const int64_t *sizes, const int64_t *strides, const int32_t *box,
                                int32_t swizzle_bytes, int32_t promotion_bytes);
    ```

    from `nvgpu.tma.create.descriptor` and passed by value.

    Before:
    ```mlir
    func.func @experts(%x: memref<?x64xf32>) attributes {llvm.emit_c_interface} {
      gpu.launch_func @kernels::@experts_0 blocks in (%t, %c1, %c1)
          threads in (%c128, %c1, %c1) args(%x : memref<?x64xf32>)
    ```
    After:
    ```mlir
    module attributes {omnimoe.kernels = ["experts_0"]} {
      func.func @experts(%x: memref<?x64xf32>, %queue: !llvm.ptr) {
        %words = llvm.alloca ... x i64
        %parameters = llvm.alloca ... x !llvm.ptr
        ... llvm.store %pointer, %word0 ...
        llvm.call @omnimoe_gpu_launch(%queue, %kernel, %t, ..., %parameters)
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::memref::MemRefDialect"];
}

#endif // OMNIMOE_CONVERSION_PASSES
