// RUN: omni-opt %s --omnimoe-separate-destinations --split-input-file | FileCheck %s

// A result that another result starts from.
// CHECK-LABEL: func.func @also_a_result(
// CHECK-SAME:    %[[Y0:.*]]: tensor<8xf32>
// CHECK:         %[[Y:.*]] = linalg.generic
// CHECK:         %[[COPY:.*]] = bufferization.alloc_tensor() copy(%[[Y]])
// CHECK:         %[[Z:.*]] = linalg.add {{.*}} outs(%[[COPY]]
// CHECK:         bufferization.materialize_in_destination %[[Z]]
// CHECK:         bufferization.materialize_in_destination %[[Y]]
func.func @also_a_result(%y0: tensor<8xf32>, %out0: memref<8xf32>, %out1: memref<8xf32>) {
  %y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]} outs(%y0 : tensor<8xf32>) {
  ^bb0(%o: f32):
    %s = arith.addf %o, %o : f32
    linalg.yield %s : f32
  } -> tensor<8xf32>
  %z = linalg.add ins(%y0, %y0 : tensor<8xf32>, tensor<8xf32>) outs(%y : tensor<8xf32>) -> tensor<8xf32>
  bufferization.materialize_in_destination %z in restrict writable %out0 : (tensor<8xf32>, memref<8xf32>) -> ()
  bufferization.materialize_in_destination %y in restrict writable %out1 : (tensor<8xf32>, memref<8xf32>) -> ()
  return
}

// -----

// Uninitialised tensors cost nothing to have twice; one use is left alone.
// CHECK-LABEL: func.func @empties(
// CHECK:         %[[A:.*]] = tensor.empty
// CHECK:         scf.forall {{.*}} shared_outs(%{{.*}} = %[[A]])
// CHECK:         %[[B:.*]] = tensor.empty
// CHECK:         scf.forall {{.*}} shared_outs(%{{.*}} = %[[B]])
// CHECK-NOT:     alloc_tensor
func.func @empties(%f: f32) -> (tensor<8xf32>, tensor<8xf32>) {
  %empty = tensor.empty() : tensor<8xf32>
  %0 = scf.forall (%i) = (0) to (8) step (4) shared_outs(%o = %empty) -> tensor<8xf32> {
    %s = tensor.extract_slice %o[%i] [4] [1] : tensor<8xf32> to tensor<4xf32>
    %t = linalg.fill ins(%f : f32) outs(%s : tensor<4xf32>) -> tensor<4xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %t into %o[%i] [4] [1] : tensor<4xf32> into tensor<8xf32>
    }
  }
  %1 = scf.forall (%i) = (0) to (8) step (2) shared_outs(%o = %empty) -> tensor<8xf32> {
    %s = tensor.extract_slice %o[%i] [2] [1] : tensor<8xf32> to tensor<2xf32>
    %t = linalg.fill ins(%f : f32) outs(%s : tensor<2xf32>) -> tensor<2xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %t into %o[%i] [2] [1] : tensor<2xf32> into tensor<8xf32>
    }
  }
  return %0, %1 : tensor<8xf32>, tensor<8xf32>
}

// -----

// Branches exclude each other.
// CHECK-LABEL: func.func @branches(
// CHECK-NOT:     alloc_tensor
func.func @branches(%x: tensor<8xf32>, %b: i1) -> tensor<8xf32> {
  %y = linalg.exp ins(%x : tensor<8xf32>) outs(%x : tensor<8xf32>) -> tensor<8xf32>
  %z = scf.if %b -> tensor<8xf32> {
    %0 = linalg.add ins(%x, %x : tensor<8xf32>, tensor<8xf32>) outs(%y : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %0 : tensor<8xf32>
  } else {
    %0 = linalg.mul ins(%x, %x : tensor<8xf32>, tensor<8xf32>) outs(%y : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %0 : tensor<8xf32>
  }
  return %z : tensor<8xf32>
}

// -----

// Nor do they need two uninitialised tensors, which would leave it open in which
// one the result is; another operation of a branch does.
// CHECK-LABEL: func.func @empty_of_branches(
// CHECK:         %[[B:.*]] = tensor.empty
// CHECK-NEXT:    %[[A:.*]] = tensor.empty
// CHECK-NEXT:    scf.if
// CHECK:           linalg.exp {{.*}} outs(%[[A]] :
// CHECK:           linalg.abs {{.*}} outs(%[[B]] :
// CHECK:         } else {
// CHECK:           linalg.negf {{.*}} outs(%[[B]] :
func.func @empty_of_branches(%x: tensor<8xf32>, %b: i1) -> tensor<8xf32> {
  %empty = tensor.empty() : tensor<8xf32>
  %z = scf.if %b -> tensor<8xf32> {
    %0 = linalg.exp ins(%x : tensor<8xf32>) outs(%empty : tensor<8xf32>) -> tensor<8xf32>
    %1 = linalg.abs ins(%0 : tensor<8xf32>) outs(%empty : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %1 : tensor<8xf32>
  } else {
    %0 = linalg.negf ins(%x : tensor<8xf32>) outs(%empty : tensor<8xf32>) -> tensor<8xf32>
    scf.yield %0 : tensor<8xf32>
  }
  return %z : tensor<8xf32>
}
