// RUN: omni-opt %s --omnimoe-assign-streams --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// Two products of few columns, and a sum of both that a product for warpgroups
// does not need. Whether that one goes aside depends on its number of tiles.

// CHECK: func.func private @omnimoe_gpu_wait_for_stream(i32)
// CHECK: func.func private @omnimoe_gpu_select_stream(i32)
// CHECK: func.func private @omnimoe_gpu_fork()
// CHECK-LABEL: func.func @router_and_product
// CHECK: %[[ROOM:.*]] = arith.cmpi ult, %{{.*}}, %c132
// CHECK: %[[WIDE:.*]] = arith.select %[[ROOM]], %c1_i32{{.*}}, %c0_i32
// CHECK: %[[MANY:.*]] = arith.cmpi ugt, %{{.*}}, %c32
// CHECK: scf.if %[[MANY]] {
// CHECK-NEXT: call @omnimoe_gpu_fork() : () -> ()
// CHECK: scf.forall
// CHECK: %[[SIDE:.*]] = arith.constant 1 : i32
// CHECK: call @omnimoe_gpu_select_stream(%[[SIDE]])
// CHECK: scf.forall
// CHECK: %[[CALLER:.*]] = arith.constant 0 : i32
// CHECK: call @omnimoe_gpu_select_stream(%[[CALLER]])
// CHECK: %[[OTHER:.*]] = arith.constant 1 : i32
// CHECK: call @omnimoe_gpu_wait_for_stream(%[[OTHER]])
// CHECK: scf.forall
// CHECK: arith.addf
// CHECK: call @omnimoe_gpu_select_stream(%[[WIDE]])
// CHECK: scf.forall
// CHECK: %[[BACK:.*]] = arith.constant 0 : i32
// CHECK: call @omnimoe_gpu_select_stream(%[[BACK]])
// CHECK: %[[JOIN:.*]] = arith.constant 1 : i32
// CHECK: call @omnimoe_gpu_wait_for_stream(%[[JOIN]])
// CHECK-NEXT: return
module attributes {omnimoe.target = #target} {
  func.func @router_and_product(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<64x128xbf16>, %w: memref<256x128xbf16>,
                                %s: memref<?x64xf32>, %y: memref<?x256xf32>, %workspace: memref<?xi8>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x128xbf16>
    %c256 = arith.constant 256 : index
    %bytes = arith.muli %T, %c256 : index
    %p = memref.view %workspace[%c0][%T] : memref<?xi8> to memref<?x64xf32>
    %q = memref.view %workspace[%bytes][%T] : memref<?xi8> to memref<?x64xf32>
    scf.forall (%i) = (0) to (%T) step (32) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 32)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
      %pt = memref.subview %p[%i, 0] [%m, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>)
    }
    scf.forall (%i) = (0) to (%T) step (32) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 32)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
      %qt = memref.subview %q[%i, 0] [%m, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%qt : memref<?x64xf32, strided<[64, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%qt : memref<?x64xf32, strided<[64, 1], offset: ?>>)
    }
    scf.forall (%i) in (%T) {
      %pt = memref.subview %p[%i, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      %qt = memref.subview %q[%i, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      %st = memref.subview %s[%i, 0] [1, 64] [1, 1] : memref<?x64xf32> to memref<1x64xf32, strided<[64, 1], offset: ?>>
      linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
          ins(%pt, %qt : memref<1x64xf32, strided<[64, 1], offset: ?>>, memref<1x64xf32, strided<[64, 1], offset: ?>>) outs(%st : memref<1x64xf32, strided<[64, 1], offset: ?>>) {
      ^bb0(%a: f32, %b: f32, %o: f32):
        %sum = arith.addf %a, %b : f32
        linalg.yield %sum : f32
      }
    }
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xf32> to memref<?x256xf32, strided<[256, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<256x128xbf16>) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
    }
    return
  }
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// A chain stays on one stream; and what cannot be followed, here a load of a
// buffer out of another, may be anything.

// CHECK-NOT: omnimoe_gpu
// CHECK-LABEL: func.func @chain
// CHECK-NOT: omnimoe_gpu
// CHECK-LABEL: func.func @unknown
// CHECK-NOT: omnimoe_gpu
module attributes {omnimoe.target = #target} {
  func.func @chain(%x: memref<32x64xbf16>, %u: memref<64x64xbf16>, %p: memref<32x64xbf16>, %q: memref<32x64xf32>) {
    scf.forall (%i) = (0) to (32) step (32) {
      linalg.matmul indexing_maps = #nt ins(%x, %u : memref<32x64xbf16>, memref<64x64xbf16>) outs(%p : memref<32x64xbf16>)
    }
    scf.forall (%i) = (0) to (32) step (32) {
      linalg.matmul indexing_maps = #nt ins(%p, %u : memref<32x64xbf16>, memref<64x64xbf16>) outs(%q : memref<32x64xf32>)
    }
    return
  }

  func.func @unknown(%x: memref<32x64xbf16>, %u: memref<64x64xbf16>, %some: memref<memref<32x64xf32>>, %q: memref<32x64xf32>) {
    %p = memref.load %some[] : memref<memref<32x64xf32>>
    scf.forall (%i) = (0) to (32) step (32) {
      linalg.matmul indexing_maps = #nt ins(%x, %u : memref<32x64xbf16>, memref<64x64xbf16>) outs(%p : memref<32x64xf32>)
    }
    scf.forall (%i) = (0) to (32) step (32) {
      linalg.matmul indexing_maps = #nt ins(%x, %u : memref<32x64xbf16>, memref<64x64xbf16>) outs(%q : memref<32x64xf32>)
    }
    return
  }
}
