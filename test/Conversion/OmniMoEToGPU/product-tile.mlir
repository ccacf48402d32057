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
