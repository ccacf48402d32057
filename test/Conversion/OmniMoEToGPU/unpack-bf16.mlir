// RUN: omni-opt %s --omnimoe-unpack-bf16 --split-input-file | FileCheck %s

// CHECK-LABEL: gpu.func @words
// CHECK-SAME:  %[[V:.*]]: vector<8xbf16>
// CHECK:       %[[WORDS:.*]] = vector.bitcast %[[V]] : vector<8xbf16> to vector<4xi32>
// CHECK:       %[[C16:.*]] = arith.constant dense<16> : vector<4xi32>
// CHECK:       %[[SHIFTED:.*]] = arith.shli %[[WORDS]], %[[C16]]
// CHECK:       %[[UPPER:.*]] = arith.constant dense<-65536> : vector<4xi32>
// CHECK:       %[[MASKED:.*]] = arith.andi %[[WORDS]], %[[UPPER]]
// CHECK:       %[[LOW:.*]] = arith.bitcast %[[SHIFTED]] : vector<4xi32> to vector<4xf32>
// CHECK:       %[[HIGH:.*]] = arith.bitcast %[[MASKED]] : vector<4xi32> to vector<4xf32>
// CHECK:       %[[F:.*]] = vector.interleave %[[LOW]], %[[HIGH]] : vector<4xf32> -> vector<8xf32>
// CHECK:       memref.store %[[F]]
gpu.module @kernels {
  gpu.func @words(%v: vector<8xbf16>, %to: memref<vector<8xf32>>) kernel {
    %f = arith.extf %v : vector<8xbf16> to vector<8xf32>
    memref.store %f, %to[] : memref<vector<8xf32>>
    gpu.return
  }
}

// -----

// Left alone: scalars, odd numbers, other types, more dimensions.

// CHECK-LABEL: gpu.func @others
// CHECK-COUNT-5: arith.extf
// CHECK-NOT:     vector.bitcast
gpu.module @kernels {
  gpu.func @others(%a: bf16, %b: vector<3xbf16>, %c: vector<8xf16>, %d: vector<2x2xbf16>, %e: vector<8xbf16>,
      %ta: memref<f32>, %tb: memref<vector<3xf32>>, %tc: memref<vector<8xf32>>, %td: memref<vector<2x2xf32>>,
      %te: memref<vector<8xf64>>) kernel {
    %fa = arith.extf %a : bf16 to f32
    %fb = arith.extf %b : vector<3xbf16> to vector<3xf32>
    %fc = arith.extf %c : vector<8xf16> to vector<8xf32>
    %fd = arith.extf %d : vector<2x2xbf16> to vector<2x2xf32>
    %fe = arith.extf %e : vector<8xbf16> to vector<8xf64>
    memref.store %fa, %ta[] : memref<f32>
    memref.store %fb, %tb[] : memref<vector<3xf32>>
    memref.store %fc, %tc[] : memref<vector<8xf32>>
    memref.store %fd, %td[] : memref<vector<2x2xf32>>
    memref.store %fe, %te[] : memref<vector<8xf64>>
    gpu.return
  }
}

// -----

// What runs on the host is LLVM's for that machine.

// CHECK-LABEL: func.func @host
// CHECK:       arith.extf
// CHECK-NOT:   vector.bitcast
func.func @host(%v: vector<8xbf16>) -> vector<8xf32> {
  %f = arith.extf %v : vector<8xbf16> to vector<8xf32>
  return %f : vector<8xf32>
}
