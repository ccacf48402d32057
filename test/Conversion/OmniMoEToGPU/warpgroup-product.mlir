// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// SwiGLU: three tensor maps, as many blocks as the chip has multiprocessors at
// most, a producer and consumers. Both products are one instruction, and the
// 16-bit result is stored behind the next tile's first steps, 16 bytes a thread.

// CHECK-LABEL: func.func @swiglu
// CHECK: %[[TURNS:.*]] = arith.ceildivui %[[TILES:.*]], %c132
// CHECK: %[[SOME:.*]] = arith.maxsi %[[TURNS]], %c1
// CHECK: %[[BLOCKS:.*]] = arith.ceildivui %[[TILES]], %[[SOME]]
// CHECK: scf.if
// CHECK: nvgpu.tma.create.descriptor %{{.*}} box[%c128{{.*}}, %c64{{.*}}]
// CHECK: memref.reinterpret_cast %{{.*}} to offset: [0], sizes: [16, 4, 4, 2, 1024], strides: [32768, 2048, 8192, 1024, 1]
// CHECK: nvgpu.tma.create.descriptor %{{.*}} box[%c4{{.*}}, %c4{{.*}}, %c4{{.*}}, %c2{{.*}}, %c64{{.*}}]
// CHECK: nvgpu.tma.create.descriptor
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %[[BLOCKS]], {{.*}} threads({{.*}}) in (%{{.*}} = %c384{{.*}} dynamic_shared_memory_size %c197632
// CHECK: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: gpu.barrier
// CHECK: nvvm.setmaxregister decrease 24
// CHECK: nvvm.elect.sync
// CHECK: nvvm.mbarrier.try_wait
// CHECK: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-3: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK: nvvm.setmaxregister increase 240
// CHECK: scf.for
// CHECK: nvvm.wgmma.fence.aligned
// CHECK: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 256, k = 16>, D[<f32>, <zero>
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK: st.global.v4.b32
// CHECK: scf.for
// The second consumer has its last step after the first.
// CHECK: nvvm.barrier id = %{{.*}} number_of_threads = %{{.*}}
// CHECK: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.barrier.arrive id = %{{.*}} number_of_threads = %{{.*}}
// CHECK: llvm.inline_asm has_side_effects {{.*}} "=f
// CHECK: math.exp %{{.*}} : vector<8xf32>
// CHECK: vector.bitcast %{{.*}} : vector<8xbf16> to vector<4xi32>
// CHECK-NOT: linalg.
module attributes {omnimoe.target = #target} {
  func.func @swiglu(%x: memref<?x1024xbf16>, %g: memref<512x1024xbf16>, %u: memref<512x1024xbf16>, %h: memref<?x512xbf16>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x1024xbf16>
    scf.forall (%i, %j) = (0, 0) to (%T, 512) step (128, 128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 1024] [1, 1] : memref<?x1024xbf16> to memref<?x1024xbf16, strided<[1024, 1], offset: ?>>
      %gt = memref.subview %g[%j, 0] [128, 1024] [1, 1] : memref<512x1024xbf16> to memref<128x1024xbf16, strided<[1024, 1], offset: ?>>
      %ut = memref.subview %u[%j, 0] [128, 1024] [1, 1] : memref<512x1024xbf16> to memref<128x1024xbf16, strided<[1024, 1], offset: ?>>
      %ht = memref.subview %h[%i, %j] [%m, 128] [1, 1] : memref<?x512xbf16> to memref<?x128xbf16, strided<[512, 1], offset: ?>>
      %p = memref.alloc(%m) : memref<?x128xf32>
      %q = memref.alloc(%m) : memref<?x128xf32>
      linalg.fill ins(%zero : f32) outs(%p : memref<?x128xf32>)
      memref.copy %p, %q : memref<?x128xf32> to memref<?x128xf32>
      linalg.matmul indexing_maps = #nt ins(%xt, %gt : memref<?x1024xbf16, strided<[1024, 1], offset: ?>>, memref<128x1024xbf16, strided<[1024, 1], offset: ?>>) outs(%p : memref<?x128xf32>)
      linalg.matmul indexing_maps = #nt ins(%xt, %ut : memref<?x1024xbf16, strided<[1024, 1], offset: ?>>, memref<128x1024xbf16, strided<[1024, 1], offset: ?>>) outs(%q : memref<?x128xf32>)
      linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
          ins(%p, %q : memref<?x128xf32>, memref<?x128xf32>) outs(%ht : memref<?x128xbf16, strided<[512, 1], offset: ?>>) {
      ^bb0(%a: f32, %b: f32, %out: bf16):
        %e = math.exp %a : f32
        %r = arith.mulf %e, %b : f32
        %t = arith.truncf %r : f32 to bf16
        linalg.yield %t : bf16
      }
      memref.dealloc %p : memref<?x128xf32>
      memref.dealloc %q : memref<?x128xf32>
    }
    return
  }
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// f32 results are stored at once. Lanes exchange halves of 32 bytes, so that
// neighbours write what is next to each other.

// CHECK-LABEL: func.func @wide
// CHECK-NOT: nvvm.barrier
// CHECK: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-COUNT-4: gpu.shuffle xor
// CHECK-COUNT-2: vector.store {{.*}} {alignment = 16 : i64} : {{.*}}, vector<4xf32>
// CHECK-NOT: st.global
module attributes {omnimoe.target = #target} {
  func.func @wide(%x: memref<?x128xf16>, %w: memref<256x128xf16>, %y: memref<?x256xf32>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x128xf16>
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xf16> to memref<?x128xf16, strided<[128, 1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xf32> to memref<?x256xf32, strided<[256, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<256x128xf16>) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
    }
    return
  }
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// The same where a tile may begin at any multiple of 256 columns.

// CHECK-LABEL: func.func @wide_columns
// CHECK: nvvm.wgmma.mma_async
// CHECK-COUNT-4: gpu.shuffle xor
// CHECK-COUNT-2: vector.store {{.*}} {alignment = 16 : i64} : {{.*}}, vector<4xf32>
module attributes {omnimoe.target = #target} {
  func.func @wide_columns(%x: memref<?x128xf16>, %w: memref<512x128xf16>, %y: memref<?x512xf32>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x128xf16>
    scf.forall (%i, %j) = (0, 0) to (%T, 512) step (128, 256) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xf16> to memref<?x128xf16, strided<[128, 1], offset: ?>>
      %wt = memref.subview %w[%j, 0] [256, 128] [1, 1] : memref<512x128xf16> to memref<256x128xf16, strided<[128, 1], offset: ?>>
      %yt = memref.subview %y[%i, %j] [%m, 256] [1, 1] : memref<?x512xf32> to memref<?x256xf32, strided<[512, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%yt : memref<?x256xf32, strided<[512, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %wt : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<256x128xf16, strided<[128, 1], offset: ?>>) outs(%yt : memref<?x256xf32, strided<[512, 1], offset: ?>>)
    }
    return
  }
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// The blocks of a cluster take a quarter of the sums each, and then add up all of
// a quarter of the columns.

// CHECK-LABEL: func.func @parts
// CHECK: %[[TILES:.*]] = arith.muli
// CHECK: gpu.launch blocks(%{{.*}}, %{{.*}}, %[[PART:.*]]) in (%{{.*}} = %[[TILES]], %{{.*}} = %{{.*}}, %{{.*}} = %c4{{[_0-9]*}})
// CHECK: arith.index_cast %[[PART]] : index to i32
// CHECK: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-COUNT-2: nvvm.cluster.wait
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.barrier id = %{{.*}} number_of_threads = %{{.*}}
// CHECK-COUNT-128: llvm.store %{{.*}} : f32, !llvm.ptr<3>
// CHECK: nvvm.cluster.wait
// CHECK: nvvm.mapa
// CHECK-COUNT-32: llvm.load %{{.*}} : !llvm.ptr<7> -> f32
// CHECK-COUNT-3: nvvm.mapa
// CHECK: vector.store {{.*}} : memref<?x256xf32, strided<[256, 1], offset: ?>>, vector<4xf32>
// CHECK: nvvm.cluster.wait
module attributes {omnimoe.target = #target} {
  func.func @parts(%x: memref<?x2048xf16>, %w: memref<256x2048xf16>, %y: memref<?x256xf32>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x2048xf16>
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 2048] [1, 1] : memref<?x2048xf16> to memref<?x2048xf16, strided<[2048, 1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xf32> to memref<?x256xf32, strided<[256, 1], offset: ?>>
      linalg.fill ins(%zero : f32) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
      linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x2048xf16, strided<[2048, 1], offset: ?>>, memref<256x2048xf16>) outs(%yt : memref<?x256xf32, strided<[256, 1], offset: ?>>)
    } {omnimoe.parts = 4 : i64}
    return
  }
}
