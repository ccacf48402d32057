// Text that is no program ends with an error and its place.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @unknown_op(%x: tensor<?x8xf32>) {
  // expected-error @below {{custom op 'omnimoe.scatter' is unknown}}
  omnimoe.scatter ins(%x : tensor<?x8xf32>)
  return
}

// -----

func.func @missing_comma(%r: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{expected ','}}
  omnimoe.route ins(%r %r : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @wrong_type(%r: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-note @above {{prior use here}}
  // expected-error @below {{use of value '%r' expects different type than prior uses: 'memref<?x9xf32>' vs 'memref<?x8xf32>'}}
  omnimoe.route ins(%r, %r : memref<?x9xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @missing_attribute(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{requires attribute 'num_experts'}}
  "omnimoe.dispatch"(%e, %o, %p, %p, %p) <{operandSegmentSizes = array<i32: 1, 0, 1, 1, 1, 1, 0>}> : (memref<?x2xi32>, memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>) -> ()
  return
}

// -----

func.func @too_few_operands(%r: memref<?x8xf32>, %s: memref<?x4xf32>) {
  // expected-error @below {{expected 4 operands, but found 2}}
  "omnimoe.route"(%r, %s) : (memref<?x8xf32>, memref<?x4xf32>) -> ()
  return
}

// -----

func.func @undefined(%s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{use of undeclared SSA value name}}
  omnimoe.route ins(%r, %r : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}
