// The tiling interface, through omnimoe-tile, which cuts the first loop of an
// operation: over its tokens, or over D for a sum to experts. What is indexed by
// expert is used whole. (split-pairs.mlir cuts the second loop, over pairs.)
// RUN: omni-opt %s --omnimoe-tile="token-tile=8 threads=2" --canonicalize --cse | FileCheck %s

// CHECK-LABEL: func.func @route(
// CHECK-SAME:    %[[R:[a-z0-9]+]]: tensor<?x64xf32>, %[[C:[a-z0-9]+]]: tensor<?x48xf32>, %[[S:[a-z0-9]+]]: tensor<?x16xf32>, %[[E:[a-z0-9]+]]: tensor<?x16xi32>)
// CHECK:         scf.forall (%[[I:.*]]) = (0) to (%{{.*}}) step (%{{.*}}) shared_outs(%[[SI:.*]] = %[[S]], %[[EI:.*]] = %[[E]])
// CHECK:           %[[N:.*]] = affine.min
// CHECK-DAG:       %[[RT:.*]] = tensor.extract_slice %[[R]][%[[I]], 0] [%[[N]], 64] [1, 1]
// CHECK-DAG:       %[[CT:.*]] = tensor.extract_slice %[[C]][%[[I]], 0] [%[[N]], 48] [1, 1]
// CHECK-DAG:       %[[ST:.*]] = tensor.extract_slice %[[SI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[EI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK:           %[[TILE:.*]]:2 = omnimoe.route ins(%[[RT]], %[[CT]] : tensor<?x64xf32>, tensor<?x48xf32>)
// CHECK-SAME:        outs(%[[ST]], %[[ET]] : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
// CHECK:           tensor.parallel_insert_slice %[[TILE]]#0 into %[[SI]][%[[I]], 0] [%[[N]], 16] [1, 1]
// CHECK:           tensor.parallel_insert_slice %[[TILE]]#1 into %[[EI]][%[[I]], 0] [%[[N]], 16] [1, 1]
func.func @route(%r: tensor<?x64xf32>, %c: tensor<?x48xf32>, %s: tensor<?x16xf32>, %e: tensor<?x16xi32>)
    -> (tensor<?x16xf32>, tensor<?x16xi32>) {
  %0:2 = omnimoe.route ins(%r, %c : tensor<?x64xf32>, tensor<?x48xf32>)
    outs(%s, %e : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
  return %0#0, %0#1 : tensor<?x16xf32>, tensor<?x16xi32>
}

// A producer is computed for the tile of its consumer; attributes are kept.

// CHECK-LABEL: func.func @products(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<24x8xf32>, %[[UP:[a-z0-9]+]]: tensor<64x2x8xf32>, %[[DOWN:[a-z0-9]+]]: tensor<64x2x8xf32>, %[[E:[a-z0-9]+]]: tensor<24x4xi32>,
// CHECK-SAME:    %[[S:[a-z0-9]+]]: tensor<24x4x2xf32>, %[[Y:[a-z0-9]+]]: tensor<24x8xf32>)
// CHECK:         scf.forall (%[[I:.*]]) = (0) to (24) step (8) shared_outs(%[[YI:.*]] = %[[Y]])
// CHECK-DAG:       %[[XT:.*]] = tensor.extract_slice %[[X]][%[[I]], 0] [8, 8] [1, 1]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[E]][%[[I]], 0] [8, 4] [1, 1]
// CHECK-DAG:       %[[ST:.*]] = tensor.extract_slice %[[S]][%[[I]], 0, 0] [8, 4, 2] [1, 1, 1]
// CHECK:           %[[P:.*]] = omnimoe.grouped_matmul ins(%[[XT]], %[[UP]], %[[ET]] : tensor<8x8xf32>, tensor<64x2x8xf32>, tensor<8x4xi32>)
// CHECK-SAME:        outs(%[[ST]] : tensor<8x4x2xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<8x4x2xf32>
// CHECK:           %[[YT:.*]] = tensor.extract_slice %[[YI]][%[[I]], 0] [8, 8] [1, 1]
// CHECK:           omnimoe.combine to_tokens ins(%[[P]], %[[DOWN]], %[[ET]] : tensor<8x4x2xf32>, tensor<64x2x8xf32>, tensor<8x4xi32>)
// CHECK-SAME:        outs(%[[YT]] : tensor<8x8xf32>)
func.func @products(%x: tensor<24x8xf32>, %up: tensor<64x2x8xf32>, %down: tensor<64x2x8xf32>, %e: tensor<24x4xi32>, %s: tensor<24x4x2xf32>,
                    %y: tensor<24x8xf32>) -> tensor<24x8xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<24x8xf32>, tensor<64x2x8xf32>, tensor<24x4xi32>)
    outs(%s : tensor<24x4x2xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<24x4x2xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %down, %e : tensor<24x4x2xf32>, tensor<64x2x8xf32>, tensor<24x4xi32>)
    outs(%y : tensor<24x8xf32>) -> tensor<24x8xf32>
  return %1 : tensor<24x8xf32>
}

// A sum to experts: vectors and result are cut along D, which is the last
// dimension of wide experts too; coefficients, ids and a dispatch are whole.

// CHECK-LABEL: func.func @to_experts(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: tensor<?x4x2xf32>, %[[X:[a-z0-9]+]]: tensor<?x256xf32>, %[[E:[a-z0-9]+]]: tensor<?x4xi32>, %[[DW:[a-z0-9]+]]: tensor<64x2x256xf32>,
// CHECK-SAME:    %[[O:[a-z0-9]+]]: tensor<65xi32>, %[[P:[a-z0-9]+]]: tensor<?xi32>)
// CHECK:         scf.forall (%[[I:.*]]) = (0) to (256) step (128) shared_outs(%[[WI:.*]] = %[[DW]])
// CHECK:           %[[T:.*]] = tensor.dim %[[X]], %c0
// CHECK-DAG:       %[[XT:.*]] = tensor.extract_slice %[[X]][0, %[[I]]] [%[[T]], 128] [1, 1]
// CHECK-DAG:       %[[WT:.*]] = tensor.extract_slice %[[WI]][0, 0, %[[I]]] [64, 2, 128] [1, 1, 1]
// CHECK:           %[[SUM:.*]] = omnimoe.combine to_experts ins(%[[A]], %[[XT]], %[[E]] : tensor<?x4x2xf32>, tensor<?x128xf32>, tensor<?x4xi32>)
// CHECK-SAME:        dispatch(%[[O]], %[[P]], %[[P]], %[[P]] : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
// CHECK-SAME:        outs(%[[WT]] : tensor<64x2x128xf32>)
// CHECK:           tensor.parallel_insert_slice %[[SUM]] into %[[WI]][0, 0, %[[I]]] [64, 2, 128] [1, 1, 1]
func.func @to_experts(%a: tensor<?x4x2xf32>, %x: tensor<?x256xf32>, %e: tensor<?x4xi32>, %dw: tensor<64x2x256xf32>,
    %o: tensor<65xi32>, %p: tensor<?xi32>) -> tensor<64x2x256xf32> {
  %0 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4x2xf32>, tensor<?x256xf32>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%dw : tensor<64x2x256xf32>) -> tensor<64x2x256xf32>
  return %0 : tensor<64x2x256xf32>
}

// A sum that goes expert by expert is cut along its experts; a tile knows where
// the pairs of its experts are by its part of the offsets.

// CHECK-LABEL: func.func @by_expert(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: tensor<?x4xf32>, %[[X:[a-z0-9]+]]: tensor<?x256xf32>, %[[E:[a-z0-9]+]]: tensor<?x4xi32>, %[[DW:[a-z0-9]+]]: tensor<64x256xf32>,
// CHECK-SAME:    %[[O:[a-z0-9]+]]: tensor<65xi32>, %[[P:[a-z0-9]+]]: tensor<?xi32>)
// CHECK:         scf.forall (%[[I:.*]]) = (0) to (64) step (32) shared_outs(%[[WI:.*]] = %[[DW]])
// CHECK-DAG:       %[[OT:.*]] = tensor.extract_slice %[[O]][%[[I]]] [33] [1]
// CHECK-DAG:       %[[WT:.*]] = tensor.extract_slice %[[WI]][%[[I]], 0] [32, 256] [1, 1]
// CHECK:           omnimoe.combine to_experts ins(%[[A]], %[[X]], %[[E]] :
// CHECK-SAME:        dispatch(%[[OT]], %[[P]], %[[P]], %[[P]] : tensor<33xi32>,
// CHECK-SAME:        outs(%[[WT]] : tensor<32x256xf32>)
func.func @by_expert(%a: tensor<?x4xf32>, %x: tensor<?x256xf32>, %e: tensor<?x4xi32>, %dw: tensor<64x256xf32>,
    %o: tensor<65xi32>, %p: tensor<?xi32>) -> tensor<64x256xf32> {
  %0 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x256xf32>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%dw : tensor<64x256xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<64x256xf32>
  return %0 : tensor<64x256xf32>
}

// What follows a dispatch names tokens by position and is not cut along them.

// CHECK-LABEL: func.func @dispatched(
// CHECK-NOT:     scf.forall
// CHECK:         omnimoe.grouped_matmul
// CHECK:         omnimoe.combine to_tokens
// CHECK:         return
func.func @dispatched(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>, %y: tensor<?x8xf32>,
    %o: tensor<65xi32>, %p: tensor<?xi32>) -> tensor<?x8xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}
