// Where results and temporaries lie on a GPU, right before kernels are made.
// RUN: omni-opt %s --omnimoe-to-nvvm="format=nvvm" --mlir-print-ir-before=convert-omnimoe-to-gpu --split-input-file -o /dev/null 2>&1 | FileCheck %s

// Two sums that start from one value: each is computed in its own result, and
// nothing is copied from the one to the other.
// CHECK-LABEL: func.func @two_sums(
// CHECK-SAME:    %[[DA:[^:]*]]: memref<64x8xf32>, %[[DB:[^:]*]]: memref<64x8xf32>, %[[WORKSPACE:[^:]*]]: memref<?xi8>)
// CHECK-NOT:     memref.copy
// CHECK:         %[[A:.*]] = memref.subview %[[DA]]
// CHECK-NEXT:    linalg.fill {{.*}} outs(%[[A]] :
// CHECK-NEXT:    omnimoe.combine to_experts {{.*}} outs(%[[A]] :
// CHECK-NOT:     memref.copy
// CHECK:         %[[B:.*]] = memref.subview %[[DB]]
// CHECK-NEXT:    linalg.fill {{.*}} outs(%[[B]] :
// CHECK-NEXT:    omnimoe.combine to_experts {{.*}} outs(%[[B]] :
// CHECK-NOT:     memref.copy
// CHECK:         return
func.func @two_sums(%a: tensor<?x4xf32>, %b: tensor<?x4xf32>, %x: tensor<?x8xf32>, %e: tensor<?x4xi32>) -> (tensor<64x8xf32>, tensor<64x8xf32>) {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<64x8xf32>
  %z = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x8xf32>) -> tensor<64x8xf32>
  %da = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
  %db = omnimoe.combine to_experts ins(%b, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>) outs(%z : tensor<64x8xf32>) -> tensor<64x8xf32>
  return %da, %db : tensor<64x8xf32>, tensor<64x8xf32>
}

// -----

// The hidden values are computed by tiles of two sizes, in one buffer: the
// product that reads them knows its layout.
// CHECK-LABEL: func.func @two_products(
// CHECK:         %[[H:.*]] = memref.view %{{.*}} to memref<?x256xf16>
// CHECK:         scf.if
// CHECK:           memref.subview %[[H]]
// CHECK:         } else {
// CHECK:           memref.subview %[[H]]
// CHECK:         memref.subview %[[H]]{{.*}} to memref<?x256xf16, strided<[256, 1], offset: ?>>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
func.func @two_products(%x: tensor<?x128xf16>, %gate: tensor<256x128xf16>, %up: tensor<256x128xf16>, %down: tensor<128x256xf16>) -> tensor<?x128xf16> {
  %c0 = arith.constant 0 : index
  %T = tensor.dim %x, %c0 : tensor<?x128xf16>
  %zero = arith.constant 0.0 : f32
  %i0 = tensor.empty(%T) : tensor<?x256xf32>
  %f0 = linalg.fill ins(%zero : f32) outs(%i0 : tensor<?x256xf32>) -> tensor<?x256xf32>
  %p0 = linalg.matmul indexing_maps = #nt ins(%x, %gate : tensor<?x128xf16>, tensor<256x128xf16>) outs(%f0 : tensor<?x256xf32>) -> tensor<?x256xf32>
  %p1 = linalg.matmul indexing_maps = #nt ins(%x, %up : tensor<?x128xf16>, tensor<256x128xf16>) outs(%f0 : tensor<?x256xf32>) -> tensor<?x256xf32>
  %i1 = tensor.empty(%T) : tensor<?x256xf16>
  %h = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%p0, %p1 : tensor<?x256xf32>, tensor<?x256xf32>) outs(%i1 : tensor<?x256xf16>) {
  ^bb0(%a: f32, %b: f32, %o: f16):
    %m = arith.mulf %a, %b : f32
    %t = arith.truncf %m : f32 to f16
    linalg.yield %t : f16
  } -> tensor<?x256xf16>
  %i2 = tensor.empty(%T) : tensor<?x128xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%i2 : tensor<?x128xf32>) -> tensor<?x128xf32>
  %p2 = linalg.matmul indexing_maps = #nt ins(%h, %down : tensor<?x256xf16>, tensor<128x256xf16>) outs(%f2 : tensor<?x128xf32>) -> tensor<?x128xf32>
  %i3 = tensor.empty(%T) : tensor<?x128xf16>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%p2 : tensor<?x128xf32>) outs(%i3 : tensor<?x128xf16>) {
  ^bb0(%a: f32, %o: f16):
    %t = arith.truncf %a : f32 to f16
    linalg.yield %t : f16
  } -> tensor<?x128xf16>
  return %y : tensor<?x128xf16>
}
