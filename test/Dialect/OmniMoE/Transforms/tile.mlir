// RUN: omni-opt %s --omnimoe-tile="threads=4" --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --omnimoe-tile="threads=4 token-tile=16" --canonicalize --cse | FileCheck %s --check-prefix=TILE16
// RUN: omni-opt %s --omnimoe-tile="threads=1" --canonicalize --cse | FileCheck %s --check-prefix=ONE
// RUN: omni-opt %s --omnimoe-tile --canonicalize --cse | FileCheck %s --check-prefix=TARGET

// Tiles hold at most token-tile tokens, and at most ceil(T / threads).
// CHECK-DAG:  #[[SIZE64:.*]] = affine_map<()[s0] -> (s0 ceildiv 4, 64)>
// CHECK-DAG:  #[[SIZE8:.*]] = affine_map<()[s0] -> (s0 ceildiv 4, 8)>
// CHECK-DAG:  #[[ONCE:.*]] = affine_map<()[s0] -> (s0 ceildiv 4, 1)>
// TILE16-DAG: #{{.*}} = affine_map<()[s0] -> (s0 ceildiv 4, 16)>
// TILE16-DAG: #{{.*}} = affine_map<()[s0] -> (s0 ceildiv 4, 8)>
// ONE-DAG:    #{{.*}} = affine_map<()[s0] -> (64, s0)>
// ONE-DAG:    #{{.*}} = affine_map<()[s0] -> (8, s0)>
// TARGET-DAG: #{{.*}} = affine_map<()[s0] -> (s0 ceildiv 12, 64)>
// TARGET-DAG: #{{.*}} = affine_map<()[s0] -> (s0 ceildiv 12, 8)>
#id = affine_map<(d0, d1) -> (d0, d1)>
#second = affine_map<(d0, d1) -> (d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "x", features = "", units = 12, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 10, memoryGbps = 10>} {

// The example of the pass's documentation: the products are computed in the
// tile that sums them, and exist for it only.

// CHECK-LABEL: func.func @fused(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x512xf32>, %[[UP:[a-z0-9]+]]: tensor<4096x512xf32>, %[[DOWN:[a-z0-9]+]]: tensor<4096x512xf32>, %[[E:[a-z0-9]+]]: tensor<?x16xi32>
// CHECK-SAME:    %[[Y0:[a-z0-9]+]]: tensor<?x512xf32>)
// CHECK-NOT:     omnimoe.
// CHECK:         %[[T:.*]] = tensor.dim
// CHECK:         %[[SHARE:.*]] = affine.min #[[SIZE64]]()[%[[T]]]
// CHECK:         %[[TILE:.*]] = affine.max #{{.*}}()[%[[SHARE]]]
// CHECK:         %[[Y:.*]] = scf.forall (%[[I:.*]]) = (0) to (%[[T]]) step (%[[TILE]]) shared_outs(%[[YI:.*]] = %[[Y0]])
// CHECK-DAG:       %[[XT:.*]] = tensor.extract_slice %[[X]][%[[I]], 0]
// CHECK-DAG:       %[[ET:.*]] = tensor.extract_slice %[[E]][%[[I]], 0]
// CHECK:           %[[S:.*]] = omnimoe.grouped_matmul ins(%[[XT]], %[[UP]], %[[ET]] :
// CHECK:           %[[YT:.*]] = omnimoe.combine to_tokens ins(%[[S]], %[[DOWN]], %[[ET]] :
// CHECK:           scf.forall.in_parallel
// CHECK-NEXT:        tensor.parallel_insert_slice %[[YT]] into %[[YI]][%[[I]], 0]
// CHECK-NOT:     omnimoe.
// CHECK:         return %[[Y]]
func.func @fused(%x: tensor<?x512xf32>, %up: tensor<4096x512xf32>, %down: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>,
    %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// The smallest token_tile of the schedules in a tile decides, whatever
// token-tile says.

// CHECK-LABEL: func.func @scheduled(
// CHECK:         affine.min #[[SIZE8]]()
// CHECK:         scf.forall (%{{.*}})
// CHECK-NOT:     scf.forall (
// CHECK:         return
func.func @scheduled(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s0 : tensor<?x4xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 32>} -> tensor<?x4xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%y0 : tensor<?x8xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A schedule without a token_tile wants one tile a thread.

// CHECK-LABEL: func.func @one_tile_a_thread(
// CHECK:         affine.max #[[ONCE]]()
// CHECK:         scf.forall
func.func @one_tile_a_thread(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s0 : tensor<?x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>} -> tensor<?x4xf32>
  return %s : tensor<?x4xf32>
}

// T is known: so are the tiles, the last of which may be smaller.

// CHECK-LABEL: func.func @static(
// CHECK:         scf.forall (%{{.*}}) = (0) to (100) step (25)
// TILE16-LABEL: func.func @static(
// TILE16:         scf.forall (%{{.*}}) = (0) to (100) step (16)
// ONE-LABEL:   func.func @static(
// ONE:           scf.forall (%{{.*}}) = (0) to (100) step (64)
// TARGET-LABEL: func.func @static(
// TARGET:        scf.forall (%{{.*}}) = (0) to (100) step (9)
func.func @static(%x: tensor<100x8xf32>, %w: tensor<64x8xf32>, %e: tensor<100x4xi32>, %s0: tensor<100x4xf32>) -> tensor<100x4xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<100x8xf32>, tensor<64x8xf32>, tensor<100x4xi32>)
    outs(%s0 : tensor<100x4xf32>) -> tensor<100x4xf32>
  return %s : tensor<100x4xf32>
}

// The ids are chosen in tiles of their own, before those of the sum: others may
// want them whole. Element-wise operations and fills follow into a tile.

// CHECK-LABEL: func.func @routed(
// CHECK:         %[[R:.*]]:2 = scf.forall
// CHECK:           omnimoe.route
// CHECK:         scf.forall (%{{.*}})
// CHECK-NOT:       scf.forall (
// CHECK:           tensor.extract_slice %[[R]]#1
// CHECK:           omnimoe.grouped_matmul
// CHECK:           linalg.generic
// CHECK:           linalg.fill
// CHECK:           omnimoe.combine
// CHECK:         return
func.func @routed(%rows: tensor<?x8xf32>, %cols: tensor<?x8xf32>, %x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %g0: tensor<?x4xf32>, %e0: tensor<?x4xi32>,
    %s0: tensor<?x4xf32>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %zero = arith.constant 0.0 : f32
  %g, %e = omnimoe.route ins(%rows, %cols : tensor<?x8xf32>, tensor<?x8xf32>) outs(%g0, %e0 : tensor<?x4xf32>, tensor<?x4xi32>)
    -> tensor<?x4xf32>, tensor<?x4xi32>
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x4xf32>, tensor<?x4xf32>) outs(%s0 : tensor<?x4xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x4xf32>
  %f = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%f : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// What another tile or the caller reads whole is not computed twice: products
// that are returned have tiles of their own.

// CHECK-LABEL: func.func @read_twice(
// CHECK:         %[[S:.*]] = scf.forall
// CHECK:           omnimoe.grouped_matmul
// CHECK:         %[[Y:.*]] = scf.forall
// CHECK:           tensor.extract_slice %[[S]]
// CHECK-NOT:       omnimoe.grouped_matmul
// CHECK:           omnimoe.combine
// CHECK:         return %[[S]], %[[Y]]
func.func @read_twice(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>, %y0: tensor<?x8xf32>)
    -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %s, %y : tensor<?x4xf32>, tensor<?x8xf32>
}

// A matrix product that is the sum's destination keeps tiles of its own.

// CHECK-LABEL: func.func @product_as_destination(
// CHECK:         %[[M:.*]] = scf.forall
// CHECK:           linalg.matmul
// CHECK:         scf.forall (%{{.*}}) = {{.*}} shared_outs(%{{.*}} = %[[M]])
// CHECK:           omnimoe.combine
func.func @product_as_destination(%a: tensor<?x4xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %x: tensor<?x16xf32>, %v: tensor<16x8xf32>,
    %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %m = linalg.matmul ins(%x, %v : tensor<?x16xf32>, tensor<16x8xf32>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%m : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A sum to experts is cut along D, in multiples of 64 columns, and takes no
// producer along: every tile would need it whole.

// CHECK-LABEL: func.func @to_experts(
// CHECK:         %[[A:.*]] = scf.forall
// CHECK:           omnimoe.grouped_matmul
// CHECK:         scf.forall (%{{.*}}) = (0) to (512) step (128)
// CHECK:           omnimoe.combine to_experts ins(%[[A]], %{{.*}} : tensor<?x4xf32>, tensor<?x128xf32>, tensor<?x4xi32>) outs(%{{.*}} : tensor<64x128xf32>)
// ONE-LABEL:   func.func @to_experts(
// ONE:           omnimoe.combine to_experts {{.*}} outs(%{{.*}} : tensor<64x512xf32>)
func.func @to_experts(%x: tensor<?x512xf32>, %w: tensor<64x512xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>, %dw0: tensor<64x512xf32>)
    -> tensor<64x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xf32>, tensor<64x512xf32>, tensor<?x4xi32>) outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %dw = omnimoe.combine to_experts ins(%s, %x, %e : tensor<?x4xf32>, tensor<?x512xf32>, tensor<?x4xi32>)
    outs(%dw0 : tensor<64x512xf32>) -> tensor<64x512xf32>
  return %dw : tensor<64x512xf32>
}

// The last tile along D may be smaller.

// CHECK-LABEL: func.func @odd_columns(
// CHECK:         scf.forall (%[[I:.*]]) = (0) to (100) step (64)
// CHECK:           %[[N:.*]] = affine.min #{{.*}}(%[[I]])
// CHECK-DAG:       tensor.extract_slice %{{.*}}[0, %[[I]]] [%{{.*}}, %[[N]]] [1, 1] : tensor<?x100xf32> to tensor<?x?xf32>
// CHECK-DAG:       tensor.extract_slice %{{.*}}[0, %[[I]]] [64, %[[N]]] [1, 1] : tensor<64x100xf32> to tensor<64x?xf32>
// CHECK:           omnimoe.combine to_experts {{.*}} outs(%{{.*}} : tensor<64x?xf32>) -> tensor<64x?xf32>
func.func @odd_columns(%a: tensor<?x4xf32>, %x: tensor<?x100xf32>, %e: tensor<?x4xi32>, %dw: tensor<64x100xf32>) -> tensor<64x100xf32> {
  %0 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x100xf32>, tensor<?x4xi32>)
    outs(%dw : tensor<64x100xf32>) -> tensor<64x100xf32>
  return %0 : tensor<64x100xf32>
}

// Each branch of a version has tiles of its own.

// CHECK-LABEL: func.func @versions(
// CHECK:         scf.if
// CHECK:           scf.forall
// CHECK:             omnimoe.grouped_matmul {{.*}} token_tile = 8
// CHECK:         } else {
// CHECK:           scf.forall
// CHECK:             omnimoe.grouped_matmul {{.*}} token_tile = 64
func.func @versions(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s0: tensor<?x4xf32>, %few: i1) -> tensor<?x4xf32> {
  %r = scf.if %few -> tensor<?x4xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%s0 : tensor<?x4xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<?x4xf32>
    scf.yield %s : tensor<?x4xf32>
  } else {
    %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%s0 : tensor<?x4xf32>) {schedule = #omnimoe.schedule<dense, group_size = 64, token_tile = 64>} -> tensor<?x4xf32>
    scf.yield %s : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// A product that is added to a sum has tiles of its own, and so many tokens as
// suit it; the addition is in the tiles of the sum.

// CHECK-LABEL: func.func @product_and_sum(
// CHECK:         affine.min #[[SIZE64]]
// CHECK:         %[[P:.*]] = scf.forall (
// CHECK:           linalg.matmul
// CHECK:         affine.min #[[SIZE8]]
// CHECK:         scf.forall (
// CHECK-NOT:       linalg.matmul
// CHECK:           tensor.extract_slice %[[P]]
// CHECK:           omnimoe.combine
// CHECK:           arith.addf
// CHECK-NOT:     scf.forall (
func.func @product_and_sum(%x: tensor<?x8xf32>, %w: tensor<8x16xf32>, %v: tensor<64x16xf32>, %e: tensor<?x4xi32>, %c: tensor<?x4xf32>, %y0: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %p = linalg.matmul ins(%x, %w : tensor<?x8xf32>, tensor<8x16xf32>) outs(%y0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %s = omnimoe.combine to_tokens ins(%c, %v, %e : tensor<?x4xf32>, tensor<64x16xf32>, tensor<?x4xi32>)
    outs(%y0 : tensor<?x16xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<?x16xf32>
  %r = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%p, %s : tensor<?x16xf32>, tensor<?x16xf32>) outs(%y0 : tensor<?x16xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  return %r : tensor<?x16xf32>
}

// Left alone: what is in a tile already, what has no parallel first loop, and
// what works on memrefs.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NEXT:    linalg.generic {{.*}} iterator_types = ["reduction", "parallel"]
// CHECK-NOT:     scf.forall (
// CHECK:         omnimoe.grouped_matmul
// CHECK:         return
func.func @left_alone(%x: tensor<?x8xf32>, %c0: tensor<8xf32>, %mx: memref<?x8xf32>, %mw: memref<64x8xf32>, %me: memref<?x4xi32>, %ms: memref<?x4xf32>)
    -> tensor<8xf32> {
  %0 = linalg.generic {indexing_maps = [#id, #second], iterator_types = ["reduction", "parallel"]} ins(%x : tensor<?x8xf32>) outs(%c0 : tensor<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.addf %p, %o : f32
    linalg.yield %m : f32
  } -> tensor<8xf32>
  omnimoe.grouped_matmul ins(%mx, %mw, %me : memref<?x8xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%ms : memref<?x4xf32>)
  return %0 : tensor<8xf32>
}
}
