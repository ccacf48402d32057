// RUN: omni-opt %s --omnimoe-separate-destinations | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-llvm -o /dev/null

// The example of the pass's documentation: each of two sums has a fill, and
// each fill a tensor.

// CHECK-LABEL: func.func @two_sums(
// CHECK:         %[[E:.*]] = tensor.empty
// CHECK:         %[[Z:.*]] = linalg.fill {{.*}} outs(%[[E]] :
// CHECK:         %[[E0:.*]] = tensor.empty
// CHECK:         %[[OTHER:.*]] = linalg.fill {{.*}} outs(%[[E0]] :
// CHECK:         omnimoe.combine to_experts {{.*}} outs(%[[Z]] : tensor<64x8xf32>)
// CHECK:         omnimoe.combine to_experts {{.*}} outs(%[[OTHER]] : tensor<64x8xf32>)
func.func @two_sums(%a: tensor<?x4xf32>, %b: tensor<?x4xf32>, %x: tensor<?x8xf32>, %e: tensor<?x4xi32>) -> (tensor<64x8xf32>, tensor<64x8xf32>) {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<64x8xf32>
  %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x8xf32>) -> tensor<64x8xf32>
  %da = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
  %db = omnimoe.combine to_experts ins(%b, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
  return %da, %db : tensor<64x8xf32>, tensor<64x8xf32>
}
