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

// What one large tile would cover has small ones.
// GPU-LABEL: func.func @one_tile
// GPU: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (100, 256) step (32, 32)
func.func @one_tile(%x: tensor<100x2048xbf16>, %w: tensor<256x2048xbf16>, %y: tensor<100x256xf32>) -> tensor<100x256xf32> {
  %p = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<100x2048xbf16>, tensor<256x2048xbf16>) outs(%y : tensor<100x256xf32>) -> tensor<100x256xf32>
  return %p : tensor<100x256xf32>
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

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Rows gathered for two products that share a tile are gathered in it; on a CPU
// before.
// CHECK-LABEL: func.func @gathered
// CHECK: tensor.extract %
// CHECK: scf.forall
// CHECK-NOT: tensor.extract %
// GPU-LABEL: func.func @gathered
// GPU-NOT: tensor.extract %
// GPU: scf.forall (%[[I:.*]], %{{.*}}) = (0, 0) to (400, 512) step (128, 128)
// GPU: tensor.extract_slice %{{.*}}[%[[I]]] [%{{.*}}] [1] : tensor<400xi32> to tensor<?xi32>
// GPU: tensor.extract %{{.*}}[%{{.*}}, %{{.*}}] : tensor<?x128xbf16>
// GPU: linalg.matmul
// GPU: linalg.matmul
// GPU: linalg.generic
// GPU: scf.forall.in_parallel
func.func @gathered(%x: tensor<?x128xbf16>, %rows: tensor<400xi32>, %w: tensor<512x128xbf16>, %u: tensor<512x128xbf16>) -> tensor<400x512xbf16> {
  %zero = arith.constant 0.0 : f32
  %g0 = tensor.empty() : tensor<400x128xbf16>
  %g = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<400xi32>) outs(%g0 : tensor<400x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %r = arith.index_cast %index : i32 to index
    %c = linalg.index 1 : index
    %v = tensor.extract %x[%r, %c] : tensor<?x128xbf16>
    linalg.yield %v : bf16
  } -> tensor<400x128xbf16>
  %e = tensor.empty() : tensor<400x512xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<400x512xf32>) -> tensor<400x512xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%g, %w : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%g, %u : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  %h0 = tensor.empty() : tensor<400x512xbf16>
  %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%p, %q : tensor<400x512xf32>, tensor<400x512xf32>) outs(%h0 : tensor<400x512xbf16>) {
  ^bb0(%a: f32, %b: f32, %out: bf16):
    %m = arith.mulf %a, %b : f32
    %r = arith.truncf %m : f32 to bf16
    linalg.yield %r : bf16
  } -> tensor<400x512xbf16>
  return %h : tensor<400x512xbf16>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Where their number is not known, few rows are gathered before their product,
// and many with it.
// CHECK-LABEL: func.func @gathered_versions
// GPU-LABEL: func.func @gathered_versions
// GPU-NOT: tensor.extract %
// GPU: scf.if
// GPU: tensor.extract %
// GPU: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (%{{.*}}, 512) step (32, 32)
// GPU-NOT: tensor.extract %
// GPU: } else {
// GPU: scf.forall (%{{.*}}, %{{.*}}) = (0, 0) to (%{{.*}}, 512) step (128, 256)
// GPU: tensor.extract %
// GPU: linalg.matmul
func.func @gathered_versions(%x: tensor<900x128xbf16>, %rows: tensor<?xi32>, %w: tensor<512x128xbf16>) -> tensor<?x512xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %rows, %c0 : tensor<?xi32>
  %g0 = tensor.empty(%T) : tensor<?x128xbf16>
  %g = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<?xi32>) outs(%g0 : tensor<?x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %r = arith.index_cast %index : i32 to index
    %c = linalg.index 1 : index
    %v = tensor.extract %x[%r, %c] : tensor<900x128xbf16>
    linalg.yield %v : bf16
  } -> tensor<?x128xbf16>
  %e = tensor.empty(%T) : tensor<?x512xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x512xf32>) -> tensor<?x512xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%g, %w : tensor<?x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %p : tensor<?x512xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Rows that are needed besides, as here by the caller, are gathered before.
// GPU-LABEL: func.func @gathered_for_others
// GPU: tensor.extract %
// GPU: scf.forall
// GPU-NOT: tensor.extract %
func.func @gathered_for_others(%x: tensor<900x128xbf16>, %rows: tensor<400xi32>, %w: tensor<512x128xbf16>) -> (tensor<400x512xf32>, tensor<400x128xbf16>) {
  %zero = arith.constant 0.0 : f32
  %g0 = tensor.empty() : tensor<400x128xbf16>
  %g = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<400xi32>) outs(%g0 : tensor<400x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %r = arith.index_cast %index : i32 to index
    %c = linalg.index 1 : index
    %v = tensor.extract %x[%r, %c] : tensor<900x128xbf16>
    linalg.yield %v : bf16
  } -> tensor<400x128xbf16>
  %e = tensor.empty() : tensor<400x512xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<400x512xf32>) -> tensor<400x512xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%g, %w : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  return %p, %g : tensor<400x512xf32>, tensor<400x128xbf16>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// No gather of rows: another column of the matrix, elements that are changed,
// and a row that depends on the place.
// GPU-LABEL: func.func @others
// GPU-COUNT-3: tensor.extract %
// GPU-COUNT-3: scf.forall
// GPU-NOT: tensor.extract %
func.func @others(%x: tensor<900x128xbf16>, %rows: tensor<400xi32>, %w: tensor<512x128xbf16>)
    -> (tensor<400x512xf32>, tensor<400x512xf32>, tensor<400x512xf32>) {
  %zero = arith.constant 0.0 : f32
  %g0 = tensor.empty() : tensor<400x128xbf16>
  %a = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<400xi32>) outs(%g0 : tensor<400x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %r = arith.index_cast %index : i32 to index
    %v = tensor.extract %x[%r, %r] : tensor<900x128xbf16>
    linalg.yield %v : bf16
  } -> tensor<400x128xbf16>
  %b = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<400xi32>) outs(%g0 : tensor<400x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %r = arith.index_cast %index : i32 to index
    %c = linalg.index 1 : index
    %v = tensor.extract %x[%r, %c] : tensor<900x128xbf16>
    %n = arith.negf %v : bf16
    linalg.yield %n : bf16
  } -> tensor<400x128xbf16>
  %c = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%rows : tensor<400xi32>) outs(%g0 : tensor<400x128xbf16>) {
  ^bb0(%index: i32, %out: bf16):
    %i = arith.index_cast %index : i32 to index
    %m = linalg.index 0 : index
    %r = arith.addi %i, %m : index
    %c = linalg.index 1 : index
    %v = tensor.extract %x[%r, %c] : tensor<900x128xbf16>
    linalg.yield %v : bf16
  } -> tensor<400x128xbf16>
  %e = tensor.empty() : tensor<400x512xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<400x512xf32>) -> tensor<400x512xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%a, %w : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%b, %w : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  %r = linalg.matmul indexing_maps = #nt ins(%c, %w : tensor<400x128xbf16>, tensor<512x128xbf16>) outs(%f : tensor<400x512xf32>) -> tensor<400x512xf32>
  return %p, %q, %r : tensor<400x512xf32>, tensor<400x512xf32>, tensor<400x512xf32>
}
