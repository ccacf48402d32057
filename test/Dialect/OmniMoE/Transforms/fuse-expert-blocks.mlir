// RUN: omni-opt %s --omnimoe-fuse-expert-blocks --split-input-file | FileCheck %s

// The example of the pass's documentation.

#id = affine_map<(d0, d1) -> (d0, d1)>
!ids = tensor<?x16xi32>
!pairs = tensor<?x16xf32>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @block(
// CHECK-NOT:     omnimoe.grouped_matmul
// CHECK:         %[[Y:.*]] = scf.execute_region -> tensor<?x512xf32> no_inline {
// CHECK-NEXT:      omnimoe.grouped_matmul
// CHECK-NEXT:      linalg.generic
// CHECK:           %[[SUM:.*]] = omnimoe.combine to_tokens
// CHECK-NEXT:      scf.yield %[[SUM]] : tensor<?x512xf32>
// CHECK:         return %[[Y]]
func.func @block(%x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %g: !pairs, %s0: !pairs, %y0: tensor<?x512xf32>,
    %o: tensor<4097xi32>, %t: !list, %b: !list, %p: !list) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : !pairs, !pairs) outs(%s0 : !pairs) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %m = arith.mulf %in, %weight : f32
    linalg.yield %m : f32
  } -> !pairs
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// -----

// Zeros that sums start from are the block's to write, and of no other use
// outside; what else they start from stays where it is.

!ids = tensor<?x16xi32>
!pairs = tensor<?x16xf32>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @zeros(
// CHECK-SAME:    %[[Y0:[a-z0-9]+]]: tensor<?x512xf32>
// CHECK-NOT:     linalg.fill
// CHECK:         scf.execute_region
// CHECK-NEXT:      omnimoe.grouped_matmul
// CHECK-NEXT:      %[[ZEROS:.*]] = linalg.fill {{.*}} outs(%[[Y0]] :
// CHECK-NEXT:      omnimoe.combine to_tokens {{.*}} outs(%[[ZEROS]] :
// CHECK:         %[[ONES:.*]] = linalg.fill
// CHECK:         scf.execute_region
// CHECK-NEXT:      omnimoe.grouped_matmul
// CHECK-NEXT:      omnimoe.combine to_tokens {{.*}} outs(%[[ONES]] :
func.func @zeros(%y0: tensor<?x512xf32>, %x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %s0: !pairs,
    %o: tensor<4097xi32>, %t: !list, %b: !list, %p: !list) -> (tensor<?x512xf32>, tensor<?x512xf32>) {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %zeros = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%zeros : tensor<?x512xf32>) -> tensor<?x512xf32>
  %ones = linalg.fill ins(%one : f32) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  %r = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  %z = omnimoe.combine to_tokens ins(%r, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%ones : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y, %z : tensor<?x512xf32>, tensor<?x512xf32>
}

// -----

// Products may be coefficients themselves.

!ids = tensor<?x16xi32>
!pairs = tensor<?x16xf32>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @bare(
// CHECK:         scf.execute_region
// CHECK-NEXT:      omnimoe.grouped_matmul
// CHECK-NEXT:      omnimoe.combine to_tokens
func.func @bare(%x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %s0: !pairs, %y0: tensor<?x512xf32>,
    %o: tensor<4097xi32>, %t: !list, %b: !list, %p: !list) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// -----

// A gate of wide experts: products of the same tokens with two tables.

#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
!ids = tensor<?x4xi32>
!values = tensor<?x4x32xf32>
!table = tensor<64x32x512xbf16>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @gated(
// CHECK-NOT:     omnimoe.grouped_matmul
// CHECK:         scf.execute_region
// CHECK-NEXT:      omnimoe.grouped_matmul ins(%{{.*}}, %[[GATE:.*]], %{{.*}} :
// CHECK-NEXT:      omnimoe.grouped_matmul
// CHECK-NEXT:      linalg.generic
// CHECK:           omnimoe.combine to_tokens
func.func @gated(%x: tensor<?x512xbf16>, %gate: !table, %up: !table, %e: !ids, %s0: !values, %y0: tensor<?x512xf32>,
    %o: tensor<65xi32>, %t: !list, %b: !list, %p: !list) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x512xbf16>, !table, !ids)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, !list, !list, !list) outs(%s0 : !values) -> !values
  %r = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xbf16>, !table, !ids)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, !list, !list, !list) outs(%s0 : !values) -> !values
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%s, %r : !values, !values) outs(%s0 : !values) {
  ^bb0(%g: f32, %u: f32, %out: f32):
    %m = arith.mulf %g, %u : f32
    linalg.yield %m : f32
  } -> !values
  %y = omnimoe.combine to_tokens ins(%a, %up, %e : !values, !table, !ids)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, !list, !list, !list) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// Left alone: products of wide experts that are needed later.

// CHECK-LABEL: func.func @wide_and_needed(
// CHECK-NOT:     scf.execute_region
func.func @wide_and_needed(%x: tensor<?x512xbf16>, %up: !table, %e: !ids, %s0: !values, %y0: tensor<?x512xf32>,
    %o: tensor<65xi32>, %t: !list, %b: !list, %p: !list) -> (tensor<?x512xf32>, !values) {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xbf16>, !table, !ids)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, !list, !list, !list) outs(%s0 : !values) -> !values
  %y = omnimoe.combine to_tokens ins(%s, %up, %e : !values, !table, !ids)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, !list, !list, !list) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y, %s : tensor<?x512xf32>, !values
}

// -----

// Products that are needed later are a second result, and zero for a pair whose
// expert is nobody; what only stores them moves behind the region.

!ids = tensor<?x16xi32>
!pairs = tensor<?x16xf32>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @saved(
// CHECK-SAME:    %[[S0:[a-z0-9]+]]: tensor<?x16xf32>
// CHECK:         %[[ZEROS:.*]] = linalg.fill ins(%{{.*}} : f32) outs(%[[S0]]
// CHECK:         %[[R:.*]]:2 = scf.execute_region -> (tensor<?x512xf32>, tensor<?x16xf32>) no_inline {
// CHECK-NEXT:      %[[S:.*]] = omnimoe.grouped_matmul {{.*}} outs(%[[ZEROS]] : {{.*}}) {omnimoe.kept}
// CHECK-NEXT:      %[[SUM:.*]] = omnimoe.combine to_tokens ins(%[[S]],
// CHECK-NEXT:      scf.yield %[[SUM]], %[[S]]
// CHECK:         bufferization.materialize_in_destination %[[R]]#1
// CHECK:         return %[[R]]#0, %[[R]]#1
func.func @saved(%x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %s0: !pairs, %y0: tensor<?x512xf32>,
    %o: tensor<4097xi32>, %t: !list, %b: !list, %p: !list, %m: memref<?x16xf32>) -> (tensor<?x512xf32>, !pairs) {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  bufferization.materialize_in_destination %s in restrict writable %m : (!pairs, memref<?x16xf32>) -> ()
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y, %s : tensor<?x512xf32>, !pairs
}

// -----

// Left alone: products that something needs before the sum, and what has no
// dispatch.

!ids = tensor<?x16xi32>
!pairs = tensor<?x16xf32>
!list = tensor<?xi32>
// CHECK-LABEL: func.func @needed_before(
// CHECK-NOT:     scf.execute_region
func.func @needed_before(%x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %s0: !pairs, %y0: tensor<?x512xf32>,
    %o: tensor<4097xi32>, %t: !list, %b: !list, %p: !list, %i: index) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%s0 : !pairs) -> !pairs
  %first = tensor.extract %s[%i, %i] : !pairs
  %y1 = linalg.fill ins(%first : f32) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, tensor<4096x512xbf16>, !ids)
    dispatch(%o, %t, %b, %p : tensor<4097xi32>, !list, !list, !list) outs(%y1 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// CHECK-LABEL: func.func @token_centric(
// CHECK-NOT:     scf.execute_region
func.func @token_centric(%x: tensor<?x512xbf16>, %w: tensor<4096x512xbf16>, %e: !ids, %s0: !pairs, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, !ids) outs(%s0 : !pairs) -> !pairs
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, tensor<4096x512xbf16>, !ids) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}
