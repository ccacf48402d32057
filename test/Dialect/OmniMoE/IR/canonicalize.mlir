// RUN: omni-opt %s --canonicalize | FileCheck %s

//===----------------------------------------------------------------------===//
// Without tokens there is nothing to compute
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @no_tokens(
// CHECK-SAME:    %[[R:[a-z0-9]+]]: tensor<0x8xf32>, %[[S:[a-z0-9]+]]: tensor<0x4xf32>, %[[E:[a-z0-9]+]]: tensor<0x4xi32>,
// CHECK-SAME:    %[[W:[a-z0-9]+]]: tensor<64x8xf32>, %[[DW:[a-z0-9]+]]: tensor<64x8xf32>)
// CHECK-NEXT:    return %[[S]], %[[E]], %[[S]], %[[R]], %[[DW]]
func.func @no_tokens(%r: tensor<0x8xf32>, %s: tensor<0x4xf32>, %e: tensor<0x4xi32>, %w: tensor<64x8xf32>, %dw: tensor<64x8xf32>)
    -> (tensor<0x4xf32>, tensor<0x4xi32>, tensor<0x4xf32>, tensor<0x8xf32>, tensor<64x8xf32>) {
  %0:2 = omnimoe.route ins(%r, %r : tensor<0x8xf32>, tensor<0x8xf32>)
    outs(%s, %e : tensor<0x4xf32>, tensor<0x4xi32>) -> tensor<0x4xf32>, tensor<0x4xi32>
  %1 = omnimoe.grouped_matmul ins(%r, %w, %0#1 : tensor<0x8xf32>, tensor<64x8xf32>, tensor<0x4xi32>)
    outs(%0#0 : tensor<0x4xf32>) -> tensor<0x4xf32>
  %2 = omnimoe.combine to_tokens ins(%1, %w, %0#1 : tensor<0x4xf32>, tensor<64x8xf32>, tensor<0x4xi32>)
    outs(%r : tensor<0x8xf32>) -> tensor<0x8xf32>
  %3 = omnimoe.combine to_experts ins(%1, %r, %0#1 : tensor<0x4xf32>, tensor<0x8xf32>, tensor<0x4xi32>)
    outs(%dw : tensor<64x8xf32>) -> tensor<64x8xf32>
  return %0#0, %0#1, %1, %2, %3 : tensor<0x4xf32>, tensor<0x4xi32>, tensor<0x4xf32>, tensor<0x8xf32>, tensor<64x8xf32>
}

// A dispatch of no pairs still writes its offsets.
// CHECK-LABEL: func.func @dispatch_no_tokens(
// CHECK:         omnimoe.dispatch
func.func @dispatch_no_tokens(%e: tensor<0x4xi32>, %o: tensor<3xi32>, %t: tensor<0xi32>, %s: tensor<1xi32>)
    -> (tensor<3xi32>, tensor<0xi32>, tensor<1xi32>, tensor<0xi32>) {
  %0:4 = omnimoe.dispatch ins(%e : tensor<0x4xi32>)
    outs(%o, %t, %s, %t : tensor<3xi32>, tensor<0xi32>, tensor<1xi32>, tensor<0xi32>)
    num_experts = 2 -> tensor<3xi32>, tensor<0xi32>, tensor<1xi32>, tensor<0xi32>
  return %0#0, %0#1, %0#2, %0#3 : tensor<3xi32>, tensor<0xi32>, tensor<1xi32>, tensor<0xi32>
}

//===----------------------------------------------------------------------===//
// Coefficients of zero add nothing
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @zero_splat(
// CHECK-SAME:    %[[V:[a-z0-9]+]]: tensor<64x8xf32>, %[[E:[a-z0-9]+]]: tensor<3x4xi32>, %[[Y:[a-z0-9]+]]: tensor<3x8xf32>)
// CHECK-NEXT:    return %[[Y]]
func.func @zero_splat(%v: tensor<64x8xf32>, %e: tensor<3x4xi32>, %y: tensor<3x8xf32>) -> tensor<3x8xf32> {
  %zeros = arith.constant dense<0.0> : tensor<3x4xf32>
  %0 = omnimoe.combine to_tokens ins(%zeros, %v, %e : tensor<3x4xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
    outs(%y : tensor<3x8xf32>) -> tensor<3x8xf32>
  return %0 : tensor<3x8xf32>
}

// CHECK-LABEL: func.func @zero_fill(
// CHECK-SAME:    %[[DW:[a-z0-9]+]]: tensor<64x2x8xf32>
// CHECK-NEXT:    return %[[DW]]
func.func @zero_fill(%dw: tensor<64x2x8xf32>, %a: tensor<?x4x2xf32>, %x: tensor<?x8xf32>, %e: tensor<?x4xi32>) -> tensor<64x2x8xf32> {
  %zero = arith.constant -0.0 : f32
  %zeros = linalg.fill ins(%zero : f32) outs(%a : tensor<?x4x2xf32>) -> tensor<?x4x2xf32>
  %0 = omnimoe.combine to_experts ins(%zeros, %x, %e : tensor<?x4x2xf32>, tensor<?x8xf32>, tensor<?x4xi32>)
    outs(%dw : tensor<64x2x8xf32>) -> tensor<64x2x8xf32>
  return %0 : tensor<64x2x8xf32>
}

// Ones, zeros of the other operand, and an unknown fill stay.
// CHECK-LABEL: func.func @not_zero(
// CHECK-COUNT-3: omnimoe.combine to_tokens
func.func @not_zero(%e: tensor<3x4xi32>, %a: tensor<3x4xf32>, %f: f32, %y: tensor<3x8xf32>) -> tensor<3x8xf32> {
  %ones = arith.constant dense<1.0> : tensor<3x4xf32>
  %v = arith.constant dense<0.0> : tensor<64x8xf32>
  %fill = linalg.fill ins(%f : f32) outs(%a : tensor<3x4xf32>) -> tensor<3x4xf32>
  %0 = omnimoe.combine to_tokens ins(%ones, %v, %e : tensor<3x4xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
    outs(%y : tensor<3x8xf32>) -> tensor<3x8xf32>
  %1 = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<3x4xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
    outs(%0 : tensor<3x8xf32>) -> tensor<3x8xf32>
  %2 = omnimoe.combine to_tokens ins(%fill, %v, %e : tensor<3x4xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
    outs(%1 : tensor<3x8xf32>) -> tensor<3x8xf32>
  return %2 : tensor<3x8xf32>
}

//===----------------------------------------------------------------------===//
// Results that nobody reads
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @unused(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x8xf32>
// CHECK-NEXT:    return %[[X]]
func.func @unused(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>, %o: tensor<65xi32>, %p: tensor<?xi32>)
    -> tensor<?x8xf32> {
  %0:2 = omnimoe.route ins(%x, %x : tensor<?x8xf32>, tensor<?x8xf32>)
    outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>) -> tensor<?x4xf32>, tensor<?x4xi32>
  %1 = omnimoe.grouped_matmul ins(%x, %w, %0#1 : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%0#0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = omnimoe.combine to_tokens ins(%1, %w, %0#1 : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
  %3:4 = omnimoe.dispatch ins(%0#1 : tensor<?x4xi32>)
    outs(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    num_experts = 64 -> tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  return %x : tensor<?x8xf32>
}

// One result that is read keeps the operation; on memrefs it writes memory, and
// a sum of zeros is left to the reader of that memory.
// CHECK-LABEL: func.func @used(
// CHECK:         omnimoe.route
// CHECK:         omnimoe.grouped_matmul
// CHECK:         omnimoe.combine
func.func @used(%x: tensor<?x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>, %mx: memref<3x8xf32>, %w: memref<64x8xf32>, %me: memref<3x4xi32>,
                %ms: memref<3x4xf32>) -> tensor<?x4xf32> {
  %0:2 = omnimoe.route ins(%x, %x : tensor<?x8xf32>, tensor<?x8xf32>)
    outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>) -> tensor<?x4xf32>, tensor<?x4xi32>
  omnimoe.grouped_matmul ins(%mx, %w, %me : memref<3x8xf32>, memref<64x8xf32>, memref<3x4xi32>) outs(%ms : memref<3x4xf32>)
  omnimoe.combine to_tokens ins(%ms, %w, %me : memref<3x4xf32>, memref<64x8xf32>, memref<3x4xi32>) outs(%mx : memref<3x8xf32>)
  return %0#0 : tensor<?x4xf32>
}

//===----------------------------------------------------------------------===//
// Casts
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @memref_cast(
// CHECK-NOT:     memref.cast
// CHECK:         omnimoe.route ins(%{{.*}}, %{{.*}} : memref<3x8xf32>, memref<?x8xf32>) outs(%{{.*}}, %{{.*}} : memref<3x4xf32>, memref<?x4xi32>)
// CHECK:         omnimoe.dispatch ins(%{{.*}} : memref<3x4xi32>) outs(%{{.*}} : memref<65xi32>, memref<12xi32>, memref<13xi32>, memref<12xi32>)
// CHECK:         omnimoe.grouped_matmul ins(%{{.*}} : memref<3x8xf32>, memref<64x8xf32>, memref<3x4xi32>) outs(%{{.*}} : memref<3x4xf32>)
// CHECK:         omnimoe.combine to_tokens ins(%{{.*}} : memref<3x4xf32>, memref<64x8xf32>, memref<3x4xi32>) outs(%{{.*}} : memref<3x8xf32>)
func.func @memref_cast(%r: memref<3x8xf32>, %c: memref<?x8xf32>, %s: memref<3x4xf32>, %e: memref<?x4xi32>, %i: memref<3x4xi32>,
    %w: memref<64x8xf32>, %o: memref<65xi32>, %t: memref<12xi32>, %b: memref<13xi32>) {
  %dr = memref.cast %r : memref<3x8xf32> to memref<?x8xf32>
  %ds = memref.cast %s : memref<3x4xf32> to memref<?x4xf32>
  %di = memref.cast %i : memref<3x4xi32> to memref<?x4xi32>
  %dt = memref.cast %t : memref<12xi32> to memref<?xi32>
  %db = memref.cast %b : memref<13xi32> to memref<?xi32>
  omnimoe.route ins(%dr, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%ds, %e : memref<?x4xf32>, memref<?x4xi32>)
  omnimoe.dispatch ins(%di : memref<?x4xi32>) outs(%o, %dt, %db, %dt : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 64
  omnimoe.grouped_matmul ins(%dr, %w, %di : memref<?x8xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%ds : memref<?x4xf32>)
  omnimoe.combine to_tokens ins(%ds, %w, %di : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%dr : memref<?x8xf32>)
  return
}

// A static destination makes a static result.
// CHECK-LABEL: func.func @tensor_cast(
// CHECK:         %[[S:.*]] = omnimoe.grouped_matmul ins(%{{.*}} : tensor<3x8xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
// CHECK-SAME:      outs(%{{.*}} : tensor<3x4xf32>) -> tensor<3x4xf32>
// CHECK:         %[[Y:.*]] = omnimoe.combine to_tokens ins(%[[S]], %{{.*}} : tensor<3x4xf32>, tensor<64x8xf32>, tensor<3x4xi32>)
// CHECK-SAME:      outs(%{{.*}} : tensor<3x8xf32>) -> tensor<3x8xf32>
// CHECK-NEXT:    return %[[Y]] : tensor<3x8xf32>
func.func @tensor_cast(%x: tensor<3x8xf32>, %w: tensor<64x8xf32>, %e: tensor<3x4xi32>, %s: tensor<3x4xf32>) -> tensor<3x8xf32> {
  %dx = tensor.cast %x : tensor<3x8xf32> to tensor<?x8xf32>
  %de = tensor.cast %e : tensor<3x4xi32> to tensor<?x4xi32>
  %ds = tensor.cast %s : tensor<3x4xf32> to tensor<?x4xf32>
  %0 = omnimoe.grouped_matmul ins(%dx, %w, %de : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%ds : tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %w, %de : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%dx : tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = tensor.cast %1 : tensor<?x8xf32> to tensor<3x8xf32>
  return %2 : tensor<3x8xf32>
}
