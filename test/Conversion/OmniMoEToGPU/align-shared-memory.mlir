// RUN: omni-opt %s --omnimoe-align-shared-memory | FileCheck %s

// CHECK: gpu.func @two(%{{.*}}: memref<5xf32>) workgroup(
// CHECK-SAME: memref<5xf32, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}
// CHECK-SAME: memref<8xf16, #gpu.address_space<workgroup>> {llvm.align = 16 : i64}
// CHECK: gpu.func @none() kernel
// CHECK-NOT: llvm.align
gpu.module @kernels {
  gpu.func @two(%m: memref<5xf32>) workgroup(%s: memref<5xf32, #gpu.address_space<workgroup>>, %t: memref<8xf16, #gpu.address_space<workgroup>>) kernel {
    gpu.return
  }
  gpu.func @none() kernel {
    gpu.return
  }
}
