// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --convert-omnimoe-dispatch-to-gpu --split-input-file | FileCheck %s

// 65 keys, 64 groups and none, are one digit of 7 bits. Scratch is allocated
// beside, its sizes constants or the number of pairs; a block has a multiple of
// 2,048 pairs, and there is a block even if there are none. The last digit
// counts no further than the keys do.

// CHECK-LABEL: func.func @one_digit
// CHECK-SAME:    %[[E:[a-z0-9]+]]: memref<?x16xi32>
// CHECK:         %[[T:.*]] = memref.dim %[[E]]
// CHECK:         %[[P:.*]] = arith.muli %[[T]], %c16
// CHECK:         %[[TILES:.*]] = arith.ceildivui %[[P]], %c1081344
// CHECK:         %[[CHUNK:.*]] = arith.muli %{{.*}}, %c2048
// CHECK:         %[[N:.*]] = arith.ceildivui %[[P]], %[[CHUNK]]
// CHECK:         %[[BLOCKS:.*]] = arith.maxui %[[N]]
// CHECK:         memref.alloc(%[[P]]) : memref<?xi32>
// CHECK:         %[[COUNTS:.*]] = memref.alloc() : memref<65x528xi32>
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %[[BLOCKS]], {{.*}} function(@one_digit_dispatch0_count0)
// CHECK:           arith.divui %{{.*}}, %c64_i32
// CHECK:           memref.atomic_rmw addi {{.*}} memref<65xi32, #gpu.address_space<workgroup>>
// CHECK:           gpu.barrier
// CHECK:           memref.store %{{.*}}, %[[COUNTS]]
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %c65{{.*}} function(@one_digit_dispatch0_scan0)
// CHECK:           gpu.shuffle up
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %[[BLOCKS]], {{.*}} function(@one_digit_dispatch0_scatter0)
// CHECK-COUNT-64:  nvvm.vote.sync ballot
// CHECK:           vector.store {{.*}} memref<2048x2xi32, #gpu.address_space<workgroup>>
// CHECK:         gpu.launch {{.*}} function(@one_digit_dispatch0_heads)
// CHECK:           memref.store %c-1_i32
// CHECK:         gpu.launch {{.*}} function(@one_digit_dispatch0_slots)
// CHECK:         gpu.launch {{.*}} function(@one_digit_dispatch0_offsets)
// CHECK:           arith.cmpi eq, %{{.*}}, %c-1_i32
// CHECK:           scf.while
// CHECK-NOT:     omnimoe.dispatch
func.func @one_digit(%e: memref<?x16xi32>, %o: memref<65xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.dispatch ins(%e : memref<?x16xi32>) outs(%o, %t, %s, %p : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4096 group_size = 64
  return
}

// -----

// 100,001 keys have 17 bits: two digits of 9. The first pass leaves pairs beside
// their keys.

// CHECK-LABEL: func.func @two_digits
// CHECK:         memref.alloc() : memref<512x528xi32>
// CHECK:         %[[BETWEEN:.*]] = memref.alloc(%{{.*}}) : memref<?x2xi32>
// CHECK:         function(@two_digits_dispatch0_scatter0)
// CHECK:           vector.store {{.*}}, %[[BETWEEN]]{{.*}} {alignment = 8 : i64}
// CHECK:         function(@two_digits_dispatch0_count1)
// CHECK:           vector.load %[[BETWEEN]]{{.*}} {alignment = 8 : i64}
// CHECK:         function(@two_digits_dispatch0_scatter1)
// CHECK-NOT:     _count2)
func.func @two_digits(%e: memref<?x16xi32>, %o: memref<100001xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.dispatch ins(%e : memref<?x16xi32>) outs(%o, %t, %s, %p : memref<100001xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 100000
  return
}

// -----

// Rows of ids that lie apart are found by token and choice.

// CHECK-LABEL: func.func @strided
// CHECK:         function(@strided_dispatch0_count0)
// CHECK:         arith.divui %{{.*}}, %c16_i32
// CHECK:         memref.load %{{.*}}[%{{.*}}, %{{.*}}] : memref<?x16xi32, strided<[32, 1]>>
func.func @strided(%e: memref<?x16xi32, strided<[32, 1]>>, %o: memref<65xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.dispatch ins(%e : memref<?x16xi32, strided<[32, 1]>>) outs(%o, %t, %s, %p : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4096 group_size = 64
  return
}

// -----

// One in a tile stays, and so does one on tensors.

// CHECK-LABEL: func.func @left_alone
// CHECK-NOT:     gpu.launch
// CHECK-COUNT-2: omnimoe.dispatch
func.func @left_alone(%e: memref<8x16xi32>, %o: memref<65xi32>, %t: memref<128xi32>, %s: memref<129xi32>, %p: memref<128xi32>,
    %te: tensor<8x16xi32>, %to: tensor<65xi32>, %tt: tensor<128xi32>, %ts: tensor<129xi32>, %tp: tensor<128xi32>) -> tensor<65xi32> {
  scf.forall (%i) in (1) {
    omnimoe.dispatch ins(%e : memref<8x16xi32>) outs(%o, %t, %s, %p : memref<65xi32>, memref<128xi32>, memref<129xi32>, memref<128xi32>)
      num_experts = 4096 group_size = 64
  }
  %0:4 = omnimoe.dispatch ins(%te : tensor<8x16xi32>) outs(%to, %tt, %ts, %tp : tensor<65xi32>, tensor<128xi32>, tensor<129xi32>, tensor<128xi32>)
    num_experts = 4096 group_size = 64 -> tensor<65xi32>, tensor<128xi32>, tensor<129xi32>, tensor<128xi32>
  return %0#0 : tensor<65xi32>
}

// -----

// Groups that are lines of a grid: a block for each token finds the group of each
// pair and counts, a thread for each chunk and group adds up, and a block for each
// token puts its pairs where they belong, with what travels with them. There is
// nothing to sort.

// CHECK-LABEL: func.func @lines
// CHECK-SAME:    %[[E:[a-z0-9]+]]: memref<?x300xi32>, %[[W:[a-z0-9]+]]: memref<?x300xf32>
// CHECK:         memref.alloc(%{{.*}}) : memref<?xi16>
// CHECK:         memref.alloc(%{{.*}}) : memref<?x104xi16>
// CHECK:         gpu.launch {{.*}} function(@lines_dispatch0_lines)
// CHECK:           memref.atomic_rmw addi {{.*}} memref<104xi32, #gpu.address_space<workgroup>>
// CHECK:           arith.cmpi uge
// CHECK:         gpu.launch {{.*}} function(@lines_dispatch0_sums)
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %c104{{.*}} function(@lines_dispatch0_scan)
// CHECK:         gpu.launch {{.*}} in (%{{.*}} = %c1{{.*}} function(@lines_dispatch0_offsets)
// CHECK:         gpu.launch {{.*}} function(@lines_dispatch0_slots)
// CHECK:         gpu.launch {{.*}} function(@lines_dispatch0_place)
// CHECK:           memref.load %[[W]]
// CHECK:           memref.atomic_rmw addi
// CHECK:           memref.store {{.*}} memref<300xf32, #gpu.address_space<workgroup>>
// CHECK-NOT:     scatter
// CHECK-NOT:     omnimoe.dispatch
func.func @lines(%e: memref<?x300xi32>, %w: memref<?x300xf32>, %o: memref<105xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>, %f: memref<?xf32>) {
  omnimoe.dispatch ins(%e : memref<?x300xi32>) outs(%o, %t, %s, %p : memref<105xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %f : memref<?x300xf32> to memref<?xf32>) num_experts = 2560 group_size = 64 grid_columns = 64
  return
}

// -----

// Numbers of pairs that nobody reads are not written.

// CHECK-LABEL: func.func @unread
// CHECK:         %[[P:.*]] = memref.alloc(%{{.*}}) {test.pairs} : memref<?xi32>
// CHECK:         function(@unread_dispatch0_place)
// CHECK-NOT:       memref.store %{{.*}}, %[[P]]
// CHECK:         return
func.func @unread(%n: index, %e: memref<?x300xi32>, %w: memref<?x300xf32>, %o: memref<105xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %f: memref<?xf32>) {
  %p = memref.alloc(%n) {test.pairs} : memref<?xi32>
  omnimoe.dispatch ins(%e : memref<?x300xi32>) outs(%o, %t, %s, %p : memref<105xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %f : memref<?x300xf32> to memref<?xf32>) num_experts = 2560 group_size = 64 grid_columns = 64
  memref.dealloc %p : memref<?xi32>
  return
}

// -----

// More groups than such a table has: lines are keys to sort by, and what travels
// with the pairs is fetched when they are sorted.

// CHECK-LABEL: func.func @many_lines
// CHECK:         function(@many_lines_dispatch0_lines)
// CHECK:         function(@many_lines_dispatch0_scatter1)
// CHECK:         function(@many_lines_dispatch0_offsets)
// CHECK:         function(@many_lines_dispatch0_carried)
// CHECK-NOT:     omnimoe.dispatch
func.func @many_lines(%e: memref<?x16xi32>, %w: memref<?x16xf32>, %o: memref<1201xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>, %f: memref<?xf32>) {
  omnimoe.dispatch ins(%e : memref<?x16xi32>) outs(%o, %t, %s, %p : memref<1201xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %f : memref<?x16xf32> to memref<?xf32>) num_experts = 360000 group_size = 600 grid_columns = 600
  return
}
