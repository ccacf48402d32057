// The option `concurrent` of the pipeline: independent products on two streams.
// RUN: omni-opt %s --omnimoe-to-nvvm | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-nvvm="concurrent=false" | FileCheck %s --check-prefix=OFF
// OFF-NOT: omnimoe_gpu_fork

// A kernel does not overlap with the one before it behind a change of streams.
// CHECK: call @omnimoe_gpu_fork()
// CHECK: gpu.launch_func {{.*}} {omnimoe.overlaps}
// CHECK: call @omnimoe_gpu_select_stream
// CHECK: gpu.launch_func
// CHECK-NOT: omnimoe.overlaps
// CHECK: call @omnimoe_gpu_select_stream
// CHECK: call @omnimoe_gpu_wait_for_stream

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
func.func @logits(%x: tensor<?x64xbf16>, %z: tensor<?x64xbf16>, %u: tensor<32x64xbf16>, %v: tensor<32x64xbf16>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %e = tensor.empty(%T) : tensor<?x32xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x32xf32>) -> tensor<?x32xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%x, %u : tensor<?x64xbf16>, tensor<32x64xbf16>) outs(%f : tensor<?x32xf32>) -> tensor<?x32xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%z, %v : tensor<?x64xbf16>, tensor<32x64xbf16>) outs(%f : tensor<?x32xf32>) -> tensor<?x32xf32>
  return %p, %q : tensor<?x32xf32>, tensor<?x32xf32>
}
