// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Two blocks share the sums of a high tile. Each warp then makes what follows one
// of the products, of whole rows in registers: two shuffles a reduction, and no
// buffer of the tile in shared memory.
// CHECK-LABEL: func.func @high_tile
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}, %{{.*}} = %c2) {{.*}} in (%{{.*}} = %c256
// CHECK-SAME: dynamic_shared_memory_size
// CHECK-NOT: workgroup(
// CHECK: nvvm.mma.sync
// CHECK: nvvm.cluster.arrive
// CHECK: nvvm.cluster.wait
// CHECK: nvvm.mapa
// CHECK: scf.if
// CHECK: arith.maximumf
// CHECK-COUNT-2: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK: vector.store
// CHECK: scf.if
// CHECK: arith.addf
// CHECK-COUNT-2: gpu.shuffle xor
// CHECK-NOT: gpu.shuffle
// CHECK: memref.store
// CHECK: nvvm.cluster.arrive.relaxed
// CHECK: nvvm.cluster.wait
func.func @high_tile(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<47x128xbf16>, %p: memref<?x64xf32>, %q: memref<?x47xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 64] [1, 1] : memref<?x64xf32> to memref<?x64xf32, strided<[64, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 47] [1, 1] : memref<?x47xf32> to memref<?x47xf32, strided<[47, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%a : memref<?x64xf32>)
    %m = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%m : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<?x64xf32>) outs(%m : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.maximumf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %m : memref<?x64xf32>, memref<?xf32>)
        outs(%pt : memref<?x64xf32, strided<[64, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.subf %i, %j : f32
      linalg.yield %r : f32
    }
    %b = memref.alloc(%n) : memref<?x47xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x47xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<47x128xbf16>) outs(%b : memref<?x47xf32>)
    %s = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%zero : f32) outs(%s : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : memref<?x47xf32>) outs(%s : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.addf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%b, %s : memref<?x47xf32>, memref<?xf32>)
        outs(%qt : memref<?x47xf32, strided<[47, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.divf %i, %j : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %m : memref<?xf32>
    memref.dealloc %b : memref<?x47xf32>
    memref.dealloc %s : memref<?xf32>
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// What has the results of both products goes by way of shared memory.
// CHECK-LABEL: func.func @both_in_one
// CHECK: gpu.launch {{.*}} in (%{{.*}} = %c128
// CHECK-SAME: workgroup(
// CHECK-NOT: nvvm.cluster.arrive
// CHECK: gpu.barrier
func.func @both_in_one(%x: memref<?x128xbf16>, %u: memref<64x128xbf16>, %v: memref<64x128xbf16>, %z: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%t) = (0) to (%T) step (32) {
    %n = affine.min affine_map<(d0)[s0] -> (32, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %zt = memref.subview %z[%t] [%n] [1] : memref<?xf32> to memref<?xf32, strided<[1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%a : memref<?x64xf32>)
    %b = memref.alloc(%n) : memref<?x64xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x64xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<64x128xbf16>) outs(%b : memref<?x64xf32>)
    linalg.fill ins(%zero : f32) outs(%zt : memref<?xf32, strided<[1], offset: ?>>)
    linalg.generic {indexing_maps = [#id, #id, #row], iterator_types = ["parallel", "reduction"]} ins(%a, %b : memref<?x64xf32>, memref<?x64xf32>)
        outs(%zt : memref<?xf32, strided<[1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %m = arith.mulf %i, %j : f32
      %r = arith.addf %m, %o : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x64xf32>
    memref.dealloc %b : memref<?x64xf32>
  }
  return
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// What rows in registers meet in memory is read inside of it, although the tile
// may be higher and wider.
// CHECK-LABEL: func.func @meets_memory
// CHECK: nvvm.mma.sync
// CHECK: scf.if
// CHECK: %[[ROW:.*]] = arith.min{{.*}} : index
// CHECK: %[[COLUMN:.*]] = arith.min{{.*}} : index
// CHECK: memref.load %{{.*}}[%[[ROW]], %[[COLUMN]]] : memref<?x47xf32
// CHECK: arith.mulf
func.func @meets_memory(%x: memref<?x128xbf16>, %u: memref<47x128xbf16>, %v: memref<47x128xbf16>, %s: memref<?x47xf32>, %p: memref<?x47xf32>, %q: memref<?x47xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = memref.dim %x, %c0 : memref<?x128xbf16>
  scf.forall (%t) = (0) to (%T) step (64) {
    %n = affine.min affine_map<(d0)[s0] -> (64, -d0 + s0)>(%t)[%T]
    %xt = memref.subview %x[%t, 0] [%n, 128] [1, 1] : memref<?x128xbf16> to memref<?x128xbf16, strided<[128, 1], offset: ?>>
    %st = memref.subview %s[%t, 0] [%n, 47] [1, 1] : memref<?x47xf32> to memref<?x47xf32, strided<[47, 1], offset: ?>>
    %pt = memref.subview %p[%t, 0] [%n, 47] [1, 1] : memref<?x47xf32> to memref<?x47xf32, strided<[47, 1], offset: ?>>
    %qt = memref.subview %q[%t, 0] [%n, 47] [1, 1] : memref<?x47xf32> to memref<?x47xf32, strided<[47, 1], offset: ?>>
    %a = memref.alloc(%n) : memref<?x47xf32>
    linalg.fill ins(%zero : f32) outs(%a : memref<?x47xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %u : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<47x128xbf16>) outs(%a : memref<?x47xf32>)
    %c = memref.alloc(%n) : memref<?x47xf32>
    linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%a, %st : memref<?x47xf32>, memref<?x47xf32, strided<[47, 1], offset: ?>>)
        outs(%c : memref<?x47xf32>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.mulf %i, %j : f32
      linalg.yield %r : f32
    }
    %m = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%zero : f32) outs(%m : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%c : memref<?x47xf32>) outs(%m : memref<?xf32>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.addf %i, %o : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]} ins(%c, %m : memref<?x47xf32>, memref<?xf32>)
        outs(%pt : memref<?x47xf32, strided<[47, 1], offset: ?>>) {
    ^bb0(%i: f32, %j: f32, %o: f32):
      %r = arith.divf %i, %j : f32
      linalg.yield %r : f32
    }
    %b = memref.alloc(%n) : memref<?x47xf32>
    linalg.fill ins(%zero : f32) outs(%b : memref<?x47xf32>)
    linalg.matmul indexing_maps = #nt ins(%xt, %v : memref<?x128xbf16, strided<[128, 1], offset: ?>>, memref<47x128xbf16>) outs(%b : memref<?x47xf32>)
    linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%b : memref<?x47xf32>) outs(%qt : memref<?x47xf32, strided<[47, 1], offset: ?>>) {
    ^bb0(%i: f32, %o: f32):
      %r = arith.negf %i : f32
      linalg.yield %r : f32
    }
    memref.dealloc %a : memref<?x47xf32>
    memref.dealloc %c : memref<?x47xf32>
    memref.dealloc %m : memref<?xf32>
    memref.dealloc %b : memref<?x47xf32>
  }
  return
}
