// The estimates count on the threads that are asked for, or else on all units
// of the target: with 8 units a choice for 8 threads is the default, and one
// thread takes longer.
// RUN: omni-opt %s --omnimoe-select-schedule > %t
// RUN: omni-opt %s --omnimoe-select-schedule="threads=8" >> %t
// RUN: omni-opt %s --omnimoe-select-schedule="threads=1" >> %t
// RUN: FileCheck %s < %t

// CHECK:     token_centric = [[SECONDS:[^ ]+]] : f64
// CHECK:     token_centric = [[SECONDS]] : f64
// CHECK-NOT: token_centric = [[SECONDS]] : f64
// CHECK:     token_centric =

module attributes {omnimoe.target = #omnimoe.target<chip = "x", features = "", units = 8, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 100, cacheGbps = 1, memoryGbps = 1000>} {
  func.func @experts(%x: tensor<64x512xf32>, %up: tensor<512x512xf32>, %down: tensor<512x512xf32>, %e: tensor<64x128xi32>,
      %s0: tensor<64x128xf32>, %y0: tensor<64x512xf32>) -> tensor<64x512xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<64x512xf32>, tensor<512x512xf32>, tensor<64x128xi32>)
      outs(%s0 : tensor<64x128xf32>) -> tensor<64x128xf32>
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<64x128xf32>, tensor<512x512xf32>, tensor<64x128xi32>)
      outs(%y0 : tensor<64x512xf32>) -> tensor<64x512xf32>
    return %y : tensor<64x512xf32>
  }
}
