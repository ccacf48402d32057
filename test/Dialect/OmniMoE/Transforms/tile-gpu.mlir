// A block of a GPU has the same number of tokens always.
// RUN: omni-opt %s --pass-pipeline='builtin.module(omnimoe-attach-target{chip=sm_90a},func.func(omnimoe-tile),canonicalize)' | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>

// CHECK-LABEL: func.func @unscheduled
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (4)
func.func @unscheduled(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<?x8xf32>) outs(%y : tensor<?x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.negf %p : f32
    linalg.yield %m : f32
  } -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @scheduled
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (2)
func.func @scheduled(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s0 : tensor<?x4xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 2>} -> tensor<?x4xf32>
  return %s : tensor<?x4xf32>
}
