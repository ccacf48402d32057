// What the optimizer may do with an operation: on tensors it is pure, on
// memrefs it reads its inputs and writes its destination.
// RUN: omni-opt %s --cse | FileCheck %s --check-prefix=CSE
// RUN: omni-opt %s --loop-invariant-code-motion | FileCheck %s --check-prefix=LICM
// RUN: omni-opt %s --resolve-ranked-shaped-type-result-dims --canonicalize | FileCheck %s --check-prefix=SHAPE

// CSE-LABEL: func.func @on_tensors(
// CSE:         omnimoe.grouped_matmul
// CSE-NOT:     omnimoe.grouped_matmul
// CSE:         return
// LICM-LABEL: func.func @on_tensors(
// LICM:         omnimoe.grouped_matmul
// LICM:         scf.for
func.func @on_tensors(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>, %n: index) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = scf.for %i = %c0 to %n step %c1 iter_args(%sum = %0) -> tensor<?x4xf32> {
    %1 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
    %2 = arith.addf %sum, %1 : tensor<?x4xf32>
    scf.yield %2 : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// CSE-LABEL: func.func @on_memrefs(
// CSE-COUNT-2: omnimoe.combine
// LICM-LABEL: func.func @on_memrefs(
// LICM:         scf.for
// LICM:           omnimoe.combine
func.func @on_memrefs(%a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%y : memref<?x8xf32>)
  scf.for %i = %c0 to %n step %c1 {
    omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%y : memref<?x8xf32>)
  }
  return
}

// A load before and after the write is not the same.
// CSE-LABEL: func.func @loads_around(
// CSE-SAME:    {{.*}} %[[Y:[a-z0-9]+]]: memref<?x8xf32>, %[[I:[a-z0-9]+]]: index)
// CSE:         %[[BEFORE:.*]] = memref.load %[[Y]][
// CSE-NEXT:    omnimoe.combine
// CSE-NEXT:    %[[AFTER:.*]] = memref.load %[[Y]][
// CSE-NEXT:    return %[[BEFORE]], %[[BEFORE]], %[[AFTER]]
func.func @loads_around(%a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32>, %i: index)
    -> (f32, f32, f32) {
  %0 = memref.load %y[%i, %i] : memref<?x8xf32>
  %1 = memref.load %y[%i, %i] : memref<?x8xf32>
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%y : memref<?x8xf32>)
  %2 = memref.load %y[%i, %i] : memref<?x8xf32>
  return %0, %1, %2 : f32, f32, f32
}

// The shape of a result is that of its destination.
// SHAPE-LABEL: func.func @dims(
// SHAPE-SAME:    %[[R:[a-z0-9]+]]: tensor<?x8xf32>, %[[S:[a-z0-9]+]]: tensor<?x4xf32>, %[[E:[a-z0-9]+]]: tensor<?x4xi32>)
// SHAPE:         %[[TS:.*]] = tensor.dim %[[S]], %c0
// SHAPE:         %[[TE:.*]] = tensor.dim %[[E]], %c0
// SHAPE-NOT:     omnimoe.route
// SHAPE:         return %[[TS]], %[[TE]]
func.func @dims(%r: tensor<?x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> (index, index) {
  %c0 = arith.constant 0 : index
  %0:2 = omnimoe.route ins(%r, %r : tensor<?x8xf32>, tensor<?x8xf32>)
    outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>) -> tensor<?x4xf32>, tensor<?x4xi32>
  %1 = tensor.dim %0#0, %c0 : tensor<?x4xf32>
  %2 = tensor.dim %0#1, %c0 : tensor<?x4xi32>
  return %1, %2 : index, index
}
