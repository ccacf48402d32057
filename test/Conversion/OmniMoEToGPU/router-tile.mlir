// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// A warpgroup multiplies for each product, out of what the hardware copies; the
// blocks of a cluster exchange their parts. A warp makes the logits of a token,
// which nobody else reads and which are not stored, and chooses its experts.
// CHECK-LABEL: func.func @router
// CHECK: nvgpu.tma.create.descriptor
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}, %{{.*}} = %c2) {{.*}} in (%{{.*}} = %c1024
// CHECK-SAME: dynamic_shared_memory_size
// CHECK: nvvm.wgmma.mma_async{{.*}}n = 64
// CHECK: nvvm.cp.async.bulk.tensor
// CHECK: nvvm.cluster.arrive
// CHECK: nvvm.cluster.wait
// CHECK: nvvm.mapa
// CHECK: arith.maximumf
// CHECK-COUNT-5: gpu.shuffle xor
// CHECK-NOT: memref<?x64xf32
// CHECK: memref.store {{.*}} : memref<32x64xf32, #gpu.address_space<workgroup>>
// CHECK: nvvm.bar.warp.sync
// CHECK: memref.store {{.*}} : memref<16xi32, strided<[1], offset: ?>>
// CHECK: nvvm.cluster.arrive.relaxed
// CHECK-NOT: gpu.launch
func.func @router(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<48x128xbf16>, %space: memref<?xi8>, %scores: memref<?x16xf32>, %ids: memref<?x16xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  %p = memref.view %space[%c0][%T] : memref<?xi8> to memref<?x64xf32>
  %c256 = arith.constant 256 : index
  %end = arith.muli %T, %c256 : index
  %q = memref.view %space[%end][%T] : memref<?xi8> to memref<?x48xf32>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%a : memref<?x64xf32>)
    %am = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%am : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%am : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %am : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %am : memref<?xf32>
    %b = memref.alloc(%n) : memref<?x48xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x48xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<48x128xbf16>) outs(%b : memref<?x48xf32>)
    %bm = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%bm : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x48xf32>) outs(%bm : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %bm : memref<?x48xf32>, memref<?xf32>)
        outs(%qt : memref<?x48xf32, strided<[48, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %b : memref<?x48xf32>
    memref.dealloc %bm : memref<?xf32>
  }
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%T]
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %st = memref.subview %scores[%t, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
    %it = memref.subview %ids[%t, 0] [%n, 16] [1, 1] : memref<?x16xi32> to memref<?x16xi32, strided<[16, 1], offset: ?>>
    omnimoe.route ins(%pt, %qt : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x48xf32, strided<[48, 1], offset: ?>>)
        outs(%st, %it : memref<?x16xf32, strided<[16, 1], offset: ?>>, memref<?x16xi32, strided<[16, 1], offset: ?>>)
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Logits that others may read are stored besides. The router may go over the rows
// of what the projections make.
// CHECK-LABEL: func.func @stored
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %c1024
// CHECK: memref.store {{.*}} : memref<?x64xf32, strided<[64, 1], offset: ?>>
// CHECK-NOT: gpu.launch
func.func @stored(%x: memref<?x128xf16>, %u: memref<64x128xf16>, %v: memref<48x128xf16>, %p: memref<?x64xf32>, %q: memref<?x48xf32>, %scores: memref<?x16xf32>, %ids: memref<?x16xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x128xf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xf16> to memref<?x128xf16, strided<[128, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<64x128xf16>) outs(%a : memref<?x64xf32>)
    %am = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%am : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%am : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %am : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %am : memref<?xf32>
    %b = memref.alloc(%n) : memref<?x48xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x48xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xf16, strided<[128, 1], offset: ?>>, memref<48x128xf16>) outs(%b : memref<?x48xf32>)
    %bm = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%bm : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x48xf32>) outs(%bm : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %bm : memref<?x48xf32>, memref<?xf32>)
        outs(%qt : memref<?x48xf32, strided<[48, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %b : memref<?x48xf32>
    memref.dealloc %bm : memref<?xf32>
  }
  %rows = memref.dim %p, %c0 : memref<?x64xf32>
  scf.forall (%t) = (0) to (%rows) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%rows]
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %st = memref.subview %scores[%t, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
    %it = memref.subview %ids[%t, 0] [%n, 16] [1, 1] : memref<?x16xi32> to memref<?x16xi32, strided<[16, 1], offset: ?>>
    omnimoe.route ins(%pt, %qt : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x48xf32, strided<[48, 1], offset: ?>>)
        outs(%st, %it : memref<?x16xf32, strided<[16, 1], offset: ?>>, memref<?x16xi32, strided<[16, 1], offset: ?>>)
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// So many candidates would not fit the registers of so many threads.
// CHECK-LABEL: func.func @many_choices
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %c256
// CHECK: nvvm.mma.sync
// CHECK: gpu.launch
func.func @many_choices(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<48x128xbf16>, %p: memref<?x64xf32>, %q: memref<?x48xf32>, %scores: memref<?x512xf32>, %ids: memref<?x512xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%a : memref<?x64xf32>)
    %am = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%am : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%am : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %am : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %am : memref<?xf32>
    %b = memref.alloc(%n) : memref<?x48xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x48xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<48x128xbf16>) outs(%b : memref<?x48xf32>)
    %bm = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%bm : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x48xf32>) outs(%bm : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %bm : memref<?x48xf32>, memref<?xf32>)
        outs(%qt : memref<?x48xf32, strided<[48, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %b : memref<?x48xf32>
    memref.dealloc %bm : memref<?xf32>
  }
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%T]
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %st = memref.subview %scores[%t, 0] [%n, 512] [1, 1] : memref<?x512xf32> to memref<?x512xf32, strided<[512, 1], offset: ?>>
    %it = memref.subview %ids[%t, 0] [%n, 512] [1, 1] : memref<?x512xi32> to memref<?x512xi32, strided<[512, 1], offset: ?>>
    omnimoe.route ins(%pt, %qt : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x48xf32, strided<[48, 1], offset: ?>>)
        outs(%st, %it : memref<?x512xf32, strided<[512, 1], offset: ?>>, memref<?x512xi32, strided<[512, 1], offset: ?>>)
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Half of a summed loop is less than a stage.
// CHECK-LABEL: func.func @short
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %c256
// CHECK: gpu.launch
func.func @short(%x: memref<?x64xbf16>, %u: memref<64x64xbf16>, %v: memref<48x64xbf16>, %p: memref<?x64xf32>, %q: memref<?x48xf32>, %scores: memref<?x16xf32>, %ids: memref<?x16xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x64xbf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 64] [1, 1] : memref<?x64xbf16> to memref<?x64xbf16, strided<[64, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x64xbf16, strided<[64, 1], offset: ?>>, memref<64x64xbf16>) outs(%a : memref<?x64xf32>)
    %am = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%am : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%am : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %am : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %am : memref<?xf32>
    %b = memref.alloc(%n) : memref<?x48xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x48xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x64xbf16, strided<[64, 1], offset: ?>>, memref<48x64xbf16>) outs(%b : memref<?x48xf32>)
    %bm = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%bm : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x48xf32>) outs(%bm : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %bm : memref<?x48xf32>, memref<?xf32>)
        outs(%qt : memref<?x48xf32, strided<[48, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %b : memref<?x48xf32>
    memref.dealloc %bm : memref<?xf32>
  }
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%T]
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %st = memref.subview %scores[%t, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
    %it = memref.subview %ids[%t, 0] [%n, 16] [1, 1] : memref<?x16xi32> to memref<?x16xi32, strided<[16, 1], offset: ?>>
    omnimoe.route ins(%pt, %qt : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x48xf32, strided<[48, 1], offset: ?>>)
        outs(%st, %it : memref<?x16xf32, strided<[16, 1], offset: ?>>, memref<?x16xi32, strided<[16, 1], offset: ?>>)
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Something may change what lies between.
// CHECK-LABEL: func.func @not_right_behind
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %c256
// CHECK: memref.store
// CHECK: gpu.launch
func.func @not_right_behind(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<48x128xbf16>, %p: memref<?x64xf32>, %q: memref<?x48xf32>, %scores: memref<?x16xf32>, %ids: memref<?x16xi32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%a : memref<?x64xf32>)
    %am = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%am : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%am : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %am : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %am : memref<?xf32>
    %b = memref.alloc(%n) : memref<?x48xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x48xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<48x128xbf16>) outs(%b : memref<?x48xf32>)
    %bm = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%bm : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x48xf32>) outs(%bm : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %bm : memref<?x48xf32>, memref<?xf32>)
        outs(%qt : memref<?x48xf32, strided<[48, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %b : memref<?x48xf32>
    memref.dealloc %bm : memref<?xf32>
  }
  memref.store %zero, %p[%c0, %c0] : memref<?x64xf32>
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%T]
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 48] [1, 1] : memref<?x48xf32> to memref<?x48xf32, strided<[48, 1], offset: ?>>
    %st = memref.subview %scores[%t, 0] [%n, 16] [1, 1] : memref<?x16xf32> to memref<?x16xf32, strided<[16, 1], offset: ?>>
    %it = memref.subview %ids[%t, 0] [%n, 16] [1, 1] : memref<?x16xi32> to memref<?x16xi32, strided<[16, 1], offset: ?>>
    omnimoe.route ins(%pt, %qt : memref<?x64xf32, strided<[64, 1], offset: ?>>, memref<?x48xf32, strided<[48, 1], offset: ?>>)
        outs(%st, %it : memref<?x16xf32, strided<[16, 1], offset: ?>>, memref<?x16xi32, strided<[16, 1], offset: ?>>)
  }
  return
}
