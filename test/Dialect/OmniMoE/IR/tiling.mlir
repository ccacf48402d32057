// The tiling interface, driven by the transform dialect: every operation has
// one loop, over its tokens, or over D for a sum to experts.
// RUN: omni-opt %s -split-input-file --transform-interpreter --canonicalize -verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @route(
// CHECK-SAME:    %[[R:[a-z0-9]+]]: tensor<?x64xf32>, %[[C:[a-z0-9]+]]: tensor<?x48xf32>, %[[S:[a-z0-9]+]]: tensor<?x16xf32>, %[[E:[a-z0-9]+]]: tensor<?x16xi32>)
// CHECK:         %[[T:.*]] = tensor.dim %[[R]], %c0
// CHECK:         scf.for %[[I:.*]] = %c0 to %[[T]] step %c8 iter_args(%[[SI:.*]] = %[[S]], %[[EI:.*]] = %[[E]])
// CHECK:           %[[N:.*]] = affine.min #{{.*}}(%[[I]])[%[[T]]]
// CHECK-DAG:       %[[RT:.*]] = tensor.extract_slice %[[R]][%[[I]], 0] [%[[N]], 64] [1, 1]
// CHECK-DAG:       %[[CT:.*]] = tensor.extract_slice %[[C]][%[[I]], 0] [%[[N]], 48] [1, 1]
// CHECK-DAG:       %[[ST:.*]] = tensor.extract_slice %[[SI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[EI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK:           %[[TILE:.*]]:2 = omnimoe.route ins(%[[RT]], %[[CT]] : tensor<?x64xf32>, tensor<?x48xf32>) outs(%[[ST]], %[[ET]] :
// CHECK:           tensor.insert_slice %[[TILE]]#0 into %[[SI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK:           tensor.insert_slice %[[TILE]]#1 into %[[EI]][%[[I]], 0] [%[[N]], 16] [1, 1]
func.func @route(%r: tensor<?x64xf32>, %c: tensor<?x48xf32>, %s: tensor<?x16xf32>, %e: tensor<?x16xi32>)
    -> (tensor<?x16xf32>, tensor<?x16xi32>) {
  %0:2 = omnimoe.route ins(%r, %c : tensor<?x64xf32>, tensor<?x48xf32>)
    outs(%s, %e : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
  return %0#0, %0#1 : tensor<?x16xf32>, tensor<?x16xi32>
}

module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%root: !transform.any_op {transform.readonly}) {
    %op = transform.structured.match ops{["omnimoe.route"]} in %root : (!transform.any_op) -> !transform.any_op
    %tiled, %loop = transform.structured.tile_using_for %op tile_sizes [8] : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.yield
  }
}

// -----

// The table of vectors is used whole; the producer follows into the tile.

// CHECK-LABEL: func.func @fuse(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<24x8xf32>, %[[UP:[a-z0-9]+]]: tensor<64x2x8xf32>, %[[DOWN:[a-z0-9]+]]: tensor<64x2x8xf32>, %[[E:[a-z0-9]+]]: tensor<24x4xi32>, %[[S:[a-z0-9]+]]: tensor<24x4x2xf32>
// CHECK:         scf.for %[[I:.*]] = %c0 to %c24 step %c8 iter_args(%[[YI:.*]] =
// CHECK-DAG:       %[[XT:.*]] = tensor.extract_slice %[[X]][%[[I]], 0] [8, 8] [1, 1]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[E]][%[[I]], 0] [8, 4] [1, 1]
// CHECK-DAG:       %[[ST:.*]] = tensor.extract_slice %[[S]][%[[I]], 0, 0] [8, 4, 2] [1, 1, 1]
// CHECK:           %[[P:.*]] = omnimoe.grouped_matmul ins(%[[XT]], %[[UP]], %[[ET]] : tensor<8x8xf32>, tensor<64x2x8xf32>, tensor<8x4xi32>)
// CHECK-SAME:        outs(%[[ST]] : tensor<8x4x2xf32>) {schedule = #omnimoe.schedule<token_centric>}
// CHECK:           omnimoe.combine to_tokens ins(%[[P]], %[[DOWN]], {{.*}} : tensor<8x4x2xf32>, tensor<64x2x8xf32>, tensor<8x4xi32>)
func.func @fuse(%x: tensor<24x8xf32>, %up: tensor<64x2x8xf32>, %down: tensor<64x2x8xf32>, %e: tensor<24x4xi32>, %s: tensor<24x4x2xf32>,
                %y: tensor<24x8xf32>) -> tensor<24x8xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<24x8xf32>, tensor<64x2x8xf32>, tensor<24x4xi32>)
    outs(%s : tensor<24x4x2xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<24x4x2xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %down, %e : tensor<24x4x2xf32>, tensor<64x2x8xf32>, tensor<24x4xi32>)
    outs(%y : tensor<24x8xf32>) -> tensor<24x8xf32>
  return %1 : tensor<24x8xf32>
}

module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%root: !transform.any_op {transform.readonly}) {
    %op = transform.structured.match ops{["omnimoe.combine"]} in %root : (!transform.any_op) -> !transform.any_op
    %tiled, %loop = transform.structured.fuse %op tile_sizes [8] : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.yield
  }
}

// -----

// A sum to experts: vectors and result are cut along D, the rest is whole, and
// so is a dispatch.

// CHECK-LABEL: func.func @to_experts(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x4xf32>, %[[X:[a-z0-9]+]]: memref<?x100xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[DW:[a-z0-9]+]]: memref<64x100xf32>,
// CHECK:         scf.for %[[I:.*]] = %c0 to %c100 step %c32
// CHECK:           %[[N:.*]] = affine.min
// CHECK-DAG:       %[[XT:.*]] = memref.subview %[[X]][0, %[[I]]] [%{{.*}}, %[[N]]] [1, 1]
// CHECK-DAG:       %[[WT:.*]] = memref.subview %[[DW]][0, %[[I]]] [64, %[[N]]] [1, 1]
// CHECK:           omnimoe.combine to_experts ins(%[[A]], %[[XT]], %[[E]] :
// CHECK-SAME:        dispatch(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
// CHECK-SAME:        outs(%[[WT]] :
func.func @to_experts(%a: memref<?x4xf32>, %x: memref<?x100xf32>, %e: memref<?x4xi32>, %dw: memref<64x100xf32>,
    %o: memref<65xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4xf32>, memref<?x100xf32>, memref<?x4xi32>)
    dispatch(%o, %t, %s, %p : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%dw : memref<64x100xf32>)
  return
}

module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%root: !transform.any_op {transform.readonly}) {
    %op = transform.structured.match ops{["omnimoe.combine"]} in %root : (!transform.any_op) -> !transform.any_op
    %tiled, %loop = transform.structured.tile_using_for %op tile_sizes [32] : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.yield
  }
}
