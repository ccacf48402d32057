// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule=schedule=expert_centric --split-input-file --verify-diagnostics -o /dev/null
// RUN: not omni-opt %s --omnimoe-to-nvvm="schedule=expert_centric deterministic=true format=nvvm" --split-input-file 2>&1 | FileCheck %s
// RUN: not omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="schedule=hybrid deterministic=true" --split-input-file 2>&1 | FileCheck %s --check-prefix=HYBRID

// A schedule that was asked for and cannot be had is an error that says what it
// takes; it takes more where results must be the same every time.

// CHECK: error: 'omnimoe.combine' op schedule 'expert_centric' is not available on target 'sm_90a' here: {{.*}} atomic experts; for deterministic results, atomic experts, and sums that start from zeros, of 8192 choices at most
// HYBRID: error: 'omnimoe.combine' op schedule 'hybrid' is not available on target 'sm_90a' for deterministic results: it adds to tokens in no fixed order
func.func @f32(%x: tensor<?x512xf32>, %w: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>) outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  // expected-error @below {{schedule 'expert_centric' is not available on target 'sm_90a' here: it takes tokens and vectors of one type, f16 or bf16, a hidden size that is a multiple of 64, coefficients made of values of a pair, and, but for expert_centric, atomic experts}}
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>) outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// -----

// CHECK: error: 'omnimoe.combine' op schedule 'expert_centric' is not available
func.func @short_vectors(%x: tensor<?x40xbf16>, %w: tensor<4096x40xbf16>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x40xf32>) -> tensor<?x40xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x40xbf16>, tensor<4096x40xbf16>, tensor<?x16xi32>) outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  // expected-error @below {{schedule 'expert_centric' is not available on target 'sm_90a' here}}
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x16xf32>, tensor<4096x40xbf16>, tensor<?x16xi32>) outs(%y0 : tensor<?x40xf32>) -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

// -----

// Coefficients that depend on where a pair stands in its list.

// CHECK: error: 'omnimoe.combine' op schedule 'expert_centric' is not available
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @position(%x: tensor<?x64xbf16>, %w: tensor<4096x64xbf16>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x64xbf16>, tensor<4096x64xbf16>, tensor<?x16xi32>) outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%s : tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
  ^bb0(%in: f32, %out: f32):
    %k = linalg.index 1 : index
    %i = arith.index_cast %k : index to i32
    %f = arith.sitofp %i : i32 to f32
    %m = arith.mulf %in, %f : f32
    linalg.yield %m : f32
  } -> tensor<?x16xf32>
  // expected-error @below {{schedule 'expert_centric' is not available on target 'sm_90a' here}}
  %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<?x16xf32>, tensor<4096x64xbf16>, tensor<?x16xi32>) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Wide experts have the schedule, but not with the same results every time.

// CHECK: error: 'omnimoe.combine' op schedule 'expert_centric' is not available {{.*}} for deterministic results, atomic experts
func.func @wide(%x: tensor<?x64xbf16>, %w: tensor<64x128x64xbf16>, %e: tensor<?x4xi32>, %s0: tensor<?x4x128xf32>, %y0: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %zero = arith.constant 0.0 : f32
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x64xbf16>, tensor<64x128x64xbf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x128xf32>) -> tensor<?x4x128xf32>
  %zeros = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<?x4x128xf32>, tensor<64x128x64xbf16>, tensor<?x4xi32>) outs(%zeros : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
