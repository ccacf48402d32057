// RUN: omni-opt %s --omnimoe-expert-centric-reorder | FileCheck %s
// RUN: omni-opt %s --omnimoe-expert-centric-reorder="only-to-experts=true" | FileCheck %s --check-prefix=ONLY

// ONLY-COUNT-1:  omnimoe.dispatch ins(%{{.*}} : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 35
// ONLY-NEXT:     omnimoe.combine to_experts {{.*}} dispatch(
// ONLY-NOT:      omnimoe.dispatch

// The example of the pass's documentation; the sum shares the dispatch of the
// products.

// CHECK-DAG: #[[PAIRS:.*]] = affine_map<()[s0] -> (s0 * 16)>
// CHECK-DAG: #[[PAIRS1:.*]] = affine_map<()[s0] -> (s0 * 16 + 1)>
// CHECK-LABEL: func.func @shared(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x512xf32>, %[[UP:[a-z0-9]+]]: tensor<4096x512xf32>, %[[E:[a-z0-9]+]]: tensor<?x16xi32>
// CHECK:         %[[T:.*]] = tensor.dim %[[E]], %c0
// CHECK:         %[[P:.*]] = affine.apply #[[PAIRS]]()[%[[T]]]
// CHECK:         %[[P1:.*]] = affine.apply #[[PAIRS1]]()[%[[T]]]
// CHECK:         %[[O0:.*]] = tensor.empty() : tensor<65xi32>
// CHECK:         %[[T0:.*]] = tensor.empty(%[[P]]) : tensor<?xi32>
// CHECK:         %[[B0:.*]] = tensor.empty(%[[P1]]) : tensor<?xi32>
// CHECK:         %[[P0:.*]] = tensor.empty(%[[P]]) : tensor<?xi32>
// CHECK:         %[[D:.*]]:4 = omnimoe.dispatch ins(%[[E]] : tensor<?x16xi32>) outs(%[[O0]], %[[T0]], %[[B0]], %[[P0]] :
// CHECK-SAME:      num_experts = 4096 group_size = 64
// CHECK-NOT:     omnimoe.dispatch
// CHECK:         omnimoe.grouped_matmul ins(%[[X]], %[[UP]], %[[E]] : {{.*}}) dispatch(%[[D]]#0, %[[D]]#1, %[[D]]#2, %[[D]]#3 :
// CHECK-SAME:      {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
// CHECK:         omnimoe.combine to_tokens {{.*}} dispatch(%[[D]]#0, %[[D]]#1, %[[D]]#2, %[[D]]#3 :
// CHECK-SAME:      {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
func.func @shared(%x: tensor<?x512xf32>, %up: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x512xf32>)
    -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%s, %up, %e : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// Another group size, other experts and another number of experts each need
// their own. The last group may be smaller; a dispatch stands behind its ids.

// CHECK-LABEL: func.func @not_shared(
// CHECK:         omnimoe.dispatch ins(%[[E:.*]] : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 16 -> tensor<6xi32>, tensor<24xi32>, tensor<25xi32>, tensor<24xi32>
// CHECK:         omnimoe.dispatch ins(%[[E]] : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 35 -> tensor<3xi32>
// CHECK:         %[[R:.*]]:2 = omnimoe.route
// CHECK:         omnimoe.dispatch ins(%[[R]]#1 : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 35
// CHECK:         omnimoe.combine to_experts {{.*}} dispatch(
func.func @not_shared(%x: tensor<6x8xf32>, %w: tensor<70x8xf32>, %e: tensor<6x4xi32>, %s: tensor<6x4xf32>)
    -> (tensor<6x4xf32>, tensor<6x4xf32>, tensor<70x8xf32>) {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<70x8xf32>, tensor<6x4xi32>)
    outs(%s : tensor<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 35>} -> tensor<6x4xf32>
  %1 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<70x8xf32>, tensor<6x4xi32>)
    outs(%s : tensor<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>} -> tensor<6x4xf32>
  %r:2 = omnimoe.route ins(%x, %x : tensor<6x8xf32>, tensor<6x8xf32>) outs(%s, %e : tensor<6x4xf32>, tensor<6x4xi32>)
    -> tensor<6x4xf32>, tensor<6x4xi32>
  %2 = omnimoe.combine to_experts ins(%s, %x, %r#1 : tensor<6x4xf32>, tensor<6x8xf32>, tensor<6x4xi32>)
    outs(%w : tensor<70x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 35>} -> tensor<70x8xf32>
  return %0, %1, %2 : tensor<6x4xf32>, tensor<6x4xf32>, tensor<70x8xf32>
}

// In the tile that the ids belong to.

// CHECK-LABEL: func.func @in_tile(
// CHECK:         scf.forall
// CHECK:           %[[E:.*]] = tensor.extract_slice {{.*}} : tensor<64x4xi32> to tensor<8x4xi32>
// CHECK:           omnimoe.dispatch ins(%[[E]] : tensor<8x4xi32>)
// CHECK:           omnimoe.grouped_matmul {{.*}} dispatch(
func.func @in_tile(%x: tensor<64x8xf32>, %w: tensor<64x8xf32>, %e: tensor<64x4xi32>, %s: tensor<64x4xf32>) -> tensor<64x4xf32> {
  %0 = scf.forall (%i) = (0) to (64) step (8) shared_outs(%si = %s) -> tensor<64x4xf32> {
    %xt = tensor.extract_slice %x[%i, 0] [8, 8] [1, 1] : tensor<64x8xf32> to tensor<8x8xf32>
    %et = tensor.extract_slice %e[%i, 0] [8, 4] [1, 1] : tensor<64x4xi32> to tensor<8x4xi32>
    %st = tensor.extract_slice %si[%i, 0] [8, 4] [1, 1] : tensor<64x4xf32> to tensor<8x4xf32>
    %t = omnimoe.grouped_matmul ins(%xt, %w, %et : tensor<8x8xf32>, tensor<64x8xf32>, tensor<8x4xi32>)
      outs(%st : tensor<8x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>} -> tensor<8x4xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %t into %si[%i, 0] [8, 4] [1, 1] : tensor<8x4xf32> into tensor<64x4xf32>
    }
  }
  return %0 : tensor<64x4xf32>
}

// Other schedules, none, an operation that follows a dispatch already, and
// memrefs are left alone.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NOT:     omnimoe.dispatch
// CHECK:         return
func.func @left_alone(%x: tensor<6x8xf32>, %w: tensor<64x8xf32>, %e: tensor<6x4xi32>, %s: tensor<6x4xf32>, %o: tensor<5xi32>, %p: tensor<24xi32>,
    %b: tensor<25xi32>, %mx: memref<6x8xf32>, %mw: memref<64x8xf32>, %me: memref<6x4xi32>, %ms: memref<6x4xf32>) -> tensor<6x4xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<64x8xf32>, tensor<6x4xi32>)
    outs(%s : tensor<6x4xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<6x4xf32>
  %1 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<64x8xf32>, tensor<6x4xi32>)
    outs(%0 : tensor<6x4xf32>) {schedule = #omnimoe.schedule<dense, group_size = 64>} -> tensor<6x4xf32>
  %2 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<64x8xf32>, tensor<6x4xi32>)
    outs(%1 : tensor<6x4xf32>) -> tensor<6x4xf32>
  %3 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<64x8xf32>, tensor<6x4xi32>)
    dispatch(%o, %p, %b, %p : tensor<5xi32>, tensor<24xi32>, tensor<25xi32>, tensor<24xi32>)
    outs(%2 : tensor<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>} -> tensor<6x4xf32>
  omnimoe.grouped_matmul ins(%mx, %mw, %me : memref<6x8xf32>, memref<64x8xf32>, memref<6x4xi32>)
    outs(%ms : memref<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
  return %3 : tensor<6x4xf32>
}

// Under a branch, a dispatch is computed only where it is taken.

// CHECK-LABEL: func.func @branch(
// CHECK-NOT:     omnimoe.dispatch
// CHECK:         scf.if
// CHECK:           omnimoe.dispatch
// CHECK:           omnimoe.grouped_matmul {{.*}} dispatch(
// CHECK:         } else {
// CHECK-NOT:       omnimoe.dispatch
// CHECK:         return
func.func @branch(%c: i1, %x: tensor<?x512xf32>, %up: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %r = scf.if %c -> tensor<?x16xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x16xf32>
    scf.yield %s : tensor<?x16xf32>
  } else {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<?x16xf32>
    scf.yield %s : tensor<?x16xf32>
  }
  return %r : tensor<?x16xf32>
}

// On a GPU a dense block is a group too; on other targets it has no dispatch.
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-expert-centric-reorder | FileCheck %s --check-prefix=GPU

// GPU-LABEL: func.func @dense(
// GPU:         omnimoe.dispatch ins(%{{.*}} : tensor<?x4xi32>) {{.*}} num_experts = 64 group_size = 32
// GPU:         omnimoe.combine to_tokens {{.*}} dispatch(
// CHECK-LABEL: func.func @dense(
// CHECK-NOT:     omnimoe.dispatch
// CHECK:         return
func.func @dense(%a: tensor<?x4xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>)
    {schedule = #omnimoe.schedule<dense, group_size = 32>} -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Groups that are lines of a grid: 10 rows and 7 columns, and a dispatch apart from
// that of neighbours.

// CHECK-LABEL: func.func @lines(
// CHECK:         omnimoe.dispatch ins(%[[E:.*]] : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 10 -> tensor<8xi32>
// CHECK:         omnimoe.dispatch ins(%[[E]] : tensor<6x4xi32>) {{.*}} num_experts = 70 group_size = 10 grid_columns = 7 -> tensor<18xi32>
func.func @lines(%x: tensor<6x8xf32>, %w: tensor<70x8xf32>, %e: tensor<6x4xi32>, %s: tensor<6x4xf32>) -> (tensor<6x4xf32>, tensor<6x4xf32>) {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<70x8xf32>, tensor<6x4xi32>)
    outs(%s : tensor<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 10, grid_columns = 7>} -> tensor<6x4xf32>
  %1 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<6x8xf32>, tensor<70x8xf32>, tensor<6x4xi32>)
    outs(%s : tensor<6x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 10>} -> tensor<6x4xf32>
  return %0, %1 : tensor<6x4xf32>, tensor<6x4xf32>
}
