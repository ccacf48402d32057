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

#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// A product of few columns shares the tile of what reduces its rows. What
// computes its operand does not: tensor cores read operands from memory.
// CHECK-LABEL: func.func @narrow_product
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (4)
// CHECK: arith.truncf
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (32)
// CHECK: linalg.matmul
// CHECK: arith.maximumf
// CHECK-NOT: scf.forall (
func.func @narrow_product(%f: tensor<?x128xf32>, %x: tensor<?x128xbf16>, %w: tensor<64x128xbf16>, %y: tensor<?x64xf32>, %z: tensor<?xf32>) -> tensor<?xf32> {
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%f : tensor<?x128xf32>) outs(%x : tensor<?x128xbf16>) {
  ^bb0(%a: f32, %o: bf16):
    %t = arith.truncf %a : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x128xbf16>
  %p = linalg.matmul indexing_maps = #nt ins(%h, %w : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%y : tensor<?x64xf32>) -> tensor<?x64xf32>
  %r = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%p : tensor<?x64xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.maximumf %a, %o : f32
    linalg.yield %m : f32
  } -> tensor<?xf32>
  return %r : tensor<?xf32>
}
