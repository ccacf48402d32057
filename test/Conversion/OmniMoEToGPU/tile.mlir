// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

// A tile becomes a block, its buffers shared memory, and its operations follow
// one another between barriers. D = 1024 in bf16 is 128 accesses of 16 bytes.

// CHECK-LABEL: func.func @token
// CHECK: scf.if
// CHECK: gpu.launch blocks(%[[TOKEN:.*]], %{{.*}}, %{{.*}}) in (%{{.*}} = %[[T:.*]], %{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) threads(%[[THREAD:.*]], %{{.*}}, %{{.*}}) in (%{{.*}} = %c128
// CHECK-SAME: module(@kernels) function(@token_0)
// CHECK-SAME: workgroup(%[[S:.*]] : memref<1x16xf32, #gpu.address_space<workgroup>>)
// CHECK-NOT: omnimoe.
// CHECK: vector.load {{.*}} {alignment = 16 : i64} : memref<4096x1024xbf16>, vector<8xbf16>
// CHECK: gpu.shuffle xor
// CHECK: memref.store %{{.*}}, %[[S]]
// CHECK: gpu.barrier
// CHECK: memref.load %[[S]]
// CHECK: vector.fma
// CHECK: vector.store {{.*}} {alignment = 16 : i64}
// CHECK: gpu.barrier
// CHECK: gpu.terminator
func.func @token(%x: memref<?x1024xbf16>, %w: memref<4096x1024xbf16>, %e: memref<?x16xi32>, %y: memref<?x1024xf32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %x, %c0 : memref<?x1024xbf16>
  scf.forall (%t) = (0) to (%T) step (1) {
    %xt = memref.subview %x[%t, 0] [1, 1024] [1, 1] : memref<?x1024xbf16> to memref<1x1024xbf16, strided<[1024, 1], offset: ?>>
    %et = memref.subview %e[%t, 0] [1, 16] [1, 1] : memref<?x16xi32> to memref<1x16xi32, strided<[16, 1], offset: ?>>
    %yt = memref.subview %y[%t, 0] [1, 1024] [1, 1] : memref<?x1024xf32> to memref<1x1024xf32, strided<[1024, 1], offset: ?>>
    %s = memref.alloc() : memref<1x16xf32>
    omnimoe.grouped_matmul ins(%xt, %w, %et : memref<1x1024xbf16, strided<[1024, 1], offset: ?>>, memref<4096x1024xbf16>, memref<1x16xi32, strided<[16, 1], offset: ?>>) outs(%s : memref<1x16xf32>)
    omnimoe.combine to_tokens ins(%s, %w, %et : memref<1x16xf32>, memref<4096x1024xbf16>, memref<1x16xi32, strided<[16, 1], offset: ?>>) outs(%yt : memref<1x1024xf32, strided<[1024, 1], offset: ?>>)
    memref.dealloc %s : memref<1x16xf32>
  }
  return
}

// -----

// Rows of an odd length are read one element at a time.

// CHECK-LABEL: func.func @odd
// CHECK: vector.load {{.*}} : memref<4096x33xf32>, vector<1xf32>
func.func @odd(%x: memref<?x33xf32>, %w: memref<4096x33xf32>, %e: memref<?x5xi32>, %s: memref<?x5xf32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %x, %c0 : memref<?x33xf32>
  scf.forall (%t) = (0) to (%T) step (1) {
    %xt = memref.subview %x[%t, 0] [1, 33] [1, 1] : memref<?x33xf32> to memref<1x33xf32, strided<[33, 1], offset: ?>>
    %et = memref.subview %e[%t, 0] [1, 5] [1, 1] : memref<?x5xi32> to memref<1x5xi32, strided<[5, 1], offset: ?>>
    %st = memref.subview %s[%t, 0] [1, 5] [1, 1] : memref<?x5xf32> to memref<1x5xf32, strided<[5, 1], offset: ?>>
    omnimoe.grouped_matmul ins(%xt, %w, %et : memref<1x33xf32, strided<[33, 1], offset: ?>>, memref<4096x33xf32>, memref<1x5xi32, strided<[5, 1], offset: ?>>) outs(%st : memref<1x5xf32, strided<[5, 1], offset: ?>>)
  }
  return
}

// -----

// Threads stride over the last loop of an element-wise operation, each with as
// many elements as leave work for all: 256 over 128 threads.

// CHECK-LABEL: func.func @elementwise
// CHECK: gpu.launch
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %{{.*}} {
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c256{{.*}} {
// CHECK: vector.load {{.*}} {alignment = 8 : i64} : {{.*}}, vector<2xf32>
// CHECK: arith.negf %{{.*}} : vector<2xf32>
// CHECK: vector.store {{.*}} {alignment = 8 : i64}
func.func @elementwise(%a: memref<8x256xf32>, %b: memref<8x256xf32>) {
  scf.forall (%t) = (0) to (8) step (1) {
    %at = memref.subview %a[%t, 0] [1, 256] [1, 1] : memref<8x256xf32> to memref<1x256xf32, strided<[256, 1], offset: ?>>
    %bt = memref.subview %b[%t, 0] [1, 256] [1, 1] : memref<8x256xf32> to memref<1x256xf32, strided<[256, 1], offset: ?>>
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%at : memref<1x256xf32, strided<[256, 1], offset: ?>>) outs(%bt : memref<1x256xf32, strided<[256, 1], offset: ?>>) {
    ^bb0(%in: f32, %out: f32):
      %n = arith.negf %in : f32
      linalg.yield %n : f32
    }
  }
  return
}

// -----

// With no more elements than threads each has one.

// CHECK-LABEL: func.func @few
// CHECK: gpu.launch
// CHECK: memref.load
// CHECK: arith.negf %{{.*}} : f32
// CHECK: memref.store
func.func @few(%a: memref<8x16xf32>, %b: memref<8x16xf32>) {
  scf.forall (%t) = (0) to (8) step (1) {
    %at = memref.subview %a[%t, 0] [1, 16] [1, 1] : memref<8x16xf32> to memref<1x16xf32, strided<[16, 1], offset: ?>>
    %bt = memref.subview %b[%t, 0] [1, 16] [1, 1] : memref<8x16xf32> to memref<1x16xf32, strided<[16, 1], offset: ?>>
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%at : memref<1x16xf32, strided<[16, 1], offset: ?>>) outs(%bt : memref<1x16xf32, strided<[16, 1], offset: ?>>) {
    ^bb0(%in: f32, %out: f32):
      %n = arith.negf %in : f32
      linalg.yield %n : f32
    }
  }
  return
}

// -----

// Vectors of few pairs are loaded before the products, unless there are so many
// tiles that their blocks fill a multiprocessor without: two kernels, if that is
// not known.

!x = memref<1x64xbf16, strided<[64, 1], offset: ?>>
!pairs = memref<1x4xf32, strided<[4, 1], offset: ?>>
!ids = memref<1x4xi32, strided<[4, 1], offset: ?>>
!y = memref<1x64xf32, strided<[64, 1], offset: ?>>
module attributes {omnimoe.target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448,
    l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>} {
// CHECK-LABEL: func.func @early
// CHECK: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c528
// CHECK: scf.if %[[FEW]]
// CHECK: gpu.launch {{.*}} function(@early_0)
// CHECK-COUNT-4: vector.load {{.*}} : memref<256x64xbf16>
// CHECK: vector.load {{.*}} : memref<1x64xbf16, strided
// CHECK: gpu.shuffle
// CHECK: gpu.launch {{.*}} function(@early_1)
// CHECK-NOT: vector.load {{.*}} : memref<256x64xbf16>
// CHECK: vector.load {{.*}} : memref<1x64xbf16, strided
// CHECK: gpu.shuffle
// CHECK: gpu.barrier
// CHECK-COUNT-4: vector.load {{.*}} : memref<256x64xbf16>
func.func @early(%x: memref<?x64xbf16>, %v: memref<256x64xbf16>, %e: memref<?x4xi32>, %y: memref<?x64xf32>, %n: index) {
  scf.forall (%t) = (0) to (%n) step (1) {
    %xt = memref.subview %x[%t, 0] [1, 64] [1, 1] : memref<?x64xbf16> to !x
    %et = memref.subview %e[%t, 0] [1, 4] [1, 1] : memref<?x4xi32> to !ids
    %yt = memref.subview %y[%t, 0] [1, 64] [1, 1] : memref<?x64xf32> to !y
    %s = memref.alloc() : memref<1x4xf32>
    omnimoe.grouped_matmul ins(%xt, %v, %et : !x, memref<256x64xbf16>, !ids) outs(%s : memref<1x4xf32>)
    omnimoe.combine to_tokens ins(%s, %v, %et : memref<1x4xf32>, memref<256x64xbf16>, !ids) outs(%yt : !y)
  }
  return
}
}

// -----

// Code without a tile stays on the host.

// CHECK-LABEL: func.func @host
// CHECK-NOT: gpu.launch
// CHECK: memref.store
func.func @host(%a: memref<4xf32>, %v: f32) {
  %c0 = arith.constant 0 : index
  memref.store %v, %a[%c0] : memref<4xf32>
  return
}
