// RUN: omni-opt %s --omnimoe-split-pairs --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s
// RUN: omni-opt %s --omnimoe-split-pairs=column-tile=64 --canonicalize --cse --split-input-file --verify-diagnostics | FileCheck %s --check-prefix=NARROW

// Four parts of four pairs each: the products and what is done to them move into
// the loop over parts, the rounding into the loop that adds the parts.

// CHECK-LABEL: func.func @split(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x512xf32>, %[[UP:[a-z0-9]+]]: tensor<64x512xf32>, %[[G:[a-z0-9]+]]: tensor<?x16xf32>, %[[E:[a-z0-9]+]]: tensor<?x16xi32>
// CHECK:         %[[T:.*]] = tensor.dim
// CHECK:         %[[P0:.*]] = tensor.empty(%{{.*}}) : tensor<?x4x512xf32>
// CHECK:         %[[P:.*]] = scf.forall (%[[I:.*]], %[[K:.*]]) = (0, 0) to (%{{.*}}, 16) step (1, 4) shared_outs(%[[PI:.*]] = %[[P0]])
// CHECK:           %[[PART:.*]] = affine.apply {{.*}}[%[[K]]]
// CHECK-DAG:       %[[XT:.*]] = tensor.extract_slice %[[X]][%[[I]], 0] [1, 512] [1, 1]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[E]][%[[I]], %[[K]]] [1, 4] [1, 1]
// CHECK:           %[[S:.*]] = omnimoe.grouped_matmul ins(%[[XT]], %[[UP]], %[[ET]] : {{.*}}) {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>} -> tensor<1x4xf32>
// CHECK:           %[[GT:.*]] = tensor.extract_slice %[[G]][%[[I]], %[[K]]] [1, 4] [1, 1]
// CHECK:           %[[A:.*]] = linalg.generic {{.*}} ins(%[[S]], %[[GT]] : tensor<1x4xf32>, tensor<1x4xf32>)
// CHECK:           %[[ZERO:.*]] = linalg.fill
// CHECK:           %[[SUM:.*]] = omnimoe.combine to_tokens ins(%[[A]], %[[UP]], %[[ET]] : {{.*}}) outs(%[[ZERO]] : tensor<1x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
// CHECK:           tensor.parallel_insert_slice %[[SUM]] into %[[PI]][%[[I]], %[[PART]], 0] [1, 1, 512] [1, 1, 1]
// CHECK:         scf.forall (%[[J:.*]], %[[D:.*]]) = (0, 0) to (%{{.*}}, 512) step (1, 128)
// CHECK:           %[[PT:.*]] = tensor.extract_slice %[[P]][%[[J]], 0, %[[D]]] [1, 4, 128] [1, 1, 1]
// CHECK:           %[[Y:.*]] = linalg.reduce ins(%[[PT]] : tensor<1x4x128xf32>) outs(%{{.*}} : tensor<1x128xf32>) dimensions = [1]
// CHECK:           linalg.generic {{.*}} ins(%[[Y]] : tensor<1x128xf32>)
// CHECK-NOT:     omnimoe.

// NARROW-LABEL: func.func @split(
// NARROW:         scf.forall {{.*}} step (1, 4)
// NARROW:         scf.forall {{.*}} step (1, 64)
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @split(%x: tensor<?x512xf32>, %up: tensor<64x512xf32>, %g: tensor<?x16xf32>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>,
    %y0: tensor<?x512xf32>, %z0: tensor<?x512xbf16>) -> tensor<?x512xbf16> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<64x512xf32>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 4>} -> tensor<?x16xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%a, %up, %e : tensor<?x16xf32>, tensor<64x512xf32>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 4>} -> tensor<?x512xf32>
  %z = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%y : tensor<?x512xf32>) outs(%z0 : tensor<?x512xbf16>) {
  ^bb0(%p: f32, %o: bf16):
    %r = arith.truncf %p : f32 to bf16
    linalg.yield %r : bf16
  } -> tensor<?x512xbf16>
  return %z : tensor<?x512xbf16>
}

// -----

// Wide experts; the sum itself is the result, in columns that divide D. The
// products have another user and stay whole.

// CHECK-LABEL: func.func @wide(
// CHECK:         %[[S:.*]] = omnimoe.grouped_matmul {{.*}} -> tensor<5x6x2xf32>
// CHECK:         scf.forall (%[[I:.*]], %[[K:.*]]) = (0, 0) to (5, 6) step (1, 2)
// CHECK:           %[[A:.*]] = tensor.extract_slice %[[S]][%[[I]], %[[K]], 0] [1, 2, 2] [1, 1, 1]
// CHECK:           omnimoe.combine to_tokens ins(%[[A]], {{.*}}) outs(%{{.*}} : tensor<1x300xf32>)
// CHECK:         scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (5, 300) step (1, 100)
// CHECK:           linalg.reduce ins(%{{.*}} : tensor<1x3x100xf32>) outs(%{{.*}} : tensor<1x100xf32>)
func.func @wide(%x: tensor<5x300xf32>, %up: tensor<64x2x300xf32>, %e: tensor<5x6xi32>, %s0: tensor<5x6x2xf32>, %y0: tensor<5x300xf32>)
    -> (tensor<5x6x2xf32>, tensor<5x300xf32>) {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<5x300xf32>, tensor<64x2x300xf32>, tensor<5x6xi32>)
    outs(%s0 : tensor<5x6x2xf32>) {schedule = #omnimoe.schedule<token_centric, pair_split = 3>} -> tensor<5x6x2xf32>
  %y = omnimoe.combine to_tokens ins(%s, %up, %e : tensor<5x6x2xf32>, tensor<64x2x300xf32>, tensor<5x6xi32>)
    outs(%y0 : tensor<5x300xf32>) {schedule = #omnimoe.schedule<token_centric, pair_split = 3>} -> tensor<5x300xf32>
  return %s, %y : tensor<5x6x2xf32>, tensor<5x300xf32>
}

// -----

// Nothing to split: no schedule, a split of one, a sum to experts.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NOT:     scf.forall
func.func @left_alone(%a: tensor<5x6xf32>, %w: tensor<64x8xf32>, %e: tensor<5x6xi32>, %y0: tensor<5x8xf32>)
    -> (tensor<5x8xf32>, tensor<64x8xf32>) {
  %y1 = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<5x6xf32>, tensor<64x8xf32>, tensor<5x6xi32>)
    outs(%y0 : tensor<5x8xf32>) -> tensor<5x8xf32>
  %y2 = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<5x6xf32>, tensor<64x8xf32>, tensor<5x6xi32>)
    outs(%y1 : tensor<5x8xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<5x8xf32>
  %w1 = omnimoe.combine to_experts ins(%a, %y2, %e : tensor<5x6xf32>, tensor<5x8xf32>, tensor<5x6xi32>)
    outs(%w : tensor<64x8xf32>) {schedule = #omnimoe.schedule<token_centric, pair_split = 2>} -> tensor<64x8xf32>
  return %y2, %w1 : tensor<5x8xf32>, tensor<64x8xf32>
}

// -----

func.func @does_not_divide(%a: tensor<5x6xf32>, %w: tensor<64x8xf32>, %e: tensor<5x6xi32>, %y0: tensor<5x8xf32>) -> tensor<5x8xf32> {
  // expected-error @below {{schedule's pair_split must divide the 6 pairs of a token, got 4}}
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<5x6xf32>, tensor<64x8xf32>, tensor<5x6xi32>)
    outs(%y0 : tensor<5x8xf32>) {schedule = #omnimoe.schedule<token_centric, pair_split = 4>} -> tensor<5x8xf32>
  return %y : tensor<5x8xf32>
}
