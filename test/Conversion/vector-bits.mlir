// Widths that no kernel can be built from are refused.
// RUN: not omni-opt %s --convert-omnimoe-to-vector="vector-bits=0" 2>&1 | FileCheck %s -DGOT=0
// RUN: not omni-opt %s --convert-omnimoe-to-vector="vector-bits=-256" 2>&1 | FileCheck %s -DGOT=-256
// RUN: not omni-opt %s --convert-linalg-to-vector="vector-bits=16" 2>&1 | FileCheck %s -DGOT=16
// RUN: not omni-opt %s --convert-linalg-to-vector="vector-bits=96" 2>&1 | FileCheck %s -DGOT=96
// RUN: not omni-opt %s --convert-linalg-to-vector="vector-bits=1048576" 2>&1 | FileCheck %s -DGOT=1048576

// CHECK: error: option 'vector-bits' must be a power of two from 64 to 2048, got [[GOT]]
func.func @f(%x: memref<64xf32>) {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%x : memref<64xf32>)
  return
}
