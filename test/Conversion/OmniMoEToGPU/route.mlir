// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file --verify-diagnostics | FileCheck %s

// A warp takes a token of the tile's four: half of it sorts the rows, half the columns, four to a
// lane; then the 50 candidates, two to a lane. So few keys a lane are sorted by shuffles, in a
// short form; the keys themselves are loaded in its order, which rounds of exchanges correct.

// CHECK: memref.global "private" constant @route_pairs_0 : memref<64xi32>
// CHECK-LABEL: func.func @warp
// CHECK: gpu.launch blocks(%{{.*}}) in (%{{.*}}) threads({{.*}}) in (%{{.*}} = %c128
// CHECK-SAME: workgroup(%{{.*}} : memref<4x128xi64, #gpu.address_space<workgroup>>, %{{.*}} : memref<4x128xf32, #gpu.address_space<workgroup>>, %{{.*}} : memref<4x128xi32, #gpu.address_space<workgroup>>)
// CHECK-NOT: omnimoe.
// CHECK-NOT: scf.for
// CHECK-NOT: scf.while
// CHECK: llvm.intr.maxnum
// CHECK: memref.store {{.*}} : memref<64xi64
// CHECK: arith.maxsi {{.*}} : i32
// CHECK: gpu.shuffle xor {{.*}} : i32
// CHECK: nvvm.bar.warp.sync
// CHECK: memref.load {{.*}} : memref<64xi64
// CHECK: scf.while
// CHECK: nvvm.vote.sync any
// CHECK: arith.maxsi {{.*}} : i64
// CHECK: gpu.barrier
// CHECK: gpu.terminator
func.func @warp(%rows: memref<?x64xf32>, %cols: memref<?x64xf32>, %s: memref<?x16xf32>, %e: memref<?x16xi32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %rows, %c0 : memref<?x64xf32>
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(t)[T] -> (4, T - t)>(%t)[%T]
    %rt = memref.subview %rows[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %ct = memref.subview %cols[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %st = memref.subview %s[%t, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
    %et = memref.subview %e[%t, 0] [%n, 16] [1, 1] : memref<?x16xi32> to memref<?x16xi32, strided<[16, 1], offset: ?>>
    omnimoe.route ins(%rt, %ct : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x64xf32, strided<[64, 1], offset: ?>>) outs(%st, %et : memref<?x16xf32, strided<[16, 1], offset: ?>>, memref<?x16xi32, strided<[16, 1], offset: ?>>)
  }
  return
}

// -----

// The longer axis has 17 entries a lane, which sorts them and then merges
// with other lanes in shared memory. 153 candidates are too many to sort them
// all: a threshold is raised until at most 128 are left, which each lane writes
// behind those of the lanes before it.

// CHECK-LABEL: func.func @odd
// CHECK: memref<4x544xi64, #gpu.address_space<workgroup>>
// CHECK: arith.maxsi {{.*}} : i64
// CHECK: scf.while
// CHECK: nvvm.bar.warp.sync
// CHECK: memref.store {{.*}} : memref<272xi64,
// CHECK: nvvm.redux.sync max
// CHECK: scf.while
// CHECK: nvvm.redux.sync add
// CHECK: gpu.shuffle up
// CHECK: gpu.shuffle idx
// CHECK: memref.store {{.*}} : memref<544xi64,
func.func @odd(%rows: memref<1x33xf32>, %cols: memref<1x257xf32>, %s: memref<1x40xf32>, %e: memref<1x40xi32>) {
  scf.forall (%t) = (0) to (1) step (1) {
    omnimoe.route ins(%rows, %cols : memref<1x33xf32>, memref<1x257xf32>) outs(%s, %e : memref<1x40xf32>, memref<1x40xi32>)
  }
  return
}

// -----

// A tile of any number of tokens is walked in a loop, out of which a shuffle
// keeps what depends on the lane alone.

// CHECK-LABEL: func.func @any_tile
// CHECK: gpu.launch
// CHECK: scf.for
// CHECK: nvvm.shfl.sync bfly
func.func @any_tile(%rows: memref<?x8xf32>, %cols: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>, %step: index) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %rows, %c0 : memref<?x8xf32>
  scf.forall (%t) = (0) to (%T) step (%step) {
    omnimoe.route ins(%rows, %cols : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  }
  return
}

// -----

// Shapes that no warp can hold take a block; axes and winners are sorted in
// shared memory.

// CHECK-LABEL: func.func @block
// CHECK: threads({{.*}}) in (%{{.*}} = %c512
// CHECK-SAME: memref<320xf32, #gpu.address_space<workgroup>>
// CHECK-SAME: memref<4096xf32, #gpu.address_space<workgroup>>
// CHECK-NOT: gpu.shuffle
func.func @block(%rows: memref<1x320xf32>, %cols: memref<1x320xf32>, %s: memref<1x4096xf32>, %e: memref<1x4096xi32>) {
  scf.forall (%t) = (0) to (1) step (1) {
    omnimoe.route ins(%rows, %cols : memref<1x320xf32>, memref<1x320xf32>) outs(%s, %e : memref<1x4096xf32>, memref<1x4096xi32>)
  }
  return
}

// -----

// More winners than shared memory holds are sorted in the results.

// CHECK-LABEL: func.func @in_place
// CHECK-NOT: memref<16900x
// CHECK: gpu.launch
// CHECK: memref.subview %arg2
// CHECK: gpu.terminator
func.func @in_place(%rows: memref<1x130xf32>, %cols: memref<1x130xf32>, %s: memref<1x16900xf32>, %e: memref<1x16900xi32>) {
  scf.forall (%t) = (0) to (1) step (1) {
    omnimoe.route ins(%rows, %cols : memref<1x130xf32>, memref<1x130xf32>) outs(%s, %e : memref<1x16900xf32>, memref<1x16900xi32>)
  }
  return
}

// -----

// Axes beyond shared memory are not supported.

func.func @too_long(%rows: memref<1x9000xf32>, %cols: memref<1x4xf32>, %s: memref<1x4xf32>, %e: memref<1x4xi32>) {
  scf.forall (%t) = (0) to (1) step (1) {
    // expected-error @below {{has no GPU lowering with these operands}}
    omnimoe.route ins(%rows, %cols : memref<1x9000xf32>, memref<1x4xf32>) outs(%s, %e : memref<1x4xf32>, memref<1x4xi32>)
  }
  return
}
