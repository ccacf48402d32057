// RUN: omni-opt %s --split-input-file --verify-diagnostics --omnimoe-differentiate
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="emit=both" 2>&1 | FileCheck %s --check-prefix=EMIT
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="wrt=7" 2>&1 | FileCheck %s --check-prefix=WRT
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="wrt=0,0" 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="wrt=1" 2>&1 | FileCheck %s --check-prefix=IDS
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="sparse=7 rows=1" 2>&1 | FileCheck %s --check-prefix=SPARSE
// RUN: not omni-opt %s --split-input-file --omnimoe-differentiate="sparse=0 rows=1" 2>&1 | FileCheck %s --check-prefix=TABLE

// SPARSE: sparse: expected the number of an argument, 0 to 0, got 7
// TABLE: sparse: argument 0 is not used as a table of expert vectors alone
// EMIT: unknown emit 'both', expected backward or forward
// WRT: wrt: expected the number of an argument, 0 to 0, got 7
// TWICE: wrt: argument 0 is listed twice
// IDS: wrt: argument 1 is a 'tensor<?x4xi32>', which has no gradient

func.func @scalar_function(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @below {{'math.atan' op has no derivative}}
  %0 = math.atan %x : tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

func.func @reduction(%x: tensor<?x8xf32>, %e: tensor<?x4xi32>, %i: tensor<?xf32>) -> tensor<?xf32> {
  // expected-error @below {{has no derivative: a reduction must be a sum, a maximum or a minimum of terms}}
  %y = linalg.generic {
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<?x8xf32>) outs(%i : tensor<?xf32>) {
  ^bb0(%xe: f32, %acc: f32):
    %0 = arith.mulf %acc, %xe : f32
    linalg.yield %0 : f32
  } -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

func.func @index_map(%x: tensor<16xf32>) -> tensor<8xf32> {
  %empty = tensor.empty() : tensor<8xf32>
  // expected-error @below {{has no derivative by operand 0, which is indexed by affine_map<(d0) -> (d0 * 2)>}}
  %y = linalg.generic {
      indexing_maps = [affine_map<(i) -> (i * 2)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%x : tensor<16xf32>) outs(%empty : tensor<8xf32>) {
  ^bb0(%xe: f32, %out: f32):
    linalg.yield %xe : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

func.func @control_flow(%x: tensor<8xf32>, %b: i1) -> tensor<8xf32> {
  // expected-error @below {{'scf.if' op has no derivative}}
  %y = scf.if %b -> tensor<8xf32> {
    %0 = arith.negf %x : tensor<8xf32>
    scf.yield %0 : tensor<8xf32>
  } else {
    scf.yield %x : tensor<8xf32>
  }
  return %y : tensor<8xf32>
}

// -----

func.func @captured(%x: tensor<8xf32>) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %first = tensor.extract %x[%c0] : tensor<8xf32>
  %empty = tensor.empty() : tensor<8xf32>
  // expected-error @below {{has no derivative by a value that its payload captures; make it an operand}}
  %y = linalg.generic {
      indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%x : tensor<8xf32>) outs(%empty : tensor<8xf32>) {
  ^bb0(%xe: f32, %out: f32):
    %0 = arith.mulf %xe, %first : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

// expected-error @below {{has no derivative: expected element type f32, f16 or bf16, got 'f64'}}
func.func @double(%x: tensor<8xf64>) -> tensor<8xf64> {
  return %x : tensor<8xf64>
}

// -----

// expected-error @below {{has no result of a float type to differentiate}}
func.func @integers(%x: tensor<8xf32>) -> tensor<8xi32> {
  %0 = arith.fptosi %x : tensor<8xf32> to tensor<8xi32>
  return %0 : tensor<8xi32>
}

// -----

// expected-error @below {{has no argument of a float type to differentiate by}}
func.func @no_float(%x: tensor<8xi32>) -> tensor<8xf32> {
  %0 = arith.sitofp %x : tensor<8xi32> to tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

func.func @first(%x: tensor<8xf32>) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}
// expected-error @below {{is a second public function beside 'first'; one function is differentiated}}
func.func @second(%x: tensor<8xf32>) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

// expected-error @below {{there is no public function to differentiate}}
module {}
