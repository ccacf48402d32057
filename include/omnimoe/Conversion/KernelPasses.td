//===- KernelPasses.td - What becomes of kernels and launches -*- tablegen -*-===//

#ifndef OMNIMOE_CONVERSION_KERNELPASSES
#define OMNIMOE_CONVERSION_KERNELPASSES

include "mlir/Pass/PassBase.td"

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

def UnpackBFloat16Pass : Pass<"omnimoe-unpack-bf16"> {
  let summary = "Extend vectors of bf16 two at a time";
  let description = [{
    A bf16 is the upper half of an f32. Of two that share a 32-bit word, one is
    had by a shift and the other by a mask, where `arith.extf` of each becomes
    three instructions for both: the upper half is moved down before it is
    shifted up again. Vectors of an even number of elements in kernels are taken;
    scalars, other types, and what runs on the host are left alone.

    Before:
    ```mlir
    %f = arith.extf %v : vector<8xbf16> to vector<8xf32>
    ```
    After:
    ```mlir
    %words = vector.bitcast %v : vector<8xbf16> to vector<4xi32>
    %shifted = arith.shli %words, %c16 : vector<4xi32>
    %masked = arith.andi %words, %upper_half : vector<4xi32>
    %low = arith.bitcast %shifted : vector<4xi32> to vector<4xf32>
    %high = arith.bitcast %masked : vector<4xi32> to vector<4xf32>
    %f = vector.interleave %low, %high : vector<4xf32> -> vector<8xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::vector::VectorDialect"];
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

#endif // OMNIMOE_CONVERSION_KERNELPASSES
