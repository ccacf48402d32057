// The whole pipeline for NVIDIA GPUs: its stages, and each option arriving.
// RUN: omni-opt %s --omnimoe-to-nvvm="format=nvvm" | FileCheck %s --check-prefixes=CHECK,NVVM
// RUN: omni-opt %s --omnimoe-to-nvvm | FileCheck %s --check-prefixes=CHECK,PTX -DVERSION=8.6
// RUN: omni-opt %s --omnimoe-to-nvvm="features=+ptx83" | FileCheck %s --check-prefix=PTX -DVERSION=8.3
// RUN: not omni-opt %s --omnimoe-to-nvvm="chip=sm_30" 2>&1 | FileCheck %s --check-prefix=CHIP
// CHIP: error: unknown chip 'sm_30', expected host or one of sm_90a

// A schedule is taken, or refused where the chip has no lowering for it.
// RUN: omni-opt %s --omnimoe-to-nvvm="schedule=token_centric format=nvvm" | FileCheck %s --check-prefix=NVVM
// RUN: not omni-opt %s --omnimoe-to-nvvm="schedule=no_such" 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: error: unknown schedule 'no_such', expected auto, token_centric, expert_centric, dense or hybrid

// The front part: the cost model reads the chip's target, results are in the
// caller's memory, and a tile of tokens is one block of threads.
// RUN: omni-opt %s --omnimoe-to-nvvm="format=nvvm" --mlir-print-ir-before=convert-omnimoe-to-gpu 2>&1 | FileCheck %s --check-prefix=FRONT
// FRONT:       module attributes {omnimoe.schedules = [{{.*}} schedule = "token_centric"
// FRONT-SAME:    omnimoe.target = #omnimoe.target<chip = "sm_90a"
// FRONT:       func.func @omnimoe_workspace_size(
// FRONT:       func.func @experts(%{{.*}}: memref<?x64xf32>, %{{.*}}: memref<?xi8>)
// FRONT:         scf.forall
// FRONT:           omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric
// FRONT:           linalg.generic
// FRONT:           omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric
// FRONT-NOT:     tensor<

// CHECK:       module attributes {gpu.container_module
// CHECK:       gpu.launch_func @[[KERNELS:.*]]::@{{.*}} blocks in
// NVVM:        gpu.module @{{.*}} [#nvvm.target<O = 3, chip = "sm_90a", features = "+ptx86">]
// NVVM:          llvm.func @{{.*}} attributes {{{.*}}gpu.kernel
// NVVM-NOT:    omnimoe.grouped_matmul
// PTX:         gpu.binary @{{.*}} [#gpu.object<#nvvm.target<{{.*}}chip = "sm_90a"
// PTX-SAME:      .version [[VERSION]]
// PTX-SAME:      .target sm_90a
// PTX-SAME:      .entry

#id = affine_map<(d0, d1) -> (d0, d1)>
module {
  func.func @experts(%g: tensor<?x8xf32>, %e: tensor<?x8xi32>, %x: tensor<?x64xf32>, %up: tensor<1024x64xf32>, %down: tensor<1024x64xf32>)
      -> tensor<?x64xf32> {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %T = tensor.dim %x, %c0 : tensor<?x64xf32>
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
