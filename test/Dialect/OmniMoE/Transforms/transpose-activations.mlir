// RUN: omni-opt %s --omnimoe-transpose-activations | FileCheck %s

// CHECK-DAG: #[[SECOND:.*]] = affine_map<(d0, d1) -> (d1, 0)>

#mk = affine_map<(m, n, k) -> (m, k)>
#nk = affine_map<(m, n, k) -> (n, k)>
#kn = affine_map<(m, n, k) -> (k, n)>
#mn = affine_map<(m, n, k) -> (m, n)>
#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i, 0)>

// The example of the pass's documentation.

// CHECK-LABEL: func.func @product(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x512xf32>, %[[W:[a-z0-9]+]]: tensor<2048x512xf32>, %[[H0:[a-z0-9]+]]: tensor<?x2048xf32>)
// CHECK-DAG:     %[[H0T:.*]] = linalg.transpose ins(%[[H0]] : tensor<?x2048xf32>) outs(%{{.*}} : tensor<2048x?xf32>) permutation = [1, 0]
// CHECK-DAG:     %[[XT:.*]] = linalg.transpose ins(%[[X]] : tensor<?x512xf32>) outs(%{{.*}} : tensor<512x?xf32>) permutation = [1, 0]
// CHECK:         %[[HT:.*]] = linalg.matmul ins(%[[W]], %[[XT]] : tensor<2048x512xf32>, tensor<512x?xf32>) outs(%[[H0T]] : tensor<2048x?xf32>)
// CHECK:         %[[H:.*]] = linalg.transpose ins(%[[HT]] : tensor<2048x?xf32>) outs(%[[H0]] : tensor<?x2048xf32>) permutation = [1, 0]
// CHECK:         return %[[H]]
func.func @product(%x: tensor<?x512xf32>, %w: tensor<2048x512xf32>, %h0: tensor<?x2048xf32>) -> tensor<?x2048xf32> {
  %h = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%x, %w : tensor<?x512xf32>, tensor<2048x512xf32>)
    outs(%h0 : tensor<?x2048xf32>) -> tensor<?x2048xf32>
  return %h : tensor<?x2048xf32>
}

// A fill needs no transpose, and mixed types are no matter: f32 sums of bf16.

// CHECK-LABEL: func.func @filled(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<8x16xbf16>
// CHECK:         %[[FILL:.*]] = linalg.fill ins(%{{.*}} : f32) outs(%{{.*}} : tensor<4x8xf32>)
// CHECK:         %[[XT:.*]] = linalg.transpose ins(%[[X]] : tensor<8x16xbf16>)
// CHECK:         linalg.matmul ins(%{{.*}}, %[[XT]] : tensor<4x16xbf16>, tensor<16x8xbf16>) outs(%[[FILL]] : tensor<4x8xf32>)
func.func @filled(%x: tensor<8x16xbf16>, %w: tensor<4x16xbf16>, %h0: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%h0 : tensor<8x4xf32>) -> tensor<8x4xf32>
  %h = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%x, %w : tensor<8x16xbf16>, tensor<4x16xbf16>)
    outs(%f : tensor<8x4xf32>) -> tensor<8x4xf32>
  return %h : tensor<8x4xf32>
}

// What lies between two products works on transposed values, and the transposes
// that meet there cancel: one goes in, one comes out.

// CHECK-LABEL: func.func @chain(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x16xf32>, %[[GATE:[a-z0-9]+]]: tensor<64x16xf32>, %[[UP:[a-z0-9]+]]: tensor<64x16xf32>, %[[DOWN:[a-z0-9]+]]: tensor<16x64xf32>
// CHECK:         linalg.transpose ins(%[[X]]
// CHECK-NOT:     linalg.transpose
// CHECK:         %[[G:.*]] = linalg.matmul ins(%[[GATE]], %{{.*}} : tensor<64x16xf32>, tensor<16x?xf32>)
// CHECK:         %[[U:.*]] = linalg.matmul ins(%[[UP]], %{{.*}} : tensor<64x16xf32>, tensor<16x?xf32>)
// CHECK-NOT:     linalg.transpose
// CHECK:         %[[H:.*]] = linalg.generic {{.*}} ins(%[[G]], %[[U]] : tensor<64x?xf32>, tensor<64x?xf32>) outs(%{{.*}} : tensor<64x?xf32>)
// CHECK-NOT:     linalg.transpose
// CHECK:         %[[Y:.*]] = linalg.matmul ins(%[[DOWN]], %[[H]] : tensor<16x64xf32>, tensor<64x?xf32>)
// CHECK:         linalg.transpose ins(%[[Y]] : tensor<16x?xf32>)
// CHECK-NOT:     linalg.transpose
// CHECK:         return
func.func @chain(%x: tensor<?x16xf32>, %gate: tensor<64x16xf32>, %up: tensor<64x16xf32>, %down: tensor<16x64xf32>, %h0: tensor<?x64xf32>,
    %y0: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%h0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %g = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%x, %gate : tensor<?x16xf32>, tensor<64x16xf32>)
    outs(%f : tensor<?x64xf32>) -> tensor<?x64xf32>
  %u = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%x, %up : tensor<?x16xf32>, tensor<64x16xf32>)
    outs(%f : tensor<?x64xf32>) -> tensor<?x64xf32>
  %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%g, %u : tensor<?x64xf32>, tensor<?x64xf32>) outs(%h0 : tensor<?x64xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x64xf32>
  %fy = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %y = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%h, %down : tensor<?x64xf32>, tensor<16x64xf32>)
    outs(%fy : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// A scalar and a value per row are read through swapped maps.

// CHECK-LABEL: func.func @broadcast(
// CHECK-SAME:    %[[ROW:[a-z0-9]+]]: tensor<?x1xf32>)
// CHECK:         %[[HT:.*]] = linalg.matmul
// CHECK:         linalg.generic {indexing_maps = [#{{.*}}, #[[SECOND]], #{{.*}}], {{.*}}} ins(%[[HT]], %[[ROW]] : tensor<64x?xf32>, tensor<?x1xf32>)
// CHECK:         linalg.transpose
func.func @broadcast(%x: tensor<?x16xf32>, %w: tensor<64x16xf32>, %h0: tensor<?x64xf32>, %row: tensor<?x1xf32>) -> tensor<?x64xf32> {
  %g = linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%x, %w : tensor<?x16xf32>, tensor<64x16xf32>)
    outs(%h0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %h = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
    ins(%g, %row : tensor<?x64xf32>, tensor<?x1xf32>) outs(%h0 : tensor<?x64xf32>) {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %m = arith.mulf %p, %q : f32
    linalg.yield %m : f32
  } -> tensor<?x64xf32>
  return %h : tensor<?x64xf32>
}

// Left alone: a product whose right side is [k, n] already, element-wise
// operations that read their destination or a value that is not transposed, and
// products on memrefs.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NOT:     linalg.transpose
// CHECK:         linalg.matmul ins(%{{.*}} : tensor<?x16xf32>, tensor<16x64xf32>)
// CHECK:         linalg.generic
// CHECK-NOT:     linalg.transpose
// CHECK:         linalg.matmul indexing_maps = [{{.*}}] ins(%{{.*}} : memref<8x16xf32>, memref<64x16xf32>)
func.func @left_alone(%x: tensor<?x16xf32>, %w: tensor<16x64xf32>, %h0: tensor<?x64xf32>, %mx: memref<8x16xf32>, %mw: memref<64x16xf32>,
    %mh: memref<8x64xf32>) -> tensor<?x64xf32> {
  %g = linalg.matmul ins(%x, %w : tensor<?x16xf32>, tensor<16x64xf32>) outs(%h0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%g : tensor<?x64xf32>) outs(%h0 : tensor<?x64xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.mulf %p, %o : f32
    linalg.yield %m : f32
  } -> tensor<?x64xf32>
  linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%mx, %mw : memref<8x16xf32>, memref<64x16xf32>) outs(%mh : memref<8x64xf32>)
  return %h : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @reads_destination(
// CHECK:         %[[H:.*]] = linalg.transpose
// CHECK:         linalg.generic {{.*}} ins(%[[H]] : tensor<?x64xf32>)
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      arith.mulf
func.func @reads_destination(%ht: tensor<64x?xf32>, %h0: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %t = linalg.transpose ins(%ht : tensor<64x?xf32>) outs(%h0 : tensor<?x64xf32>) permutation = [1, 0]
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%t : tensor<?x64xf32>) outs(%h0 : tensor<?x64xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.mulf %p, %o : f32
    linalg.yield %m : f32
  } -> tensor<?x64xf32>
  return %h : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @double_transpose(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x16xf32>
// CHECK:         return %[[X]]
func.func @double_transpose(%x: tensor<?x16xf32>, %a: tensor<16x?xf32>, %b: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %t = linalg.transpose ins(%x : tensor<?x16xf32>) outs(%a : tensor<16x?xf32>) permutation = [1, 0]
  %u = linalg.transpose ins(%t : tensor<16x?xf32>) outs(%b : tensor<?x16xf32>) permutation = [1, 0]
  return %u : tensor<?x16xf32>
}
