// RUN: omni-opt %s --convert-math-to-polynomial | FileCheck %s

// The example of the pass's documentation: a range reduction and a polynomial.

// CHECK-LABEL: func.func @exp(
// CHECK-SAME:    %[[X:.*]]: vector<16xf32>)
// CHECK-NOT:     math.exp
// CHECK:         math.fma {{.*}} : vector<16xf32>
// CHECK-NOT:     math.exp
// CHECK:         return
func.func @exp(%x: vector<16xf32>) -> vector<16xf32> {
  %e = math.exp %x : vector<16xf32>
  return %e : vector<16xf32>
}

// Scalars too, and what the activations need.

// CHECK-LABEL: func.func @activations(
// CHECK-NOT:     math.exp
// CHECK-NOT:     math.tanh
// CHECK-NOT:     math.erf
// CHECK-NOT:     math.log
// CHECK:         return
func.func @activations(%x: f32, %v: vector<8xf32>) -> (f32, f32, f32, vector<8xf32>, vector<8xf32>) {
  %0 = math.exp %x : f32
  %1 = math.tanh %x : f32
  %2 = math.log %x : f32
  %3 = math.erf %v : vector<8xf32>
  %4 = math.tanh %v : vector<8xf32>
  return %0, %1, %2, %3, %4 : f32, f32, f32, vector<8xf32>, vector<8xf32>
}

// f64 is left alone, as are operations that the machine has.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NEXT:    math.exp %{{.*}} : f64
// CHECK-NEXT:    math.sqrt
// CHECK-NEXT:    math.absf
// CHECK-NEXT:    math.fma
// CHECK-NEXT:    return
func.func @left_alone(%d: f64, %v: vector<8xf32>) -> (f64, vector<8xf32>, vector<8xf32>, vector<8xf32>) {
  %0 = math.exp %d : f64
  %1 = math.sqrt %v : vector<8xf32>
  %2 = math.absf %v : vector<8xf32>
  %3 = math.fma %v, %v, %v : vector<8xf32>
  return %0, %1, %2, %3 : f64, vector<8xf32>, vector<8xf32>, vector<8xf32>
}
