// RUN: omni-opt %s --split-input-file --omnimoe-differentiate --verify-roundtrip | FileCheck %s
// RUN: omni-opt %s --split-input-file --omnimoe-differentiate --omnimoe-to-llvm -o /dev/null

// The gradient of products are two sums; ids have none.
// CHECK-LABEL: func.func @products_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[UP:.*]]: tensor<64x8xf32>, %[[E:.*]]: tensor<?x4xi32>, %[[DS:.*]]: tensor<?x4xf32> {omnimoe.name = "d_result"})
// CHECK-SAME:    -> (tensor<?x8xf32>, tensor<64x8xf32>)
// CHECK:         %[[DX:.*]] = omnimoe.combine to_tokens ins(%[[DS]], %[[UP]], %[[E]]
// CHECK:         %[[DUP:.*]] = omnimoe.combine to_experts ins(%[[DS]], %[[X]], %[[E]]
// CHECK-NOT:     grouped_matmul
// CHECK:         return %[[DX]], %[[DUP]]
func.func @products(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>) -> tensor<?x4xf32> {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %s0 = tensor.empty(%t) : tensor<?x4xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %s : tensor<?x4xf32>
}

// -----

// The gradient of a sum to tokens, of wide bf16 experts. The cotangent is read
// as the type it came in, and sums round once.
// CHECK-LABEL: func.func @to_tokens_backward
// CHECK-SAME:    %[[A:.*]]: tensor<?x4x2xf32>, %[[V:.*]]: tensor<64x2x8xbf16>, %[[E:.*]]: tensor<?x4xi32>, %[[Y:.*]]: tensor<?x8xbf16>, %[[DY:.*]]: tensor<?x8xbf16>
// CHECK-SAME:    -> (tensor<?x4x2xf32>, tensor<64x2x8xbf16>, tensor<?x8xbf16>)
// CHECK:         %[[DA:.*]] = omnimoe.grouped_matmul ins(%[[DY]], %[[V]], %[[E]] : tensor<?x8xbf16>
// CHECK:         %[[DV:.*]] = omnimoe.combine to_experts ins(%[[A]], %[[DY]], %[[E]] {{.*}} -> tensor<64x2x8xf32>
// CHECK:         %[[ROUNDED:.*]] = linalg.generic {{.*}} ins(%[[DV]]
// CHECK:           arith.truncf
// CHECK:         return %[[DA]], %[[ROUNDED]], %[[DY]]
func.func @to_tokens(%a: tensor<?x4x2xf32>, %v: tensor<64x2x8xbf16>, %e: tensor<?x4xi32>, %y0: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x4x2xf32>, tensor<64x2x8xbf16>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xbf16>) -> tensor<?x8xbf16>
  return %y : tensor<?x8xbf16>
}

// -----

// The gradient of a sum to experts.
// CHECK-LABEL: func.func @to_experts_backward
// CHECK-SAME:    %[[A:.*]]: tensor<?x4xf32>, %[[X:.*]]: tensor<?x8xf32>, %[[E:.*]]: tensor<?x4xi32>, %[[W:.*]]: tensor<64x8xf32>, %[[DW:.*]]: tensor<64x8xf32>
// CHECK:         %[[DA:.*]] = omnimoe.grouped_matmul ins(%[[X]], %[[DW]], %[[E]]
// CHECK:         %[[DX:.*]] = omnimoe.combine to_tokens ins(%[[A]], %[[DW]], %[[E]]
// CHECK:         return %[[DA]], %[[DX]], %[[DW]]
func.func @to_experts(%a: tensor<?x4xf32>, %x: tensor<?x8xf32>, %e: tensor<?x4xi32>, %w0: tensor<64x8xf32>) -> tensor<64x8xf32> {
  %w = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%w0 : tensor<64x8xf32>) -> tensor<64x8xf32>
  return %w : tensor<64x8xf32>
}

// -----

// Every choice passes its score's adjoint to its row and to its column.
// CHECK-LABEL: func.func @route_backward
// CHECK-SAME:    %[[R:.*]]: tensor<?x8xf32>, %[[C:.*]]: tensor<?x6xf32>, %[[DS:.*]]: tensor<?x4xf32>
// CHECK:         %[[ROUTE:.*]]:2 = omnimoe.route
// CHECK:         %[[GRID:.*]]:2 = linalg.generic {{.*}} ins(%[[ROUTE]]#1
// CHECK:           arith.divui
// CHECK:           arith.remui
// CHECK:         %[[DR:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[DS]], %[[GRID]]#0
// CHECK:           linalg.index 1
// CHECK:           arith.cmpi eq
// CHECK:           arith.select
// CHECK:           arith.addf
// CHECK:         -> tensor<?x8xf32>
// CHECK:         %[[DC:.*]] = linalg.generic {{.*}} ins(%[[DS]], %[[GRID]]#1
// CHECK:         -> tensor<?x6xf32>
// CHECK:         return %[[DR]], %[[DC]]
func.func @route(%r: tensor<?x8xf32>, %c: tensor<?x6xf32>) -> (tensor<?x4xf32>, tensor<?x4xi32>) {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %r, %c0 : tensor<?x8xf32>
  %s0 = tensor.empty(%t) : tensor<?x4xf32>
  %e0 = tensor.empty(%t) : tensor<?x4xi32>
  %s, %e = omnimoe.route ins(%r, %c : tensor<?x8xf32>, tensor<?x6xf32>) outs(%s0, %e0 : tensor<?x4xf32>, tensor<?x4xi32>) -> tensor<?x4xf32>, tensor<?x4xi32>
  return %s, %e : tensor<?x4xf32>, tensor<?x4xi32>
}

// -----

// Both uses of a value add to its adjoint, the second on top of the first.
// CHECK-LABEL: func.func @twice_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[UP:.*]]: tensor<64x8xf32>, %[[E:.*]]: tensor<?x4xi32>, %[[D0:.*]]: tensor<?x4xf32> {omnimoe.name = "d_result0"}, %[[D1:.*]]: tensor<?x4xf32> {omnimoe.name = "d_result1"}
// CHECK:         %[[FIRST:.*]] = omnimoe.combine to_tokens ins(%[[D1]], %[[UP]]
// CHECK:         %[[FIRSTUP:.*]] = omnimoe.combine to_experts ins(%[[D1]], %[[X]]
// CHECK:         %[[DX:.*]] = omnimoe.combine to_tokens ins(%[[D0]], %[[UP]], {{.*}}) outs(%[[FIRST]]
// CHECK:         %[[DUP:.*]] = omnimoe.combine to_experts ins(%[[D0]], %[[X]], {{.*}}) outs(%[[FIRSTUP]]
// CHECK:         return %[[DX]], %[[DUP]]
func.func @twice(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %s0 = tensor.empty(%t) : tensor<?x4xf32>
  %a = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %b = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
}
