// RUN: omni-opt %s --convert-math-to-nvvm-approx | FileCheck %s

// CHECK-LABEL: gpu.func @kernel
// CHECK: %[[LOG2E:.*]] = arith.constant 1.44269502 : f32
// CHECK: %[[SCALED:.*]] = arith.mulf %{{.*}}, %[[LOG2E]] : f32
// CHECK: llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%[[SCALED]]) : (f32) -> f32
// CHECK: math.exp %{{.*}} : f64
gpu.module @kernels {
  gpu.func @kernel(%x: f32, %z: f64, %m: memref<1xf32>, %n: memref<1xf64>) kernel {
    %c0 = arith.constant 0 : index
    %y = math.exp %x : f32
    memref.store %y, %m[%c0] : memref<1xf32>
    %w = math.exp %z : f64
    memref.store %w, %n[%c0] : memref<1xf64>
    gpu.return
  }
}

// Code of the host keeps its operations.
// CHECK-LABEL: func.func @host
// CHECK: math.exp
func.func @host(%x: f32) -> f32 {
  %y = math.exp %x : f32
  return %y : f32
}

// CHECK-LABEL: gpu.func @vectors
// CHECK: %[[SCALED:.*]] = arith.mulf %{{.*}}, %{{.*}} : vector<2xf32>
// CHECK: %[[E0:.*]] = vector.extract %[[SCALED]][0]
// CHECK: %[[R0:.*]] = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%[[E0]])
// CHECK: %[[E1:.*]] = vector.extract %[[SCALED]][1]
// CHECK: %[[R1:.*]] = llvm.call_intrinsic "llvm.nvvm.ex2.approx.ftz.f"(%[[E1]])
// CHECK: vector.from_elements %[[R0]], %[[R1]] : vector<2xf32>
gpu.module @more_kernels {
  gpu.func @vectors(%x: vector<2xf32>, %m: memref<1xvector<2xf32>>) kernel {
    %c0 = arith.constant 0 : index
    %y = math.exp %x : vector<2xf32>
    memref.store %y, %m[%c0] : memref<1xvector<2xf32>>
    gpu.return
  }
}

// CHECK-LABEL: gpu.func @absolute
// CHECK-DAG: %[[MASK:.*]] = arith.constant 2147483647 : i32
// CHECK-DAG: %[[BITS:.*]] = arith.bitcast %{{.*}} : f32 to i32
// CHECK: %[[AND:.*]] = arith.andi %[[BITS]], %[[MASK]] : i32
// CHECK: arith.bitcast %[[AND]] : i32 to f32
gpu.module @absolute_kernels {
  gpu.func @absolute(%x: f32, %m: memref<1xf32>) kernel {
    %c0 = arith.constant 0 : index
    %y = math.absf %x : f32
    memref.store %y, %m[%c0] : memref<1xf32>
    gpu.return
  }
}

// CHECK-LABEL: gpu.func @roots
// CHECK: llvm.call_intrinsic "llvm.nvvm.sqrt.rn.f"(%{{.*}}) : (f32) -> f32
// CHECK-COUNT-2: llvm.call_intrinsic "llvm.nvvm.sqrt.rn.f"
// CHECK: vector.from_elements
// CHECK: math.sqrt %{{.*}} : f64
gpu.module @roots {
  gpu.func @roots(%x: f32, %v: vector<2xf32>, %z: f64, %m: memref<1xf32>, %n: memref<1xvector<2xf32>>, %o: memref<1xf64>) kernel {
    %c0 = arith.constant 0 : index
    %r = math.sqrt %x : f32
    memref.store %r, %m[%c0] : memref<1xf32>
    %s = math.sqrt %v : vector<2xf32>
    memref.store %s, %n[%c0] : memref<1xvector<2xf32>>
    %t = math.sqrt %z : f64
    memref.store %t, %o[%c0] : memref<1xf64>
    gpu.return
  }
}

// Quotients of f32 in kernels, element by element; others are left alone.
// CHECK-LABEL: gpu.func @quotients
// CHECK: llvm.call_intrinsic "llvm.nvvm.div.full"(%{{.*}}, %{{.*}}) : (f32, f32) -> f32
// CHECK: %[[X0:.*]] = vector.extract %[[X:.*]][0]
// CHECK: %[[Y0:.*]] = vector.extract %[[Y:.*]][0]
// CHECK: llvm.call_intrinsic "llvm.nvvm.div.full"(%[[X0]], %[[Y0]])
// CHECK: llvm.call_intrinsic "llvm.nvvm.div.full"
// CHECK: vector.from_elements
// CHECK: arith.divf %{{.*}} : f64
gpu.module @quotient_kernels {
  gpu.func @quotients(%a: f32, %v: vector<2xf32>, %w: vector<2xf32>, %d: f64,
                      %m: memref<1xf32>, %n: memref<1xvector<2xf32>>, %o: memref<1xf64>) kernel {
    %c0 = arith.constant 0 : index
    %q = arith.divf %a, %a : f32
    memref.store %q, %m[%c0] : memref<1xf32>
    %r = arith.divf %v, %w : vector<2xf32>
    memref.store %r, %n[%c0] : memref<1xvector<2xf32>>
    %s = arith.divf %d, %d : f64
    memref.store %s, %o[%c0] : memref<1xf64>
    gpu.return
  }
}

// A sigmoid, and one times what it is of, take the reciprocal. It is 0 of a divisor
// above 2^126, so that other numerators, which may be as large, and other divisors
// take all of the quotient.
// CHECK-LABEL: gpu.func @sigmoids
// CHECK-COUNT-7: llvm.call_intrinsic "llvm.nvvm.div.approx.ftz.f"
// CHECK-NOT: llvm.nvvm.div
// CHECK: gpu.func @others
// CHECK-NOT: llvm.nvvm.div.approx
// CHECK-COUNT-4: llvm.call_intrinsic "llvm.nvvm.div.full"
// CHECK-NOT: llvm.nvvm.div
gpu.module @sigmoid_kernels {
  gpu.func @sigmoids(%x: f32, %v: vector<2xf32>, %m: memref<3xf32>, %n: memref<2xvector<2xf32>>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %one = arith.constant 1.0 : f32
    %ones = arith.constant dense<1.0> : vector<2xf32>
    %spread = vector.broadcast %one : f32 to vector<2xf32>
    %negated = arith.negf %x : f32
    %e = math.exp %negated : f32
    %u = arith.addf %one, %e : f32
    %sigmoid = arith.divf %one, %u : f32
    memref.store %sigmoid, %m[%c0] : memref<3xf32>
    %silu = arith.divf %x, %u : f32
    memref.store %silu, %m[%c1] : memref<3xf32>
    %minus = arith.divf %negated, %u : f32
    memref.store %minus, %m[%c2] : memref<3xf32>
    %ev = math.exp %v : vector<2xf32>
    %uv = arith.addf %ev, %ones : vector<2xf32>
    %qv = arith.divf %v, %uv : vector<2xf32>
    memref.store %qv, %n[%c0] : memref<2xvector<2xf32>>
    %us = arith.addf %ev, %spread : vector<2xf32>
    %qs = arith.divf %spread, %us : vector<2xf32>
    memref.store %qs, %n[%c1] : memref<2xvector<2xf32>>
    gpu.return
  }
  gpu.func @others(%x: f32, %y: f32, %m: memref<4xf32>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %one = arith.constant 1.0 : f32
    %half = arith.constant 0.5 : f32
    %e = math.exp %x : f32
    %u = arith.addf %e, %one : f32
    %large = arith.divf %y, %u : f32
    memref.store %large, %m[%c0] : memref<4xf32>
    %h = arith.addf %e, %half : f32
    %shifted = arith.divf %x, %h : f32
    memref.store %shifted, %m[%c1] : memref<4xf32>
    %k = arith.addf %x, %one : f32
    %plain = arith.divf %x, %k : f32
    memref.store %plain, %m[%c2] : memref<4xf32>
    %inverse = arith.divf %u, %x : f32
    memref.store %inverse, %m[%c3] : memref<4xf32>
    gpu.return
  }
}
