// RUN: omni-opt %s --omnimoe-differentiate="wrt=3,0" | FileCheck %s --check-prefix=WRT
// RUN: omni-opt %s --omnimoe-differentiate="save=true emit=forward" | FileCheck %s --check-prefix=FORWARD
// RUN: omni-opt %s --omnimoe-differentiate="save=true" | FileCheck %s --check-prefix=SAVED
// RUN: omni-opt %s --omnimoe-differentiate="emit=forward" | FileCheck %s --check-prefix=NOTHING
// RUN: omni-opt %s --omnimoe-differentiate="sparse=1,2 rows=16" | FileCheck %s --check-prefix=SPARSE
// RUN: omni-opt %s --omnimoe-differentiate="wrt=0,2 sparse=2 rows=16 save=true" | FileCheck %s --check-prefix=ONE

// WRT-LABEL: func.func @experts_backward
// WRT-SAME:    -> (tensor<?x4xf32>, tensor<?x8xf32>)
// WRT-NOT:     to_experts

// The products are returned behind the result.
// FORWARD-LABEL: func.func @experts(
// FORWARD-SAME:    -> (tensor<?x8xf32>, tensor<?x4xf32>)
// FORWARD:         %[[S:.*]] = omnimoe.grouped_matmul
// FORWARD:         %[[Y:.*]] = omnimoe.combine to_tokens
// FORWARD:         return %[[Y]], %[[S]]
// FORWARD-NOT:   omnimoe.number

// They are not computed again: the one product left is that of the cotangent.
// SAVED-LABEL: func.func @experts_backward
// SAVED-SAME:    %[[W:[a-z0-9]*]]: tensor<?x4xf32>, %[[E:[a-z0-9]*]]: tensor<?x4xi32>, %[[S:[a-z0-9]*]]: tensor<?x4xf32> {omnimoe.name = "saved0"}, %[[DY:[a-z0-9]*]]: tensor<?x8xf32> {omnimoe.name = "d_result"})
// SAVED:         omnimoe.grouped_matmul ins(%[[DY]]
// SAVED-NOT:     omnimoe.grouped_matmul

// Tables are read by the experts' ids, their gradients are summed by the rows'.
// SPARSE-LABEL: func.func @experts_backward
// SPARSE-SAME:    %[[E:[a-z0-9]*]]: tensor<?x4xi32>, %{{[a-z0-9]*}}: tensor<?x8xf32> {omnimoe.name = "d_result"}, %[[R:[a-z0-9]*]]: tensor<?x4xi32> {omnimoe.name = "rows"})
// SPARSE-SAME:    -> (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16x8xf32>, tensor<?x4xf32>)
// SPARSE-COUNT-2: combine to_experts ins({{.*}}, %[[R]] : {{.*}}) outs({{.*}} : tensor<16x8xf32>)
// ONE-LABEL:   func.func @experts_backward
// ONE-SAME:      -> (tensor<?x8xf32>, tensor<16x8xf32>)

// Without `save` the forward function is what it was.
// NOTHING-LABEL: func.func @experts(
// NOTHING-SAME:    -> tensor<?x8xf32>
func.func @experts(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %down: tensor<64x8xf32>, %w: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %s0 = tensor.empty(%t) : tensor<?x4xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %act = math.tanh %s : tensor<?x4xf32>
  %a = arith.mulf %act, %w : tensor<?x4xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %y0 = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
