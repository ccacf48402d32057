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
