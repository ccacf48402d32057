// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
!tile = memref<64x64xf32>

// Two bf16 matrices meet on tensor cores: a ring of stages in shared memory,
// 16 bytes a copy, sums in registers, and the rest on the sums.

// CHECK-LABEL: func.func @tensor_cores
// CHECK: gpu.launch blocks(%{{.*}}) in (%{{.*}} = %{{.*}}) threads(%{{.*}}) in (%{{.*}} = %c128
// CHECK-SAME: workgroup(%{{.*}} : memref<20480xi16, #gpu.address_space<workgroup>>)
// CHECK: nvvm.cp.async.shared.global {{.*}} 16, cache = cg
// CHECK: nvvm.cp.async.commit.group
// CHECK: scf.for {{.*}} iter_args
// CHECK:   nvvm.cp.async.wait.group 2
// CHECK:   gpu.barrier
// CHECK:   nvvm.ldmatrix {{.*}} layout = #nvvm.mma_layout<row>, num = 4
// CHECK:   nvvm.mma.sync {{.*}} multiplicandAPtxType = #nvvm.mma_type<bf16>
// CHECK: arith.negf %{{.*}} : vector<2xf32>
// CHECK: vector.store {{.*}} {alignment = 4 : i64} : {{.*}}, vector<2xbf16>
// CHECK-NOT: linalg.
func.func @tensor_cores(%a: memref<128x96xbf16>, %b: memref<192x96xbf16>, %c: memref<128x192xbf16>) {
  %zero = arith.constant 0.0 : f32
  scf.forall (%i, %j) = (0, 0) to (128, 192) step (64, 64) {
    %at = memref.subview %a[%i, 0] [64, 96] [1, 1] : memref<128x96xbf16> to memref<64x96xbf16, strided<[96, 1], offset: ?>>
    %bt = memref.subview %b[%j, 0] [64, 96] [1, 1] : memref<192x96xbf16> to memref<64x96xbf16, strided<[96, 1], offset: ?>>
    %ct = memref.subview %c[%i, %j] [64, 64] [1, 1] : memref<128x192xbf16> to memref<64x64xbf16, strided<[192, 1], offset: ?>>
    %s = memref.alloc() : !tile
    linalg.fill ins(%zero : f32) outs(%s : !tile)
    linalg.matmul indexing_maps = #nt ins(%at, %bt : memref<64x96xbf16, strided<[96, 1], offset: ?>>, memref<64x96xbf16, strided<[96, 1], offset: ?>>) outs(%s : !tile)
    linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
        ins(%s : !tile) outs(%ct : memref<64x64xbf16, strided<[192, 1], offset: ?>>) {
    ^bb0(%in: f32, %out: bf16):
      %n = arith.negf %in : f32
      %r = arith.truncf %n : f32 to bf16
      linalg.yield %r : bf16
    }
    memref.dealloc %s : !tile
  }
  return
}

// -----

#tn = [affine_map<(m, n, k) -> (k, m)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>]

// Operands stored the other way around are transposed on their way to
// registers. Rows of an odd length are copied one element at a time, and what
// the product is added to is read.

// CHECK-LABEL: func.func @odd_rows
// CHECK: scf.if %{{.*}} -> (f32)
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: llvm.load %{{.*}} : !llvm.ptr<1> -> i16
// CHECK: nvvm.ldmatrix {{.*}} layout = #nvvm.mma_layout<col>
// CHECK: nvvm.mma.sync
// CHECK: vector.store {{.*}} : memref<35x35xf32>, vector<1xf32>
func.func @odd_rows(%a: memref<?x35xf16>, %b: memref<?x35xf16>, %c: memref<35x35xf32>) {
  linalg.matmul indexing_maps = #tn ins(%a, %b : memref<?x35xf16>, memref<?x35xf16>) outs(%c : memref<35x35xf32>)
  return
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// f32 is multiplied in f32.

// CHECK-LABEL: func.func @fma
// CHECK: gpu.launch
// CHECK-SAME: workgroup(%{{.*}} : memref<2x16x68xf32, #gpu.address_space<workgroup>>, %{{.*}} : memref<2x16x68xf32, #gpu.address_space<workgroup>>)
// CHECK: vector.load {{.*}} {alignment = 16 : i64} : memref<40x32xf32>, vector<4xf32>
// CHECK: arith.extf %{{.*}} : vector<4xbf16> to vector<4xf32>
// CHECK: scf.for
// CHECK: vector.fma %{{.*}} : vector<4xf32>
// CHECK: vector.store {{.*}} {alignment = 16 : i64} : memref<40x24xf32>, vector<4xf32>
func.func @fma(%a: memref<40x32xf32>, %b: memref<24x32xbf16>, %c: memref<40x24xf32>) {
  linalg.matmul indexing_maps = #nt ins(%a, %b : memref<40x32xf32>, memref<24x32xbf16>) outs(%c : memref<40x24xf32>)
  return
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// Few tiles of few rows: the eight blocks of a cluster take a part of the sums
// each, and the first reads the others'. Their ring is in dynamic shared memory.

// CHECK-LABEL: func.func @few_rows
// CHECK-DAG: %[[PARTS:.*]] = arith.constant 8 : index
// CHECK: gpu.launch blocks(%{{.*}}, %{{.*}}, %[[PART:.*]]) in (%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) threads({{.*}} dynamic_shared_memory_size %c81920
// CHECK: gpu.dynamic_shared_memory
// CHECK: arith.cmpi eq, %[[PART]]
// CHECK: nvvm.cp.async.wait.group 6
// CHECK: nvvm.mma.sync
// CHECK: nvvm.cluster.arrive
// CHECK: nvvm.cluster.wait
// CHECK: scf.if
// CHECK-COUNT-8: nvvm.mapa
// CHECK: nvvm.cluster.arrive
// CHECK: vector.store
module attributes {omnimoe.target = #target} {
  func.func @few_rows(%x: memref<?x4096xbf16>, %w: memref<1024x4096xbf16>, %y: memref<?x1024xf32>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x4096xbf16>
    scf.forall (%i, %j) = (0, 0) to (%T, 1024) step (32, 32) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 32)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 4096] [1, 1] : memref<?x4096xbf16> to memref<?x4096xbf16, strided<[4096, 1], offset: ?>>
      %wt = memref.subview %w[%j, 0] [32, 4096] [1, 1] : memref<1024x4096xbf16> to memref<32x4096xbf16, strided<[4096, 1], offset: ?>>
      %yt = memref.subview %y[%i, %j] [%m, 32] [1, 1] : memref<?x1024xf32> to memref<?x32xf32, strided<[1024, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%yt : memref<?x32xf32, strided<[1024, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %wt : memref<?x4096xbf16, strided<[4096, 1], offset: ?>>, memref<32x4096xbf16, strided<[4096, 1], offset: ?>>) outs(%yt : memref<?x32xf32, strided<[1024, 1], offset: ?>>)
    }
    return
  }
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// What needs whole rows of the product finds them in shared memory. Eight lanes
// take a row.

// CHECK-LABEL: func.func @rows
// CHECK: gpu.launch
// CHECK-SAME: workgroup(%[[S:.*]] : memref<32x64xf32, #gpu.address_space<workgroup>>
// CHECK: nvvm.mma.sync
// CHECK: vector.store {{.*}} : memref<?x64xf32, strided<[64, 1]>, #gpu.address_space<workgroup>>, vector<2xf32>
// CHECK: gpu.barrier
// CHECK: scf.for {{.*}} step %c16
// CHECK:   arith.minsi
// CHECK:   scf.for {{.*}} step %c8
// CHECK:     arith.maximumf
// CHECK-COUNT-3: gpu.shuffle xor
// CHECK-NOT: linalg.
func.func @rows(%x: memref<?x128xbf16>, %w: memref<64x128xbf16>, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%i) = (0) to (%T) step (32) {
    %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 32)>(%i)[%T]
    %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %s = memref.alloc(%m) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%s : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%s : memref<?x64xf32>)
    %yt = memref.subview %y[%i] [%m] [1] : memref<?xf32> to memref<?xf32, strided<[1], offset: ?>>
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%s : memref<?x64xf32>) outs(%yt : memref<?xf32, strided<[1], offset: ?>>) {
    ^bb0(%a: f32, %o: f32):
      %r = arith.maximumf %a, %o : f32
      linalg.yield %r : f32
    }
    memref.dealloc %s : memref<?x64xf32>
  }
  return
}
