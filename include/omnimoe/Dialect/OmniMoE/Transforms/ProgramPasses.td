//===- ProgramPasses.td - Passes on whole programs ----------*- tablegen -*-===//
//
// What a program is for, and how its caller hands it memory.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PROGRAMPASSES
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PROGRAMPASSES

include "mlir/Pass/PassBase.td"

def AttachTargetPass : Pass<"omnimoe-attach-target", "ModuleOp"> {
  let summary = "Say what machine a module is for";
  let description = [{
    Hangs `#omnimoe.target` of the chip on the module as `omnimoe.target`, which
    the cost model and the tile chooser read. A module that has a target keeps
    it.

    Before:
    ```mlir
    module {}
    ```
    After, with `chip=sm_90a`:
    ```mlir
    module attributes {omnimoe.target = #omnimoe.target<chip = "sm_90a", ...>} {}
    ```
  }];
  let options = [Option<"chip", "chip", "std::string", "\"host\"",
                        "host, or an NVIDIA chip such as sm_90a">];
  let dependentDialects = ["::mlir::omnimoe::OmniMoEDialect"];
}

def ResultsToDestinationsPass : Pass<"omnimoe-results-to-destinations", "ModuleOp"> {
  let summary = "Let the caller give the memory of the results";
  let description = [{
    Every result of a public function becomes a memref argument after the other
    arguments, which the result is materialized in. With
    `eliminate-empty-tensors` and one-shot bufferization behind it, the result
    is then computed in the caller's memory without a copy. Tensor arguments are
    marked as not writable, so that the caller's inputs are never changed.

    Before:
    ```mlir
    func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> { ... return %y : tensor<?x8xf32> }
    ```
    After:
    ```mlir
    func.func @f(%x: tensor<?x8xf32> {bufferization.writable = false}, %out: memref<?x8xf32>) {
      ...
      bufferization.materialize_in_destination %y in restrict writable %out
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect",
                           "::mlir::memref::MemRefDialect"];
}

def SeparateDestinationsPass : Pass<"omnimoe-separate-destinations", "::mlir::func::FuncOp"> {
  let summary = "Let no two results start from one value";
  let description = [{
    `eliminate-empty-tensors` looks back from every result, through the
    destinations that it was computed in, for an uninitialised tensor, and puts
    the memory of the result in its place. Where two results lead back to one
    tensor, a value of the one would live in the memory of the other. This pass,
    somewhere before it, gives every destination an uninitialised tensor of its
    own; any other value that is the destination of several operations, or of an
    operation and itself a result, is filled again or copied for all but the
    first.

    Before:
    ```mlir
    %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x8xf32>) -> tensor<64x8xf32>
    %a = omnimoe.combine to_experts ins(...) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
    %b = omnimoe.combine to_experts ins(...) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
    ```
    After:
    ```mlir
    %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x8xf32>) -> tensor<64x8xf32>
    %other = linalg.fill ins(%zero : f32) outs(%empty0 : tensor<64x8xf32>) -> tensor<64x8xf32>
    %a = omnimoe.combine to_experts ins(...) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
    %b = omnimoe.combine to_experts ins(...) outs(%other : tensor<64x8xf32>) -> tensor<64x8xf32>
    ```
  }];
  let dependentDialects = ["::mlir::bufferization::BufferizationDialect",
                           "::mlir::tensor::TensorDialect"];
}

def PlanWorkspacePass : Pass<"omnimoe-plan-workspace", "ModuleOp"> {
  let summary = "Replace the allocations of a program by one workspace argument";
  let description = [{
    Every `memref.alloc` of the public function that stands outside of loops is
    given a place in one workspace, a `memref<?xi8>` argument at the end, at an
    offset aligned to 64 bytes, and its `memref.dealloc` goes. A new function
    `omnimoe_workspace_size` gives the bytes that T tokens need. The compiled
    program then allocates nothing outside of its parallel tiles. Sizes may
    depend on the arguments only through their number of tokens. An allocation
    in a tile is freed at the end of its block.

    Before:
    ```mlir
    func.func @f(%x: memref<?x8xf32>) {
      %T = memref.dim %x, %c0 : memref<?x8xf32>
      %b = memref.alloc(%T) : memref<?x16xf32>
    ```
    After:
    ```mlir
    func.func @f(%x: memref<?x8xf32>, %workspace: memref<?xi8>) {
      %T = memref.dim %x, %c0 : memref<?x8xf32>
      %b = memref.view %workspace[%offset][%T] : memref<?xi8> to memref<?x16xf32>
    func.func @omnimoe_workspace_size(%T: index) -> index
    ```
  }];
  let statistics = [Statistic<"numPlanned", "planned", "Allocations moved to the workspace">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::func::FuncDialect"];
}

def EmitEntryPass : Pass<"omnimoe-emit-entry", "ModuleOp"> {
  let summary = "Add the entry point that the runtime calls";
  let description = [{
    For the one public function, lowered to the LLVM dialect with its C
    interface (`_mlir_ciface_f`), adds `omnimoe_entry(ptr)`, which takes an
    array with one pointer to a memref descriptor for each argument. All
    programs then have one signature, and a caller in C needs no knowledge of
    the function's types.

    Before:
    ```mlir
    llvm.func @_mlir_ciface_f(%x: !llvm.ptr, %out: !llvm.ptr)
    ```
    After:
    ```mlir
    llvm.func @omnimoe_entry(%arguments: !llvm.ptr) {
      %x = llvm.load %arguments : !llvm.ptr -> !llvm.ptr
      ...
      llvm.call @_mlir_ciface_f(%x, %out) : (!llvm.ptr, !llvm.ptr) -> ()
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def VerifyStagePass : Pass<"omnimoe-verify-stage", "ModuleOp"> {
  let summary = "Check that a stage of the pipeline left only what it may leave";
  let description = [{
    Each stage of the pipelines ends with this contract, so that a program the
    compiler cannot lower fails at the stage that should have handled it, with
    the operation and its location, rather than in a later pass.

    | stage | what may not remain |
    | --- | --- |
    | `schedule` | a grouped_matmul, or combine to tokens, without schedule or dispatch |
    | `tile` | a linalg or omnimoe operation outside of a parallel tile that has tokens to cut |
    | `bufferize` | a tensor anywhere |
    | `kernel` | a linalg or omnimoe operation anywhere; an access of memory outside of a GPU kernel |
    | `vector` | a linalg or omnimoe operation |
    | `llvm` | an operation outside of the LLVM dialect, compiled kernels apart |
  }];
  let options = [Option<"stage", "stage", "std::string", "\"\"", "The stage that just ran">];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PROGRAMPASSES
