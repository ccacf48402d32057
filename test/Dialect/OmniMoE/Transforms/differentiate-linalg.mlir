// RUN: omni-opt %s --split-input-file --omnimoe-differentiate --verify-roundtrip --mlir-print-local-scope | FileCheck %s
// RUN: omni-opt %s --split-input-file --omnimoe-differentiate --omnimoe-to-llvm -o /dev/null

// The gradients of a product of matrices are products of matrices, in the
// forms that tiling and kernels know. Narrow operands stay narrow.
// CHECK-LABEL: func.func @linear_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xbf16>, %[[W:.*]]: tensor<16x8xbf16>, %[[DY:.*]]: tensor<?x16xf32>
// CHECK:         %[[NARROW:.*]] = linalg.generic {{.*}} ins(%[[DY]]
// CHECK:           arith.truncf
// CHECK:         %[[DX:.*]] = linalg.matmul ins(%[[NARROW]], %[[W]]
// CHECK:         %[[DW:.*]] = linalg.matmul indexing_maps = [affine_map<(d0, d1, d2) -> (d2, d0)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>] ins(%[[NARROW]], %[[X]]
func.func @linear(%x: tensor<?x8xbf16>, %w: tensor<16x8xbf16>) -> tensor<?x16xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xbf16>
  %empty = tensor.empty(%t) : tensor<?x16xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %y = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %w : tensor<?x8xbf16>, tensor<16x8xbf16>) outs(%init : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// CHECK-LABEL: func.func @plain_product_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<8x16xf32>, %[[C:.*]]: tensor<?x16xf32>, %[[DY:.*]]: tensor<?x16xf32>
// CHECK:         %[[DX:.*]] = linalg.matmul {{.*}} ins(%[[DY]], %[[W]]
// CHECK:         %[[DW:.*]] = linalg.matmul {{.*}} ins(%[[X]], %[[DY]]
// CHECK:         return %[[DX]], %[[DW]], %[[DY]]
func.func @plain_product(%x: tensor<?x8xf32>, %w: tensor<8x16xf32>, %c: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %y = linalg.matmul ins(%x, %w : tensor<?x8xf32>, tensor<8x16xf32>) outs(%c : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// -----

// The gradient of a broadcast operand is a sum over the loops it lacks.
// CHECK-LABEL: func.func @broadcasts_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[B:.*]]: tensor<8xf32>, %[[G:.*]]: tensor<?x1xf32>, %[[DY:.*]]: tensor<?x8xf32>
// CHECK:         linalg.generic {indexing_maps = [{{.*}}], iterator_types = ["parallel", "parallel"]}
// CHECK:         %[[DB:.*]] = linalg.generic {indexing_maps = [{{.*}}affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
// CHECK:         %[[DG:.*]] = linalg.generic {indexing_maps = [{{.*}}affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
// CHECK:         tensor.expand_shape %[[DG]] {{\[\[}}0, 1]]
func.func @broadcasts(%x: tensor<?x8xf32>, %b: tensor<8xf32>, %g: tensor<?x1xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %empty = tensor.empty(%t) : tensor<?x8xf32>
  %y = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, 0)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%x, %b, %g : tensor<?x8xf32>, tensor<8xf32>, tensor<?x1xf32>) outs(%empty : tensor<?x8xf32>) {
  ^bb0(%xe: f32, %be: f32, %ge: f32, %out: f32):
    %0 = arith.addf %xe, %be : f32
    %1 = arith.mulf %0, %ge : f32
    linalg.yield %1 : f32
  } -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// The gradient of a sum is a broadcast.
// CHECK-LABEL: func.func @sum_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[DY:.*]]: tensor<?xf32>
// CHECK:         linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%[[X]], %[[DY]]
// CHECK:           math.exp
// CHECK:           arith.mulf
func.func @sum(%x: tensor<?x8xf32>) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %empty = tensor.empty(%t) : tensor<?xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?xf32>) -> tensor<?xf32>
  %y = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<?x8xf32>) outs(%init : tensor<?xf32>) {
  ^bb0(%xe: f32, %acc: f32):
    %0 = math.exp %xe : f32
    %1 = arith.addf %acc, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// A maximum's adjoint is shared by the elements that attain it.
// CHECK-LABEL: func.func @maximum_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[DY:.*]]: tensor<?xf32>
// CHECK:         %[[MAX:.*]] = linalg.generic
// CHECK:           arith.maximumf
// CHECK:         %[[COUNT:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]} ins(%[[X]], %[[MAX]]
// CHECK:         linalg.generic {{.*}} iterator_types = ["parallel", "parallel"]} ins(%[[X]], %[[DY]], %[[MAX]], %[[COUNT]]
// CHECK:           arith.cmpf oeq
// CHECK:           arith.divf
// CHECK:           arith.select
func.func @maximum(%x: tensor<?x8xf32>) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %low = arith.constant 0xFF800000 : f32
  %t = tensor.dim %x, %c0 : tensor<?x8xf32>
  %empty = tensor.empty(%t) : tensor<?xf32>
  %init = linalg.fill ins(%low : f32) outs(%empty : tensor<?xf32>) -> tensor<?xf32>
  %y = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<?x8xf32>) outs(%init : tensor<?xf32>) {
  ^bb0(%xe: f32, %acc: f32):
    %1 = arith.maximumf %xe, %acc : f32
    linalg.yield %1 : f32
  } -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// An operation that says so is a constant.
// CHECK-LABEL: func.func @stop_backward
// CHECK-SAME:    %[[X:.*]]: tensor<?x8xf32>, %[[Y:.*]]: tensor<?x8xf32>, %[[D:.*]]: tensor<?x8xf32>
// CHECK-NOT:     linalg.generic
// CHECK:         return %{{.*}}, %[[D]]
func.func @stop(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = math.exp %x {omnimoe.stop_gradient} : tensor<?x8xf32>
  %1 = arith.addf %0, %y : tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

// Arithmetic on whole tensors, and a named operation.
// CHECK-LABEL: func.func @whole_tensors_backward
// CHECK:         arith.mulf
// CHECK:         return
func.func @whole_tensors(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = arith.mulf %x, %y : tensor<?x8xf32>
  %1 = linalg.add ins(%0, %x : tensor<?x8xf32>, tensor<?x8xf32>) outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// -----

// Shapes and slices.
// CHECK-LABEL: func.func @shapes_backward
// CHECK-SAME:    %[[X:.*]]: tensor<4x8xf32>, %[[D:.*]]: tensor<2x8xf32>
// CHECK:         %[[SWAPPED:.*]] = linalg.transpose ins(%[[D]] : tensor<2x8xf32>) {{.*}} permutation = [1, 0]
// CHECK:         %[[PUT:.*]] = tensor.insert_slice %[[SWAPPED]] into %{{.*}}[0, 1] [8, 2] [1, 1]
// CHECK:         %[[FLAT:.*]] = tensor.collapse_shape %[[PUT]] {{\[\[}}0, 1]]
// CHECK:         tensor.expand_shape %[[FLAT]] {{\[\[}}0, 1]]
func.func @shapes(%x: tensor<4x8xf32>) -> tensor<2x8xf32> {
  %flat = tensor.collapse_shape %x [[0, 1]] : tensor<4x8xf32> into tensor<32xf32>
  %two = tensor.expand_shape %flat [[0, 1]] output_shape [8, 4] : tensor<32xf32> into tensor<8x4xf32>
  %slice = tensor.extract_slice %two[0, 1] [8, 2] [1, 1] : tensor<8x4xf32> to tensor<8x2xf32>
  %empty = tensor.empty() : tensor<2x8xf32>
  %y = linalg.transpose ins(%slice : tensor<8x2xf32>) outs(%empty : tensor<2x8xf32>) permutation = [1, 0]
  return %y : tensor<2x8xf32>
}
