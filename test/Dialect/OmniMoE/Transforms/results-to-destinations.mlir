// RUN: omni-opt %s --omnimoe-results-to-destinations -split-input-file -verify-diagnostics | FileCheck %s

// The example of the pass's documentation.

// CHECK-LABEL: func.func @f(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: tensor<?x8xf32> {bufferization.writable = false}, %[[OUT:[a-z0-9]+]]: memref<?x8xf32>) attributes {llvm.emit_c_interface} {
// CHECK:         %[[Y:.*]] = arith.addf %[[X]], %[[X]]
// CHECK-NEXT:    bufferization.materialize_in_destination %[[Y]] in restrict writable %[[OUT]] : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
// CHECK-NEXT:    return{{$}}
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = arith.addf %x, %x : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Several results come after the arguments, in order.

// CHECK-LABEL: func.func @two(
// CHECK-SAME:    %[[S:[a-z0-9]+]]: tensor<?x4xf32> {bufferization.writable = false}, %[[E:[a-z0-9]+]]: tensor<?x4xi32> {bufferization.writable = false}, %[[S_OUT:[a-z0-9]+]]: memref<?x4xf32>, %[[E_OUT:[a-z0-9]+]]: memref<?x4xi32>)
// CHECK-DAG:     bufferization.materialize_in_destination %[[S]] in restrict writable %[[S_OUT]]
// CHECK-DAG:     bufferization.materialize_in_destination %[[E]] in restrict writable %[[E_OUT]]
func.func @two(%s: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> (tensor<?x4xf32>, tensor<?x4xi32>) {
  return %s, %e : tensor<?x4xf32>, tensor<?x4xi32>
}

// -----

// Private functions and declarations are left alone; a function without results
// is an entry point all the same.

// CHECK-LABEL: func.func private @helper(
// CHECK-SAME:    -> tensor<4xf32>
// CHECK-LABEL: func.func private @declared(tensor<4xf32>) -> tensor<4xf32>
// CHECK-LABEL: func.func @no_results(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<4xf32>) attributes {llvm.emit_c_interface} {
func.func private @helper(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
func.func private @declared(tensor<4xf32>) -> tensor<4xf32>
func.func @no_results(%x: memref<4xf32>) {
  return
}

// -----

// expected-error @below {{'func.func' op result 1 must be a ranked tensor, got 'index'}}
func.func @scalar(%x: tensor<4xf32>, %i: index) -> (tensor<4xf32>, index) {
  return %x, %i : tensor<4xf32>, index
}

// -----

// expected-error @below {{'func.func' op result 0 must be a ranked tensor, got 'tensor<*xf32>'}}
func.func @unranked(%x: tensor<*xf32>) -> tensor<*xf32> {
  return %x : tensor<*xf32>
}

// -----

// expected-error @below {{'func.func' op must have one block to be an entry point}}
func.func @two_returns(%x: tensor<4xf32>, %c: i1) -> tensor<4xf32> {
  cf.cond_br %c, ^a, ^b
^a:
  return %x : tensor<4xf32>
^b:
  return %x : tensor<4xf32>
}

// -----

// expected-error @below {{'func.func' op is an entry point and called by the program itself}}
func.func @called(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}
func.func private @caller(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = func.call @called(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// expected-error @below {{'func.func' op is an entry point and called by the program itself}}
func.func @recursive(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = call @recursive(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
