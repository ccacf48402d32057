// RUN: omni-opt %s --omnimoe-to-llvm="measured=bf16-n4096-r1-d64-k8:1=dense=1e-9" --mlir-print-ir-after=omnimoe-select-schedule -o /dev/null 2>&1 | FileCheck %s --check-prefix=CPU
// RUN: omni-opt %s --omnimoe-to-nvvm="measured=f32-n1-r1-d1-k1:1=dense=1,bf16-n4096-r1-d64-k8:1=expert_centric=1e-9 format=nvvm" --mlir-print-ir-after=omnimoe-select-schedule -o /dev/null 2>&1 | FileCheck %s --check-prefix=GPU

// What was measured arrives in either pipeline, and so does a list of it.

// CPU: measured = {dense = {{.*}}}, min_tokens = 0 : i64, schedule = "dense"
// GPU: measured = {expert_centric = {{.*}}}, min_tokens = 0 : i64, schedule = "expert_centric"
func.func @experts(%x: tensor<?x64xbf16>, %w: tensor<4096x64xbf16>, %e: tensor<?x8xi32>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %s0 = tensor.empty(%T) : tensor<?x8xf32>
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x64xbf16>, tensor<4096x64xbf16>, tensor<?x8xi32>) outs(%s0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  %y0 = tensor.empty(%T) : tensor<?x64xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x8xf32>, tensor<4096x64xbf16>, tensor<?x8xi32>) outs(%y1 : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
