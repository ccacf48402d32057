// RUN: omni-opt %s --pass-pipeline='builtin.module(func.func(omnimoe-tile-products),canonicalize)' --split-input-file | FileCheck %s
// RUN: omni-opt %s --pass-pipeline='builtin.module(omnimoe-attach-target{chip=sm_90a},func.func(omnimoe-tile-products),canonicalize)' --split-input-file | FileCheck %s --check-prefix=GPU

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Two products and what is made of them share a tile, each with its zeros.
// CHECK-LABEL: func.func @swiglu
// CHECK: scf.forall (%[[I:.*]], %[[J:.*]]) = (0, 0) to (%{{.*}}, 200) step (64, 64)
// CHECK-COUNT-2: linalg.matmul {{.*}} -> tensor<?x?xf32>
// CHECK: %[[H:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?x?xbf16>)
// CHECK: tensor.parallel_insert_slice %[[H]] into %{{.*}}[%[[I]], %[[J]]]
// CHECK-NOT: linalg.matmul
func.func @swiglu(%x: tensor<?x32xbf16>, %g: tensor<200x32xbf16>, %u: tensor<200x32xbf16>) -> tensor<?x200xbf16> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x32xbf16>
  %e = tensor.empty(%T) : tensor<?x200xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x200xf32>) -> tensor<?x200xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%x, %g : tensor<?x32xbf16>, tensor<200x32xbf16>) outs(%f : tensor<?x200xf32>) -> tensor<?x200xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%x, %u : tensor<?x32xbf16>, tensor<200x32xbf16>) outs(%f : tensor<?x200xf32>) -> tensor<?x200xf32>
  %h0 = tensor.empty(%T) : tensor<?x200xbf16>
  %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%p, %q : tensor<?x200xf32>, tensor<?x200xf32>) outs(%h0 : tensor<?x200xbf16>) {
  ^bb0(%a: f32, %b: f32, %out: bf16):
    %m = arith.mulf %a, %b : f32
    %r = arith.truncf %m : f32 to bf16
    linalg.yield %r : bf16
  } -> tensor<?x200xbf16>
  return %h : tensor<?x200xbf16>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// A product that is used twice, or by a reduction, is its own tile; the
// reduction is left for other tiles.
// CHECK-LABEL: func.func @used_twice
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (64)
// CHECK: linalg.matmul
// CHECK: tensor.parallel_insert_slice
// CHECK: linalg.generic
// CHECK: linalg.generic
func.func @used_twice(%x: tensor<?x32xf32>, %w: tensor<50x32xf32>, %p0: tensor<?x50xf32>, %m0: tensor<?xf32>) -> tensor<?x50xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x32xf32>, tensor<50x32xf32>) outs(%p0 : tensor<?x50xf32>) -> tensor<?x50xf32>
  %m = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%p : tensor<?x50xf32>) outs(%m0 : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %r = arith.maximumf %in, %out : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%p, %m : tensor<?x50xf32>, tensor<?xf32>) outs(%p0 : tensor<?x50xf32>) {
  ^bb0(%in: f32, %top: f32, %out: f32):
    %r = arith.subf %in, %top : f32
    linalg.yield %r : f32
  } -> tensor<?x50xf32>
  return %s : tensor<?x50xf32>
}

// -----

// Integers are left alone.
// CHECK-LABEL: func.func @integers
// CHECK-NOT: scf.forall
// CHECK: linalg.matmul
func.func @integers(%a: tensor<128x32xi32>, %b: tensor<32x128xi32>, %c: tensor<128x128xi32>) -> tensor<128x128xi32> {
  %p = linalg.matmul ins(%a, %b : tensor<128x32xi32>, tensor<32x128xi32>) outs(%c : tensor<128x128xi32>) -> tensor<128x128xi32>
  return %p : tensor<128x128xi32>
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// On a GPU few rows have small tiles, and many have those of warpgroups.
// GPU-LABEL: func.func @versions
// GPU: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c32
// GPU: scf.if %[[FEW]]
// GPU: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (%{{.*}}, 512) step (32, 32)
// GPU: linalg.matmul
// GPU: } else {
// GPU: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (%{{.*}}, 512) step (128, 256)
// GPU: linalg.matmul
// GPU-NOT: linalg.matmul
func.func @versions(%x: tensor<?x128xbf16>, %w: tensor<512x128xbf16>, %y: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x128xbf16>, tensor<512x128xbf16>) outs(%y : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %p : tensor<?x512xf32>
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Rows that the hardware cannot copy, f32, and matrices stored the other way
// around have small tiles always.
// GPU-LABEL: func.func @small
// GPU-COUNT-3: scf.forall ({{.*}} step (64, 64)
func.func @small(%x: tensor<?x127xbf16>, %w: tensor<512x127xbf16>, %v: tensor<?x128xf32>, %u: tensor<512x128xf32>,
                 %s: tensor<?x128xbf16>, %t: tensor<128x512xbf16>, %y: tensor<?x512xf32>)
    -> (tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>) {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x127xbf16>, tensor<512x127xbf16>) outs(%y : tensor<?x512xf32>) -> tensor<?x512xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%v, %u : tensor<?x128xf32>, tensor<512x128xf32>) outs(%y : tensor<?x512xf32>) -> tensor<?x512xf32>
  %r = linalg.matmul ins(%s, %t : tensor<?x128xbf16>, tensor<128x512xbf16>) outs(%y : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %p, %q, %r : tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// One tile covers all of few columns.
// GPU-LABEL: func.func @narrow
// GPU-NOT: scf.if
// GPU: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (32)
// GPU: linalg.matmul {{.*}} -> tensor<?x50xf32>
func.func @narrow(%x: tensor<?x128xbf16>, %w: tensor<50x128xbf16>, %y: tensor<?x50xf32>) -> tensor<?x50xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x128xbf16>, tensor<50x128xbf16>) outs(%y : tensor<?x50xf32>) -> tensor<?x50xf32>
  return %p : tensor<?x50xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Where whole rows of few columns are reduced, even after something else, a tile
// of rows will hold all of it.
// GPU-LABEL: func.func @narrow_rows
// GPU-NOT: scf.forall
// GPU: return
func.func @narrow_rows(%x: tensor<?x128xbf16>, %w: tensor<50x128xbf16>, %y: tensor<?x50xf32>, %z: tensor<?xf32>) -> tensor<?xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x128xbf16>, tensor<50x128xbf16>) outs(%y : tensor<?x50xf32>) -> tensor<?x50xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%p : tensor<?x50xf32>) outs(%y : tensor<?x50xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.negf %a : f32
    linalg.yield %m : f32
  } -> tensor<?x50xf32>
  %r = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%n : tensor<?x50xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.maximumf %a, %o : f32
    linalg.yield %m : f32
  } -> tensor<?xf32>
  return %r : tensor<?xf32>
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Long sums are computed in parts where few rows would leave most
// multiprocessors without a tile.
// GPU-LABEL: func.func @parts
// GPU: %[[FEW:.*]] = arith.cmpi ule, %{{.*}}, %c32
// GPU: scf.if %[[FEW]]
// GPU: scf.forall {{.*}} step (32, 32)
// GPU-NOT: omnimoe.parts
// GPU: %[[SOME:.*]] = arith.cmpi ule, %{{.*}}, %c896
// GPU: scf.if %[[SOME]]
// GPU: scf.forall {{.*}} step (128, 256)
// GPU: } {omnimoe.parts = 4 : i64}
// GPU: %[[MORE:.*]] = arith.cmpi ule, %{{.*}}, %c2048
// GPU: scf.if %[[MORE]]
// GPU: scf.forall {{.*}} step (128, 256)
// GPU: } {omnimoe.parts = 2 : i64}
// GPU: scf.forall {{.*}} step (128, 256)
// GPU-NOT: omnimoe.parts
// GPU: return
func.func @parts(%x: tensor<?x4096xbf16>, %w: tensor<1024x4096xbf16>, %y: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x4096xbf16>, tensor<1024x4096xbf16>) outs(%y : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  return %p : tensor<?x1024xf32>
}
