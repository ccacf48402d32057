// The destination's buffer is the result's: nothing is allocated or copied
// where the destination is dead afterwards.
// RUN: omni-opt %s --one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" \
// RUN:   --canonicalize | FileCheck %s
// RUN: omni-opt %s --one-shot-bufferize="bufferize-function-boundaries test-analysis-only" | FileCheck %s --check-prefix=ANALYSIS

// CHECK-LABEL: func.func @in_place(
// CHECK-SAME:    %[[R:[a-z0-9]+]]: memref<?x8xf32>, %[[C:[a-z0-9]+]]: memref<?x8xf32>, %[[S:[a-z0-9]+]]: memref<?x4xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>,
// CHECK-SAME:    %[[W:[a-z0-9]+]]: memref<64x8xf32>, %[[Y:[a-z0-9]+]]: memref<?x8xf32>)
// CHECK-NOT:     memref.alloc
// CHECK-NOT:     memref.copy
// CHECK:         omnimoe.route ins(%[[R]], %[[C]] : memref<?x8xf32>, memref<?x8xf32>) outs(%[[S]], %[[E]] : memref<?x4xf32>, memref<?x4xi32>){{$}}
// CHECK-NEXT:    omnimoe.grouped_matmul ins(%[[R]], %[[W]], %[[E]] : memref<?x8xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%[[S]] : memref<?x4xf32>)
// CHECK-NEXT:    omnimoe.combine to_tokens ins(%[[S]], %[[W]], %[[E]] : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%[[Y]] : memref<?x8xf32>)
// CHECK-SAME:      {schedule = #omnimoe.schedule<token_centric>}
// CHECK-NEXT:    return %[[Y]]
// ANALYSIS-LABEL: func.func @in_place(
// ANALYSIS:         omnimoe.route
// ANALYSIS-SAME:      __inplace_operands_attr__ = ["true", "true", "true", "true"]
func.func @in_place(%r: tensor<?x8xf32>, %c: tensor<?x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>, %w: tensor<64x8xf32>,
                    %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0:2 = omnimoe.route ins(%r, %c : tensor<?x8xf32>, tensor<?x8xf32>)
    outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>) -> tensor<?x4xf32>, tensor<?x4xi32>
  %1 = omnimoe.grouped_matmul ins(%r, %w, %0#1 : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%0#0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = omnimoe.combine to_tokens ins(%1, %w, %0#1 : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%y : tensor<?x8xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @dispatched(
// CHECK-NOT:     memref.copy
// CHECK:         %[[O:.*]] = memref.alloc() {{.*}} : memref<17xi32>
// CHECK:         omnimoe.dispatch ins(%{{.*}} : memref<?x4xi32>) outs(%[[O]], %[[T:.*]], %[[B:.*]], %[[P:.*]] : memref<17xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
// CHECK-SAME:      num_experts = 64 group_size = 4
// CHECK:         omnimoe.combine to_experts
// CHECK-SAME:      dispatch(%[[O]], %[[T]], %[[B]], %[[P]] :
func.func @dispatched(%a: tensor<?x4xf32>, %x: tensor<?x8xf32>, %e: tensor<?x4xi32>, %dw: tensor<64x8xf32>, %n: index) -> tensor<64x8xf32> {
  %o = tensor.empty() : tensor<17xi32>
  %t = tensor.empty(%n) : tensor<?xi32>
  %s = tensor.empty(%n) : tensor<?xi32>
  %p = tensor.empty(%n) : tensor<?xi32>
  %0:4 = omnimoe.dispatch ins(%e : tensor<?x4xi32>)
    outs(%o, %t, %s, %p : tensor<17xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    num_experts = 64 group_size = 4 -> tensor<17xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  %1 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>)
    dispatch(%0#0, %0#1, %0#2, %0#3 : tensor<17xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%dw : tensor<64x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 4>} -> tensor<64x8xf32>
  return %1 : tensor<64x8xf32>
}

// A combine adds to its destination: where that is read again later, it is
// copied first. The others write theirs: a new buffer will do.
// CHECK-LABEL: func.func @destination_read_later(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x8xf32>, {{.*}} %[[S:[a-z0-9]+]]: memref<?x4xf32>, %[[Y:[a-z0-9]+]]: memref<?x8xf32>)
// CHECK:         %[[NEW:.*]] = memref.alloc({{.*}} : memref<?x4xf32>
// CHECK-NOT:     memref.copy
// CHECK:         omnimoe.grouped_matmul {{.*}} outs(%[[NEW]] : memref<?x4xf32>)
// CHECK:         %[[SUM:.*]] = memref.alloc({{.*}} : memref<?x8xf32>
// CHECK:         memref.copy %[[Y]], %[[SUM]]
// CHECK:         omnimoe.combine to_tokens ins(%[[NEW]], {{.*}} outs(%[[SUM]] : memref<?x8xf32>)
// CHECK:         return %[[SUM]], %[[S]], %[[Y]]
// ANALYSIS-LABEL: func.func @destination_read_later(
// ANALYSIS:         omnimoe.grouped_matmul
// ANALYSIS-SAME:      __inplace_operands_attr__ = ["true", "true", "true", "false"]
// ANALYSIS:         omnimoe.combine
// ANALYSIS-SAME:      __inplace_operands_attr__ = ["true", "true", "true", "false"]
func.func @destination_read_later(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>, %y: tensor<?x8xf32>)
    -> (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>) {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1, %s, %y : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>
}

// CHECK-LABEL: func.func @partitioned(
// CHECK-NOT:     memref.copy
// CHECK:         %[[C:.*]] = memref.alloc({{.*}} : memref<?x4xi32>
// CHECK:         %[[R:.*]] = memref.alloc({{.*}} : memref<?x4xi32>
// CHECK:         omnimoe.partition ins(%{{.*}} : memref<?x4xi32>) outs(%[[C]], %[[R]] : memref<?x4xi32>, memref<?x4xi32>)
// CHECK-SAME:      num_experts = 64 group_size = 4 min_pairs = 2{{$}}
func.func @partitioned(%e: tensor<?x4xi32>, %n: index) -> (tensor<?x4xi32>, tensor<?x4xi32>) {
  %c = tensor.empty(%n) : tensor<?x4xi32>
  %r = tensor.empty(%n) : tensor<?x4xi32>
  %0:2 = omnimoe.partition ins(%e : tensor<?x4xi32>) outs(%c, %r : tensor<?x4xi32>, tensor<?x4xi32>)
    num_experts = 64 group_size = 4 min_pairs = 2 -> tensor<?x4xi32>, tensor<?x4xi32>
  return %0#0, %0#1 : tensor<?x4xi32>, tensor<?x4xi32>
}
