// The whole pipeline for CPUs, for each schedule and option.
// RUN: omni-opt %s --omnimoe-to-llvm="vector-bits=512" | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-llvm="vector-bits=512" | mlir-translate --mlir-to-llvmir --allow-unregistered-dialect | FileCheck %s --check-prefix=IR

// A schedule is taken and recorded.
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=token_centric" | FileCheck %s --check-prefix=SCHEDULE -DKIND=token_centric
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=expert_centric" | FileCheck %s --check-prefix=SCHEDULE -DKIND=expert_centric
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=dense" | FileCheck %s --check-prefix=SCHEDULE -DKIND=dense
// SCHEDULE: omnimoe.schedules = [{{.*}} schedule = "[[KIND]]", tokens = {{[0-9]+}} : i64}],
// SCHEDULE: llvm.func @omnimoe_entry

// Only the expert-centric one sorts the pairs; only the blocked ones multiply
// blocks on scratch memory.
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=token_centric" --mlir-print-ir-before=convert-omnimoe-to-vector 2>&1 | FileCheck %s --check-prefix=TOKEN
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=expert_centric" --mlir-print-ir-before=convert-omnimoe-to-vector 2>&1 | FileCheck %s --check-prefix=EXPERT
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=dense" --mlir-print-ir-before=convert-omnimoe-to-vector 2>&1 | FileCheck %s --check-prefix=DENSE
// TOKEN-NOT:     omnimoe.dispatch
// TOKEN:         omnimoe.grouped_matmul {{.*}} #omnimoe.schedule<token_centric
// EXPERT:        omnimoe.dispatch
// EXPERT:        omnimoe.grouped_matmul {{.*}} dispatch({{.*}} #omnimoe.schedule<expert_centric
// EXPERT:        omnimoe.combine {{.*}} dispatch(
// DENSE-NOT:     omnimoe.dispatch
// DENSE:         omnimoe.grouped_matmul {{.*}} #omnimoe.schedule<dense

// Threads: those of the target unless said; one needs no OpenMP.
// RUN: omni-opt %s --omnimoe-to-llvm --mlir-print-ir-after=omnimoe-tile 2>&1 | FileCheck %s --check-prefixes=TILES,OMP -DTHREADS=6 -DTILE=64
// RUN: omni-opt %s --omnimoe-to-llvm="threads=3" --mlir-print-ir-after=omnimoe-tile 2>&1 | FileCheck %s --check-prefixes=TILES,OMP -DTHREADS=3 -DTILE=64
// RUN: omni-opt %s --omnimoe-to-llvm="threads=1" | FileCheck %s --check-prefix=SEQUENTIAL
// SEQUENTIAL-NOT: omp.

// The tile of what no schedule speaks of, which is the router here.
// RUN: omni-opt %s --omnimoe-to-llvm="threads=3 token-tile=16" --mlir-print-ir-after=omnimoe-tile 2>&1 | FileCheck %s --check-prefixes=TILES,OMP -DTHREADS=3 -DTILE=16
// TILES: affine_map<()[s0] -> (s0 ceildiv [[THREADS]], [[TILE]])>
// OMP:   omp.parallel

// RUN: omni-opt %s --omnimoe-to-llvm="schedule=token_centric vector-bits=256" | FileCheck %s --check-prefix=NARROW
// NARROW-NOT: vector<16xf32>
// NARROW:     llvm.intr.fmuladd({{.*}}) : (vector<8xf32>, vector<8xf32>, vector<8xf32>) -> vector<8xf32>
// NARROW-NOT: vector<16xf32>

// Bounds: everything in the LLVM dialect, the results in the caller's memory,
// the rest in the workspace, one entry for all programs.

// CHECK:       module attributes {
// CHECK-SAME:    omnimoe.target = #omnimoe.target<chip = "x86-64"
// CHECK-DAG:   llvm.func @omnimoe_workspace_size(%{{.*}}: i64) -> i64
// CHECK:       llvm.func @experts(
// CHECK:         omp.parallel
// CHECK:         vector<16xf32>
// CHECK:       llvm.func @_mlir_ciface_experts(
// CHECK:       llvm.func @omnimoe_entry(%{{.*}}: !llvm.ptr) {
// CHECK:         llvm.call @_mlir_ciface_experts(
// CHECK-NOT:   func.func

// IR: define void @_mlir_ciface_experts(
// IR: define void @omnimoe_entry(ptr %0)

#id = affine_map<(d0, d1) -> (d0, d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "x86-64", features = "", units = 6, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 1000, memoryGbps = 1000>} {
  func.func @experts(%rows: tensor<?x32xf32>, %cols: tensor<?x32xf32>, %x: tensor<?x64xf32>, %up: tensor<1024x64xf32>, %down: tensor<1024x64xf32>)
      -> tensor<?x64xf32> {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %T = tensor.dim %x, %c0 : tensor<?x64xf32>
    %g0 = tensor.empty(%T) : tensor<?x8xf32>
    %e0 = tensor.empty(%T) : tensor<?x8xi32>
    %g, %e = omnimoe.route ins(%rows, %cols : tensor<?x32xf32>, tensor<?x32xf32>) outs(%g0, %e0 : tensor<?x8xf32>, tensor<?x8xi32>)
      -> tensor<?x8xf32>, tensor<?x8xi32>
    %s0 = tensor.empty(%T) : tensor<?x8xf32>
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x64xf32>, tensor<1024x64xf32>, tensor<?x8xi32>)
      outs(%s0 : tensor<?x8xf32>) -> tensor<?x8xf32>
    %a0 = tensor.empty(%T) : tensor<?x8xf32>
    %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%s, %g : tensor<?x8xf32>, tensor<?x8xf32>) outs(%a0 : tensor<?x8xf32>) {
    ^bb0(%p: f32, %q: f32, %o: f32):
      %n = arith.negf %p : f32
      %x1 = math.exp %n : f32
      %d = arith.addf %x1, %one : f32
      %silu = arith.divf %p, %d : f32
      %m = arith.mulf %silu, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x8xf32>
    %y0 = tensor.empty(%T) : tensor<?x64xf32>
    %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x8xf32>, tensor<1024x64xf32>, tensor<?x8xi32>)
      outs(%y1 : tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}
