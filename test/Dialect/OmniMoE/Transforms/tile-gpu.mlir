// A block of a GPU has the same number of tokens always.
// RUN: omni-opt %s --pass-pipeline='builtin.module(omnimoe-attach-target{chip=sm_90a},func.func(omnimoe-tile),canonicalize)' | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>

// Element-wise operations have as many rows a tile as its threads have a piece of.
// CHECK-LABEL: func.func @unscheduled
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (32)
func.func @unscheduled(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<?x8xf32>) outs(%y : tensor<?x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.negf %p : f32
    linalg.yield %m : f32
  } -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @long_rows
// CHECK: scf.forall (%{{.*}}) in (%{{.*}})
// CHECK: tensor.extract_slice %{{.*}} [1, 2048] [1, 1]
func.func @long_rows(%x: tensor<?x2048xf32>, %y: tensor<?x2048xbf16>) -> tensor<?x2048xbf16> {
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<?x2048xf32>) outs(%y : tensor<?x2048xbf16>) {
  ^bb0(%p: f32, %o: bf16):
    %m = arith.truncf %p : f32 to bf16
    linalg.yield %m : bf16
  } -> tensor<?x2048xbf16>
  return %0 : tensor<?x2048xbf16>
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
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (8)
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

// Sums whose schedule cuts columns: all tokens meet a slice of the vectors before
// the next, so the loop over columns is the outer one. What follows is in the
// tile; a sum that is the root itself is cut likewise.

// CHECK-LABEL: func.func @sliced
// CHECK-SAME:    %[[V:[a-z0-9]*]]: tensor<4096x512xbf16>
// CHECK:         scf.forall (%[[C:[a-z0-9]*]], %[[T:[a-z0-9]*]]) = (0, 0) to (512, %{{.*}}) step (128, 4)
// CHECK:           %[[SLICE:.*]] = tensor.extract_slice %[[V]][0, %[[C]]] [4096, 128] [1, 1]
// CHECK:           omnimoe.combine to_tokens ins(%{{.*}}, %[[SLICE]], %{{.*}}) outs(%{{.*}} : tensor<?x128xf32>)
// CHECK:           linalg.generic
// CHECK:           tensor.parallel_insert_slice {{.*}}[%[[T]], %[[C]]] [%{{.*}}, 128] [1, 1]
// CHECK:         scf.forall (%[[C:[a-z0-9]*]], %[[T:[a-z0-9]*]]) = (0, 0) to (512, %{{.*}}) step (128, 4)
// CHECK:           omnimoe.combine to_tokens
// CHECK-NOT:       linalg.generic
// CHECK:         return
func.func @sliced(%a: tensor<?x16xf32>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %y0: tensor<?x512xf32>, %z0: tensor<?x512xbf16>)
    -> (tensor<?x512xbf16>, tensor<?x512xf32>) {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>} -> tensor<?x512xf32>
  %z = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : tensor<?x512xf32>) outs(%z0 : tensor<?x512xbf16>) {
  ^bb0(%p: f32, %o: bf16):
    %m = arith.truncf %p : f32 to bf16
    linalg.yield %m : bf16
  } -> tensor<?x512xbf16>
  %w = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>} -> tensor<?x512xf32>
  return %z, %w : tensor<?x512xbf16>, tensor<?x512xf32>
}

// A schedule that names no number of tokens leaves it to the pass.

// CHECK-LABEL: func.func @no_token_tile
// CHECK:         scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (4)
// CHECK:           omnimoe.combine to_tokens
func.func @no_token_tile(%a: tensor<?x16xf32>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// Products that the coefficients of a sliced sum are made of have tiles of their
// own, with what makes coefficients of them: each slice would need them again.

// CHECK-LABEL: func.func @products_before_slices
// CHECK:         %[[A:.*]] = scf.forall (%{{.*}}) in (%{{.*}})
// CHECK:           omnimoe.grouped_matmul
// CHECK:           arith.mulf
// CHECK-NOT:       omnimoe.combine
// CHECK:         scf.forall (%[[C:[a-z0-9]*]], %[[T:[a-z0-9]*]]) = (0, 0) to (512, %{{.*}}) step (128, 4)
// CHECK-NOT:       omnimoe.grouped_matmul
// CHECK-NOT:       arith.mulf
// CHECK:           %[[PART:.*]] = tensor.extract_slice %[[A]][%[[T]], 0]
// CHECK:           omnimoe.combine to_tokens ins(%[[PART]],
// CHECK:         return
func.func @products_before_slices(%x: tensor<?x512xbf16>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %g: tensor<?x16xf32>, %s0: tensor<?x16xf32>,
    %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %v, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 1>} -> tensor<?x16xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
  ^bb0(%p: f32, %weight: f32, %o: f32):
    %m = arith.mulf %p, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>} -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// Products that are a result as well are there already: what makes coefficients of
// them is in the tile.

// CHECK-LABEL: func.func @products_are_results
// CHECK:         omnimoe.grouped_matmul
// CHECK:         scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (512, %{{.*}}) step (128, 4)
// CHECK:           arith.mulf
// CHECK:           omnimoe.combine to_tokens
func.func @products_are_results(%x: tensor<?x512xbf16>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %g: tensor<?x16xf32>, %s0: tensor<?x16xf32>,
    %y0: tensor<?x512xf32>) -> (tensor<?x512xf32>, tensor<?x16xf32>) {
  %s = omnimoe.grouped_matmul ins(%x, %v, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 1>} -> tensor<?x16xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
  ^bb0(%p: f32, %weight: f32, %o: f32):
    %m = arith.mulf %p, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>} -> tensor<?x512xf32>
  return %y, %s : tensor<?x512xf32>, tensor<?x16xf32>
}

// Products that go expert by expert start from zeros, for the pairs of no expert,
// and the sum that reads the same tokens comes right behind them.

// CHECK-LABEL: func.func @products_by_expert
// CHECK-SAME:    %[[A:[a-z0-9]*]]: tensor<?x16xf32>, %[[X:[a-z0-9]*]]: tensor<?x512xbf16>
// CHECK:         %[[ZEROS:.*]] = scf.forall
// CHECK:           linalg.fill
// CHECK:         omnimoe.grouped_matmul ins(%[[X]], {{.*}} outs(%[[ZEROS]] :
// CHECK-NEXT:    scf.forall (%{{.*}}) in (4096)
// CHECK:           omnimoe.combine to_experts ins(%[[A]], %[[X]],
// CHECK:         scf.forall
// CHECK:           linalg.generic
// CHECK:         return
func.func @products_by_expert(%a: tensor<?x16xf32>, %x: tensor<?x512xbf16>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>,
    %w0: tensor<4096x512xf32>, %o: tensor<4097xi32>, %t: tensor<?xi32>, %s: tensor<?xi32>, %p: tensor<?xi32>)
    -> (tensor<?x16xf32>, tensor<4096x512xf32>) {
  %m = omnimoe.grouped_matmul ins(%x, %v, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    dispatch(%o, %t, %s, %p : tensor<4097xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x16xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%m : tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
  ^bb0(%p0: f32, %o0: f32):
    %q = arith.negf %p0 : f32
    linalg.yield %q : f32
  } -> tensor<?x16xf32>
  %w = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x16xf32>, tensor<?x512xbf16>, tensor<?x16xi32>)
    dispatch(%o, %t, %s, %p : tensor<4097xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%w0 : tensor<4096x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<4096x512xf32>
  return %n, %w : tensor<?x16xf32>, tensor<4096x512xf32>
}
