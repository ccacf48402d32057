// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="schedule=expert_centric deterministic=true" | FileCheck %s -DKIND=expert_centric
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="schedule=dense deterministic=true" | FileCheck %s -DKIND=dense
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="schedule=dense" | FileCheck %s --check-prefix=ANY
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="schedule=token_centric deterministic=true" | FileCheck %s --check-prefix=ANY
// RUN: omni-opt %s --omnimoe-attach-target="" --omnimoe-select-schedule="schedule=expert_centric deterministic=true" | FileCheck %s --check-prefix=ANY
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="measured=bf16-n102400-r1-d1024-k512:4096=expert_centric=5e-4:4096=token_centric=5.2e-4" | FileCheck %s --check-prefix=MEASURED
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule="deterministic=true measured=bf16-n102400-r1-d1024-k512:4096=expert_centric=5e-4:4096=token_centric=5.2e-4" | FileCheck %s --check-prefix=EXACT

// What was measured are sums in any order: exact ones take longer, those of a
// token at a time do not.

// MEASURED: measured = {expert_centric = 5.000000e-04 : f64, token_centric = 5.200000e-04 : f64}
// MEASURED-SAME: schedule = "expert_centric"
// EXACT:    measured = {expert_centric = 5.4{{[0-9]*[eE]-0?4}} : f64, token_centric = 5.200000e-04 : f64}
// EXACT-SAME: schedule = "token_centric"

// Sums of groups are marked where their order is not to matter. Those of a
// token at a time, and those of a CPU, have a fixed order anyway.

// CHECK:       estimates = {dense = {{[^,]*}}, expert_centric = {{[^,]*}}, token_centric = {{[^,}]*}}}
// CHECK:       omnimoe.combine to_tokens {{.*}} {omnimoe.exact, schedule = #omnimoe.schedule<[[KIND]], group_size = {{[0-9]+(, grid_columns = 320)?}}>}
// ANY:         omnimoe.combine to_tokens
// ANY-NOT:     omnimoe.exact
func.func @sums(%x: tensor<4096x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<4096x512xi32>, %s0: tensor<4096x512xf32>,
    %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %zero = arith.constant 0.0 : f32
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<102400x1024xbf16>, tensor<4096x512xi32>)
    outs(%s0 : tensor<4096x512xf32>) -> tensor<4096x512xf32>
  %zeros = linalg.fill ins(%zero : f32) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x512xf32>, tensor<102400x1024xbf16>, tensor<4096x512xi32>)
    outs(%zeros : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}
