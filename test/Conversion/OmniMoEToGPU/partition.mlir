// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

// A block counts the pairs of each group in shared memory.

// CHECK-LABEL: func.func @partition(
// CHECK-SAME:    %[[E:.*]]: memref<?x40xi32>, %[[C:.*]]: memref<?x40xi32>, %[[R:.*]]: memref<?x40xi32>)
// CHECK:         gpu.launch blocks
// CHECK-SAME:      workgroup(%[[COUNTS:.*]] : memref<13xi32, #gpu.address_space<workgroup>>)
// CHECK:         memref.store %{{.*}}, %[[COUNTS]]
// CHECK:         gpu.barrier
// CHECK:         memref.atomic_rmw addi %{{.*}}, %[[COUNTS]]
// CHECK:         gpu.barrier
// CHECK:         memref.load %[[COUNTS]]
// CHECK:         arith.cmpi uge
// CHECK-NOT:     omnimoe.partition
func.func @partition(%e: memref<?x40xi32>, %c: memref<?x40xi32>, %r: memref<?x40xi32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %e, %c0 : memref<?x40xi32>
  scf.forall (%t) in (%T) {
    %et = memref.subview %e[%t, 0] [1, 40] [1, 1] : memref<?x40xi32> to memref<1x40xi32, strided<[40, 1], offset: ?>>
    %ct = memref.subview %c[%t, 0] [1, 40] [1, 1] : memref<?x40xi32> to memref<1x40xi32, strided<[40, 1], offset: ?>>
    %rt = memref.subview %r[%t, 0] [1, 40] [1, 1] : memref<?x40xi32> to memref<1x40xi32, strided<[40, 1], offset: ?>>
    omnimoe.partition ins(%et : memref<1x40xi32, strided<[40, 1], offset: ?>>)
      outs(%ct, %rt : memref<1x40xi32, strided<[40, 1], offset: ?>>, memref<1x40xi32, strided<[40, 1], offset: ?>>)
      num_experts = 100 group_size = 8 min_pairs = 2
  }
  return
}

// -----

// Where few pairs of a long list have an expert, a warp lists them first, and
// the block takes turns for no others. Sums and products share the list.

// CHECK-LABEL: func.func @few_pairs(
// CHECK:         gpu.launch blocks
// CHECK-SAME:      workgroup({{.*}} : memref<1x40xf32, #gpu.address_space<workgroup>>, %[[LIST:.*]] : memref<40xi32, #gpu.address_space<workgroup>>, %[[LENGTH:.*]] : memref<1xi32, #gpu.address_space<workgroup>>)
// CHECK:         nvvm.vote.sync ballot
// CHECK:         memref.store %{{.*}}, %[[LIST]]
// CHECK:         memref.store %{{.*}}, %[[LENGTH]]
// CHECK:         gpu.barrier
// CHECK:         %[[N:.*]] = memref.load %[[LENGTH]]
// CHECK:         %[[END:.*]] = arith.index_cast %[[N]]
// CHECK:         scf.for %{{.*}} to %[[END]]
// CHECK:           memref.load %[[LIST]]
// CHECK:         scf.for %{{.*}} to %[[END]]
// CHECK:           memref.load %[[LIST]]
func.func @few_pairs(%x: memref<?x1024xbf16>, %w: memref<4096x1024xbf16>, %e: memref<?x40xi32>, %y: memref<?x1024xf32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %e, %c0 : memref<?x40xi32>
  scf.forall (%t) in (%T) {
    %xt = memref.subview %x[%t, 0] [1, 1024] [1, 1] : memref<?x1024xbf16> to memref<1x1024xbf16, strided<[1024, 1], offset: ?>>
    %et = memref.subview %e[%t, 0] [1, 40] [1, 1] : memref<?x40xi32> to memref<1x40xi32, strided<[40, 1], offset: ?>>
    %yt = memref.subview %y[%t, 0] [1, 1024] [1, 1] : memref<?x1024xf32> to memref<1x1024xf32, strided<[1024, 1], offset: ?>>
    %s = memref.alloc() : memref<1x40xf32>
    omnimoe.grouped_matmul ins(%xt, %w, %et : memref<1x1024xbf16, strided<[1024, 1], offset: ?>>, memref<4096x1024xbf16>, memref<1x40xi32, strided<[40, 1], offset: ?>>)
      outs(%s : memref<1x40xf32>) {omnimoe.few_pairs}
    omnimoe.combine to_tokens ins(%s, %w, %et : memref<1x40xf32>, memref<4096x1024xbf16>, memref<1x40xi32, strided<[40, 1], offset: ?>>)
      outs(%yt : memref<1x1024xf32, strided<[1024, 1], offset: ?>>) {omnimoe.few_pairs}
    memref.dealloc %s : memref<1x40xf32>
  }
  return
}

// -----

// All of a short list are loaded at once anyway.

// CHECK-LABEL: func.func @short_list(
// CHECK-NOT:     ballot
// CHECK:         return
func.func @short_list(%x: memref<1x1024xbf16>, %w: memref<4096x1024xbf16>, %e: memref<1x8xi32>, %s: memref<1x8xf32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<1x1024xbf16>, memref<4096x1024xbf16>, memref<1x8xi32>) outs(%s : memref<1x8xf32>) {omnimoe.few_pairs}
  return
}
