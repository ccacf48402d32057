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

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// A 16-bit matrix that is added to the product is loaded before the sums are
// computed: 16 pieces a thread. Of a 32-bit one, 8 pieces are under way together.

// CHECK-LABEL: func.func @added
// CHECK: nvvm.setmaxregister increase
// CHECK-COUNT-16: vector.load {{.*}} vector<8xf16>
// CHECK-NOT: vector.load
// CHECK: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-NOT: vector.load
// CHECK-COUNT-16: vector.store
// CHECK-LABEL: func.func @added_wide
// CHECK-NOT: vector.load
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-COUNT-8: vector.load {{.*}} vector<8xf32>
// CHECK-NOT: vector.load
// CHECK-COUNT-8: vector.store
// CHECK-COUNT-8: vector.load {{.*}} vector<8xf32>
module attributes {omnimoe.target = #target} {
  func.func @added(%x: memref<?x128xf16>, %w: memref<256x128xf16>, %b: memref<?x256xf16>, %y: memref<?x256xf16>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x128xf16>
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xf16> to memref<?x128xf16, strided<[128, 1], offset: ?>>
      %s = memref.alloc(%m) : memref<?x256xf32>
      linalg.fill ins(%zero : f32) outs(%s : memref<?x256xf32>)
      linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<256x128xf16>) outs(%s : memref<?x256xf32>)
      %bt = memref.subview %b[%i, 0] [%m, 256] [1, 1] : memref<?x256xf16> to memref<?x256xf16, strided<[256, 1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xf16> to memref<?x256xf16, strided<[256, 1], offset: ?>>
      linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %bt : memref<?x256xf32>, memref<?x256xf16, strided<[256, 1], offset: ?>>)
          outs(%yt : memref<?x256xf16, strided<[256, 1], offset: ?>>) {
      ^bb0(%p: f32, %q: f16, %o: f16):
        %l = arith.extf %q : f16 to f32
        %a = arith.addf %p, %l : f32
        %r = arith.truncf %a : f32 to f16
        linalg.yield %r : f16
      }
      memref.dealloc %s : memref<?x256xf32>
    }
    return
  }
  func.func @added_wide(%x: memref<?x128xf16>, %w: memref<256x128xf16>, %b: memref<?x256xf32>, %y: memref<?x256xf16>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %x, %c0 : memref<?x128xf16>
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %xt = memref.subview %x[%i, 0] [%m, 128] [1, 1] : memref<?x128xf16> to memref<?x128xf16, strided<[128, 1], offset: ?>>
      %s = memref.alloc(%m) : memref<?x256xf32>
      linalg.fill ins(%zero : f32) outs(%s : memref<?x256xf32>)
      linalg.matmul indexing_maps = #nt ins(%xt, %w : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<256x128xf16>) outs(%s : memref<?x256xf32>)
      %bt = memref.subview %b[%i, 0] [%m, 256] [1, 1] : memref<?x256xf32> to memref<?x256xf32, strided<[256, 1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xf16> to memref<?x256xf16, strided<[256, 1], offset: ?>>
      linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%s, %bt : memref<?x256xf32>, memref<?x256xf32, strided<[256, 1], offset: ?>>)
          outs(%yt : memref<?x256xf16, strided<[256, 1], offset: ?>>) {
      ^bb0(%p: f32, %q: f32, %o: f16):
        %a = arith.addf %p, %q : f32
        %r = arith.truncf %a : f32 to f16
        linalg.yield %r : f16
      }
      memref.dealloc %s : memref<?x256xf32>
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

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
#target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132, vectorBits = 128, l1Bytes = 232448, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5303, cacheGbps = 41, memoryGbps = 3000>

// Rows that are gathered are in no map and no buffer: the producer's threads copy
// pieces of eight rows each, nothing of one that the matrix does not have, nor
// behind its last column. A stage is full when each of them, and the hardware,
// says so. Products follow a fence.

// CHECK-LABEL: func.func @gathered
// CHECK-SAME: %[[X:[^:]*]]: memref<?x136xbf16>, %[[ROWS:[^:]*]]: memref<?xi32>
// CHECK-NOT: memref.alloc
// CHECK: nvgpu.tma.create.descriptor %{{.*}} box[%c8{{.*}}, %c4{{.*}}, %c4{{.*}}, %c2{{.*}}, %c64{{.*}}]
// CHECK-NOT: nvgpu.tma.create.descriptor
// CHECK: nvvm.mbarrier.init %{{.*}}, %c129{{[_0-9a-z]*}}
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: memref.dim %[[X]]
// CHECK: %[[INDEX:.*]] = memref.load %[[ROWS]]
// CHECK: %[[R:.*]] = arith.index_cast %[[INDEX]] : i32 to index
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %[[R]], %{{.*}} : index
// CHECK: arith.select %[[INSIDE]], %{{.*}}, %c-1
// CHECK-COUNT-7: memref.load %[[ROWS]]
// CHECK: scf.for
// CHECK: scf.if
// CHECK: nvvm.mbarrier.arrive.expect_tx %{{.*}}, %c32768
// CHECK: nvvm.cp.async.bulk.tensor
// CHECK: %[[IN_ROW:.*]] = arith.cmpi ult, %{{.*}}, %c136
// CHECK: %[[IS_READ:.*]] = arith.cmpi ne, %{{.*}}, %c-1
// CHECK: %[[BOTH:.*]] = arith.andi %[[IS_READ]], %[[IN_ROW]]
// CHECK: %[[BYTES:.*]] = arith.select %[[BOTH]], %c16{{[_0-9a-z]*}}, %c0
// CHECK: nvvm.cp.async.shared.global %{{.*}}, %{{.*}}, 16, cache = cg, %[[BYTES]]
// CHECK-COUNT-7: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.mbarrier.arrive
// CHECK: nvvm.cp.async.wait.group 0
// CHECK: nvvm.setmaxregister increase 232
// CHECK: nvvm.mbarrier.try_wait
// CHECK: nvvm.fence.proxy
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-NOT: linalg.
module attributes {omnimoe.target = #target} {
  func.func @gathered(%x: memref<?x136xbf16>, %rows: memref<?xi32>, %w: memref<256x136xbf16>, %y: memref<?x256xbf16>) {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %T = memref.dim %rows, %c0 : memref<?xi32>
    scf.forall (%i) = (0) to (%T) step (128) {
      %m = affine.min affine_map<(d0)[s0] -> (-d0 + s0, 128)>(%i)[%T]
      %rt = memref.subview %rows[%i] [%m] [1] : memref<?xi32> to memref<?xi32, strided<[1], offset: ?>>
      %yt = memref.subview %y[%i, 0] [%m, 256] [1, 1] : memref<?x256xbf16> to memref<?x256xbf16, strided<[256, 1], offset: ?>>
      %g = memref.alloc(%m) : memref<?x136xbf16>
      linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
          ins(%rt : memref<?xi32, strided<[1], offset: ?>>) outs(%g : memref<?x136xbf16>) {
      ^bb0(%index: i32, %out: bf16):
        %r = arith.index_cast %index : i32 to index
        %c = linalg.index 1 : index
        %v = memref.load %x[%r, %c] : memref<?x136xbf16>
        linalg.yield %v : bf16
      }
      %p = memref.alloc(%m) : memref<?x256xf32>
      linalg.fill ins(%zero : f32) outs(%p : memref<?x256xf32>)
      linalg.matmul indexing_maps = #nt ins(%g, %w : memref<?x136xbf16>, memref<256x136xbf16>) outs(%p : memref<?x256xf32>)
      linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
          ins(%p : memref<?x256xf32>) outs(%yt : memref<?x256xbf16, strided<[256, 1], offset: ?>>) {
      ^bb0(%a: f32, %out: bf16):
        %t = arith.truncf %a : f32 to bf16
        linalg.yield %t : bf16
      }
      memref.dealloc %g : memref<?x136xbf16>
      memref.dealloc %p : memref<?x256xf32>
    }
    return
  }
}
