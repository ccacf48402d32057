// RUN: omni-opt %s --omnimoe-partition-pairs --cse | FileCheck %s

// A hybrid block becomes two: the rest of the pairs token by token, and what
// that sums is what the crowded pairs are added to.

// CHECK-LABEL: func.func @hybrid(
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[UP:.*]]: tensor<64x8xf32>, %[[E:.*]]: tensor<?x4xi32>, %[[S0:.*]]: tensor<?x4xf32>, %[[Y0:.*]]: tensor<?x8xf32>)
// CHECK:         %[[P:.*]]:2 = omnimoe.partition ins(%[[E]] : tensor<?x4xi32>)
// CHECK-SAME:      num_experts = 64 group_size = 16 min_pairs = 3
// CHECK:         %[[S:.*]] = omnimoe.grouped_matmul ins(%[[X]], %[[UP]], %[[P]]#0 {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
// CHECK:         %[[A:.*]] = linalg.negf ins(%[[S]]
// CHECK:         %[[RS:.*]] = omnimoe.grouped_matmul ins(%[[X]], %[[UP]], %[[P]]#1 {{.*}} {omnimoe.few_pairs, schedule = #omnimoe.schedule<token_centric, token_tile = 2>}
// CHECK:         %[[RA:.*]] = linalg.negf ins(%[[RS]]
// CHECK:         %[[REST:.*]] = omnimoe.combine to_tokens ins(%[[RA]], %[[UP]], %[[P]]#1 {{.*}} outs(%[[Y0]] : tensor<?x8xf32>)
// CHECK-SAME:      {omnimoe.few_pairs, schedule = #omnimoe.schedule<token_centric, token_tile = 2>}
// CHECK:         %[[Y:.*]] = omnimoe.combine to_tokens ins(%[[A]], %[[UP]], %[[P]]#0 {{.*}} outs(%[[REST]] : tensor<?x8xf32>)
// CHECK-SAME:      {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
// CHECK:         return %[[Y]]
#hybrid = #omnimoe.schedule<hybrid, group_size = 16, token_tile = 2, min_pairs = 3>
func.func @hybrid(%x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>)
    {schedule = #hybrid} -> tensor<?x4xf32>
  %a = linalg.negf ins(%s : tensor<?x4xf32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = omnimoe.combine to_tokens ins(%a, %up, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>)
    {schedule = #hybrid} -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Products that are needed besides are those of all pairs, once, token by token.

// CHECK-LABEL: func.func @kept_products(
// CHECK-SAME:    %[[E:[^ :]*]]: tensor<?x4xi32>
// CHECK:         %[[S:.*]] = omnimoe.grouped_matmul ins(%{{.*}}, %{{.*}}, %[[E]] {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 2>}
// CHECK-NOT:     omnimoe.grouped_matmul
// CHECK:         omnimoe.combine to_tokens ins(%[[S]], %{{.*}}, %{{.*}}#1
// CHECK:         omnimoe.combine to_tokens ins(%[[S]], %{{.*}}, %{{.*}}#0
func.func @kept_products(%e: tensor<?x4xi32>, %x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %s0: tensor<?x4xf32>, %y0: tensor<?x8xf32>)
    -> (tensor<?x8xf32>, tensor<?x4xf32>) {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>)
    {schedule = #hybrid} -> tensor<?x4xf32>
  %y = omnimoe.combine to_tokens ins(%s, %up, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>)
    {schedule = #hybrid} -> tensor<?x8xf32>
  return %y, %s : tensor<?x8xf32>, tensor<?x4xf32>
}

// Other schedules are left alone, and so is a sum to experts.

// CHECK-LABEL: func.func @others(
// CHECK-NOT:     omnimoe.partition
// CHECK:         return
func.func @others(%a: tensor<?x4xf32>, %x: tensor<?x8xf32>, %up: tensor<64x8xf32>, %e: tensor<?x4xi32>, %y0: tensor<?x8xf32>)
    -> (tensor<?x8xf32>, tensor<64x8xf32>) {
  %y = omnimoe.combine to_tokens ins(%a, %up, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 16>} -> tensor<?x8xf32>
  %w = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%up : tensor<64x8xf32>)
    -> tensor<64x8xf32>
  return %y, %w : tensor<?x8xf32>, tensor<64x8xf32>
}
