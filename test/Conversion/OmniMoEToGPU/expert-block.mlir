// RUN: omni-opt %s --convert-omnimoe-expert-block-to-gpu --split-input-file --verify-diagnostics | FileCheck %s

#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>
#id = affine_map<(d0, d1) -> (d0, d1)>
#id3 = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
!ids = memref<?x16xi32>
!pairs = memref<?x16xf32>
!list = memref<?xi32>
!table = memref<4096x512xbf16>

// Tiles, then cells, then one kernel whose warps have different tasks. Values
// between products and sums have no memory.

module attributes {omnimoe.target = #target} {
// CHECK-LABEL: func.func @block(
// CHECK-SAME:    %[[Y:[a-z0-9]+]]: memref<?x512xf32>
// CHECK-NOT:     omnimoe.
// CHECK-NOT:     scf.execute_region
// CHECK:         memref.alloc(%{{.*}}) : memref<?x3xi32>
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %c1{{.*}}, %{{.*}} = %c1{{.*}}, %{{.*}} = %c1{{.*}}) threads{{.*}} function(@block_experts0_tiles)
// CHECK:         gpu.launch {{.*}} function(@block_experts0_cells)
// A tile of up vectors, and one of down vectors; a group of 50 has 64 columns.
// CHECK-DAG:     nvgpu.tma.create.descriptor {{.*}} box[%c64{{.*}}, %c64{{.*}}]
// CHECK:         gpu.launch {{.*}} threads(%{{.*}}) in (%{{.*}} = %c384{{.*}}) {{.*}}function(@block_experts0)
// CHECK:           nvvm.setmaxregister decrease 24
// Rows that do not exist are zeros, and nothing is read for them.
// CHECK:           %[[EXISTS:.*]] = arith.cmpi sge
// CHECK:           %[[BYTES:.*]] = arith.select %[[EXISTS]], %c16_i32{{.*}}, %c0_i32
// CHECK:           nvvm.cp.async.shared.global {{.*}}, 16, cache = cg, %[[BYTES]]
// CHECK:           nvvm.setmaxregister increase 240
// CHECK:           nvvm.wgmma.mma_async
// CHECK-SAME:        <m = 64, n = 64, k = 16>
// CHECK:           llvm.atomicrmw fadd
// CHECK:           wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK:           red.global.v4.f32.add
// CHECK:         return
func.func @block(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %g: !pairs, %s: !pairs,
    %o: memref<83xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %g : !pairs, !pairs) outs(%s : !pairs) {
    ^bb0(%in: f32, %weight: f32, %out: f32):
      %m = arith.mulf %in, %weight : f32
      linalg.yield %m : f32
    }
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    scf.yield
  }
  return
}

// Sums that start from zeros are cleared while one block cuts slots into tiles.

// CHECK-LABEL: func.func @zeros(
// CHECK-SAME:    %[[Y:[a-z0-9]+]]: memref<?x512xf32>
// CHECK-NOT:     linalg.fill
// CHECK:         %[[ROWS:.*]] = memref.dim %[[Y]]
// CHECK:         %[[CLEARING:.*]] = arith.ceildivui %[[ROWS]], %c32
// CHECK:         %[[BLOCKS:.*]] = arith.addi %[[CLEARING]], %c1
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %[[BLOCKS]], {{.*}} function(@zeros_experts1_tiles)
// CHECK:           } else {
// CHECK:             vector.store %{{.*}}, %[[Y]]{{.*}}alignment = 16
// CHECK:         function(@zeros_experts1)
// CHECK:         return
func.func @zeros(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %s: !pairs,
    %o: memref<83xi32>, %t: !list, %b: !list, %p: !list) {
  %zero = arith.constant 0.0 : f32
  scf.execute_region no_inline {
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    linalg.fill ins(%zero : f32) outs(%y : memref<?x512xf32>)
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    scf.yield
  }
  return
}

// Groups that are lines of a grid: two blocks are a cluster, each of which copies
// half of a line's vectors to both, out of the table seen by rows or by columns.
// The first one asks for tiles and tells both. The dispatch comes right before,
// and carries ids and gates.

// CHECK-LABEL: func.func @lines(
// CHECK:         %[[IDS:.*]] = memref.alloc(%{{.*}}) : memref<?xi32>
// CHECK:         %[[GATES:.*]] = memref.alloc(%{{.*}}) : memref<?xf32>
// CHECK:         omnimoe.dispatch {{.*}} carry(%{{.*}}, %{{.*}} to %[[IDS]], %[[GATES]] :
// CHECK:         gpu.launch {{.*}} function(@lines_experts2_cells)
// CHECK:           memref.load %[[IDS]]
// CHECK:           memref.load %[[GATES]]
// CHECK:         memref.reinterpret_cast {{.*}} sizes: [40, 60, 512], strides: [30720, 512, 1]
// CHECK:         memref.reinterpret_cast {{.*}} sizes: [60, 40, 512], strides: [512, 30720, 1]
// CHECK:         gpu.launch blocks(%{{.*}}, %{{.*}}, %{{.*}}) in (%{{.*}} = %{{.*}}, %{{.*}} = %c1{{.*}}, %{{.*}} = %c2{{.*}}) {{.*}}function(@lines_experts2)
// CHECK:           nvvm.cluster.arrive
// CHECK:           nvvm.cp.async.bulk.tensor.shared.cluster.global {{.*}} multicast_mask
// CHECK:           nvvm.cp.async.shared.global {{.*}}, 16, cache = cg, %{{.*}}
// CHECK:           mbarrier.arrive.release.cta.shared::cluster
// CHECK:           st.async.shared::cluster.mbarrier::complete_tx::bytes
// CHECK:           nvvm.cluster.arrive
func.func @lines(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: memref<2400x512xbf16>, %e: !ids, %g: !pairs, %s: !pairs,
    %o: memref<101xi32>, %t: !list, %b: !list, %p: !list) {
  omnimoe.dispatch ins(%e : !ids) outs(%o, %t, %b, %p : memref<101xi32>, !list, !list, !list)
    num_experts = 2400 group_size = 60 grid_columns = 60
  scf.execute_region no_inline {
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, memref<2400x512xbf16>, !ids) dispatch(%o, %t, %b, %p : memref<101xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 60, grid_columns = 60>}
    linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %g : !pairs, !pairs) outs(%s : !pairs) {
    ^bb0(%in: f32, %weight: f32, %out: f32):
      %m = arith.mulf %in, %weight : f32
      linalg.yield %m : f32
    }
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, memref<2400x512xbf16>, !ids) dispatch(%o, %t, %b, %p : memref<101xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 60, grid_columns = 60>}
    scf.yield
  }
  return
}

// Wide experts with a gate: rows are pairs, so there are no cells. A copy takes
// 112 of the 208 vectors of one expert, the product those of both tables, and
// the coefficients of vectors past the expert are zeros.

// CHECK-LABEL: func.func @wide(
// CHECK-NOT:     omnimoe.
// CHECK-NOT:     memref<?xf32>
// CHECK:         gpu.launch {{.*}} function(@wide_experts3_tiles)
// CHECK-NOT:     _cells
// CHECK-COUNT-3: nvgpu.tma.create.descriptor {{.*}} box[%c1{{.*}}, %c112{{.*}}, %c64{{.*}}]
// CHECK:         gpu.launch {{.*}} function(@wide_experts3)
// CHECK-COUNT-2:   nvvm.cp.async.bulk.tensor.shared.cluster.global {{.*}} box[%{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}]
// CHECK:           nvvm.cp.async.shared.global
// CHECK:           nvvm.wgmma.mma_async
// CHECK-SAME:        <m = 64, n = 224, k = 16>
// CHECK-NOT:       llvm.store
// CHECK:           math.exp
// CHECK-NOT:       llvm.atomicrmw fadd
// CHECK:           wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK:           red.global.v4.f32.add
// CHECK:         return
func.func @wide(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %gate: memref<64x208x512xbf16>, %up: memref<64x208x512xbf16>, %e: !ids,
    %g: !pairs, %s: memref<?x16x208xf32>, %r: memref<?x16x208xf32>, %o: memref<65xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    omnimoe.grouped_matmul ins(%x, %gate, %e : memref<?x512xbf16>, memref<64x208x512xbf16>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%s : memref<?x16x208xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
    omnimoe.grouped_matmul ins(%x, %up, %e : memref<?x512xbf16>, memref<64x208x512xbf16>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%r : memref<?x16x208xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
    linalg.generic {indexing_maps = [#id3, #id3, #pair, #id3], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%s, %r, %g : memref<?x16x208xf32>, memref<?x16x208xf32>, !pairs) outs(%s : memref<?x16x208xf32>) {
    ^bb0(%a: f32, %u: f32, %weight: f32, %out: f32):
      %q = math.exp %a : f32
      %m = arith.mulf %q, %u : f32
      %n = arith.mulf %m, %weight : f32
      linalg.yield %n : f32
    }
    omnimoe.combine to_tokens ins(%s, %up, %e : memref<?x16x208xf32>, memref<64x208x512xbf16>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
    scf.yield
  }
  return
}

// Products that are needed later are stored as pairs pick them.

// CHECK-LABEL: func.func @kept(
// CHECK-SAME:    %[[S:[a-z0-9]+]]: memref<?x16xf32>
// CHECK:         function(@kept_experts4)
// CHECK:           %[[PRODUCT:.*]] = llvm.load {{.*}} -> f32
// CHECK:           memref.store %[[PRODUCT]], %[[S]][
// CHECK:           llvm.atomicrmw fadd
// CHECK:         return %[[S]]
func.func @kept(%s: !pairs, %y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %o: memref<83xi32>, %t: !list, %b: !list,
    %p: !list) -> !pairs {
  %kept:2 = scf.execute_region -> (memref<?x512xf32>, !pairs) no_inline {
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%s : !pairs) {omnimoe.kept, schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    scf.yield %y, %s : memref<?x512xf32>, !pairs
  }
  return %kept#1 : !pairs
}

// Sums that must be the same every time have limits, which a kernel guesses; the
// rounded values go into the sums, and new limits before the second attempt are
// for tokens that did not fit theirs. There is one kernel for both attempts.

// CHECK-LABEL: func.func @exact(
// CHECK-DAG:     %[[FIRST:.*]] = arith.constant 0 : index
// CHECK-DAG:     %[[ONE:.*]] = arith.constant 1 : index
// CHECK-DAG:     %[[ATTEMPTS:.*]] = arith.constant 2 : index
// CHECK:         function(@exact_experts5_cells)
// CHECK:         nvgpu.tma.create.descriptor
// CHECK:         %[[ANCHORS:.*]] = memref.alloc(%{{.*}}) : memref<?xi32>
// CHECK:         %[[LARGEST:.*]] = memref.alloc(%{{.*}}) : memref<?xi32>
// CHECK:         %[[TOTALS:.*]] = memref.alloc(%{{.*}}) : memref<?xi32>
// CHECK:         %[[USED:.*]] = memref.alloc() : memref<2xi32>
// CHECK:         gpu.launch {{.*}} function(@exact_experts5_limits)
// CHECK:           math.sqrt
// CHECK:           memref.store %{{.*}}, %[[ANCHORS]]
// CHECK:         scf.for %[[ATTEMPT:.*]] = %{{.*}} to %{{.*}} step
// CHECK:           %[[SECOND:.*]] = arith.cmpi ne, %[[ATTEMPT]],
// CHECK:           scf.if %[[SECOND]] {
// CHECK:             gpu.launch {{.*}} function(@exact_experts5_new_limits)
// CHECK:           gpu.launch {{.*}} function(@exact_experts5)
// CHECK:             memref.load %[[USED]][%[[ATTEMPT]]]
// Coefficients of a pair's choices of one expert have an exponent in common.
// CHECK-NOT:         llvm.atomicrmw fadd
// CHECK:             llvm.atomicrmw umax
// CHECK:             nvvm.barrier
// CHECK:             llvm.atomicrmw add
// CHECK:             %[[ANCHOR:.*]] = memref.load %[[ANCHORS]]
// CHECK:             %[[BIASED:.*]] = arith.addf %[[VALUE:.*]], %[[BY:.*]] : f32
// CHECK-NEXT:        arith.subf %[[BIASED]], %[[BY]] : f32
// CHECK:             red.global.v4.f32.add
// CHECK:             memref.atomic_rmw maxs %{{.*}}, %[[LARGEST]]
// CHECK:             memref.atomic_rmw addi %{{.*}}, %[[TOTALS]]
// CHECK-NOT:       gpu.launch
// CHECK:         return
func.func @exact(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %g: !pairs, %s: !pairs,
    %o: memref<83xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %g : !pairs, !pairs) outs(%s : !pairs) {
    ^bb0(%in: f32, %weight: f32, %out: f32):
      %m = arith.mulf %in, %weight : f32
      linalg.yield %m : f32
    }
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {omnimoe.exact, schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    scf.yield
  }
  return
}

// Sums may need a copy of what they start from; products need no memory.

// CHECK-LABEL: func.func @copied(
// CHECK-SAME:    %[[FROM:[a-z0-9]+]]: memref<?x512xf32>
// CHECK-NOT:     linalg.fill
// CHECK:         %[[SUMS:.*]] = memref.alloc(%{{.*}}) : memref<?x512xf32>
// CHECK:         memref.copy %[[FROM]], %[[SUMS]]
// CHECK-NOT:     linalg.fill
// CHECK:         function(@copied_experts6)
// CHECK:         return %[[SUMS]]
func.func @copied(%from: memref<?x512xf32>, %n: index, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %o: memref<83xi32>, %t: !list, %b: !list,
    %p: !list) -> memref<?x512xf32> {
  %zero = arith.constant 0.0 : f32
  %y = scf.execute_region -> memref<?x512xf32> no_inline {
    %s = memref.alloc(%n) : !pairs
    linalg.fill ins(%zero : f32) outs(%s : !pairs)
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    %sums = memref.alloc(%n) : memref<?x512xf32>
    memref.copy %from, %sums : memref<?x512xf32> to memref<?x512xf32>
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<83xi32>, !list, !list, !list)
      outs(%sums : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 50>}
    scf.yield %sums : memref<?x512xf32>
  }
  return %y : memref<?x512xf32>
}

// A region that may be inlined is nobody's kernel.

// CHECK-LABEL: func.func @other_region(
// CHECK:         scf.execute_region {
func.func @other_region(%y: memref<?x512xf32>, %c: index) {
  %zero = arith.constant 0.0 : f32
  scf.execute_region {
    memref.store %zero, %y[%c, %c] : memref<?x512xf32>
    scf.yield
  }
  return
}
}

// -----

!ids = memref<?x16xi32>
!pairs = memref<?x16xf32>
!list = memref<?xi32>
func.func @not_for_tensor_cores(%y: memref<?x512xf32>, %x: memref<?x512xf32>, %w: memref<4096x512xf32>, %e: !ids, %s: !pairs,
    %o: memref<65xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    // expected-error @below {{expert_centric on a GPU: vectors must be f16 or bf16, the hidden size a multiple of 64, and a group one wide expert or up to 320 atomic ones}}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xf32>, memref<4096x512xf32>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, memref<4096x512xf32>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    scf.yield
  }
  return
}

// -----

!ids = memref<?x16xi32>
!pairs = memref<?x16xf32>
!list = memref<?xi32>
func.func @two_types(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: memref<4096x512xf16>, %e: !ids, %s: !pairs,
    %o: memref<65xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    // expected-error @below {{expert_centric on a GPU: tokens and expert vectors must have one type}}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, memref<4096x512xf16>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, memref<4096x512xf16>, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    scf.yield
  }
  return
}

// -----

// A group of a wide expert is the expert.

!ids = memref<?x16xi32>
!values = memref<?x16x32xf32>
!table = memref<64x32x512xbf16>
!list = memref<?xi32>
func.func @group_of_wide_experts(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %s: !values,
    %o: memref<33xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    // expected-error @below {{and a group one wide expert or up to 320 atomic ones}}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<33xi32>, !list, !list, !list)
      outs(%s : !values) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
    omnimoe.combine to_tokens ins(%s, %w, %e : !values, !table, !ids) dispatch(%o, %t, %b, %p : memref<33xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
    scf.yield
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
!ids = memref<?x16xi32>
!pairs = memref<?x16xf32>
!table = memref<4096x512xbf16>
!list = memref<?xi32>
func.func @gated_atomic(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %s: !pairs, %r: !pairs,
    %o: memref<65xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    // expected-error @below {{expert_centric on a GPU: several products must be of wide experts, and 16 at most, got 2}}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%s : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%r : !pairs) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %r : !pairs, !pairs) outs(%s : !pairs) {
    ^bb0(%a: f32, %u: f32, %out: f32):
      %m = arith.mulf %a, %u : f32
      linalg.yield %m : f32
    }
    omnimoe.combine to_tokens ins(%s, %w, %e : !pairs, !table, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>}
    scf.yield
  }
  return
}

// -----

!ids = memref<?x16xi32>
!values = memref<?x16x32xf32>
!table = memref<64x32x512xbf16>
!list = memref<?xi32>
func.func @kept_products_of_wide_experts(%y: memref<?x512xf32>, %x: memref<?x512xbf16>, %w: !table, %e: !ids, %s: !values,
    %o: memref<65xi32>, %t: !list, %b: !list, %p: !list) {
  scf.execute_region no_inline {
    // expected-error @below {{expert_centric on a GPU: products of wide experts are not kept}}
    omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x512xbf16>, !table, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%s : !values) {omnimoe.kept, schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
    omnimoe.combine to_tokens ins(%s, %w, %e : !values, !table, !ids) dispatch(%o, %t, %b, %p : memref<65xi32>, !list, !list, !list)
      outs(%y : memref<?x512xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
    scf.yield
  }
  return
}

// -----

func.func @empty_region(%y: memref<?x512xf32>, %c: index) {
  %zero = arith.constant 0.0 : f32
  // expected-error @below {{holds no expert block}}
  scf.execute_region no_inline {
    memref.store %zero, %y[%c, %c] : memref<?x512xf32>
    scf.yield
  }
  return
}
