// RUN: omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16:64=dense=1e-3:64=token_centric=3e-3:1000=token_centric=2e-3:1000=dense=9e-3,f32-n4096-r1-d512-k16:1=dense=1e-9" | FileCheck %s
// RUN: omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16:1=dense=1e-9 schedule=token_centric" | FileCheck %s --check-prefix=FORCED
// RUN: omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16-gated:1=dense=1e-9" | FileCheck %s --check-prefix=GATED
// RUN: sed 's/chip = "reader"/chip = "sm_90a"/' %s | omni-opt --omnimoe-select-schedule="deterministic=true measured=bf16-n4096-r1-d512-k16:1=hybrid=1e-9" | FileCheck %s --check-prefix=UNAVAILABLE
// RUN: not omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16:1=fast=1e-3" 2>&1 | FileCheck %s --check-prefix=KIND
// RUN: not omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16:0=dense=1e-3" 2>&1 | FileCheck %s --check-prefix=TOKENS
// RUN: not omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16:1=dense=-1" 2>&1 | FileCheck %s --check-prefix=SECONDS
// RUN: not omni-opt %s --omnimoe-select-schedule="measured=bf16-n4096-r1-d512-k16" 2>&1 | FileCheck %s --check-prefix=EMPTY

// This target reads quickly and multiplies slowly, so every token had better
// read its own vectors; measured at 64 tokens it had not. Between 64 and 1,000
// tokens the seconds lie on lines, which cross between 256 and 512; fewer than
// 64 are estimated, and so are blocks of another name.

// CHECK:       omnimoe.schedules = [
// CHECK-SAME:    {block = "bf16-n4096-r1-d512-k16", estimates = {dense = {{.*}}, expert_centric = {{.*}}, token_centric = {{[^}]*}}}, max_tokens = 64 : i64, min_tokens = 0 : i64, schedule = "token_centric", tokens = 1 : i64},
// CHECK-SAME:    {block = "bf16-n4096-r1-d512-k16", {{.*}}max_tokens = 512 : i64, measured = {dense = 1.000000e-03 : f64, token_centric = 3.000000e-03 : f64}, min_tokens = 64 : i64, schedule = "dense", tokens = 64 : i64},
// CHECK-SAME:    {block = "bf16-n4096-r1-d512-k16", {{.*}}max_tokens = -1 : i64, measured = {{.*}}min_tokens = 512 : i64, schedule = "token_centric", tokens = 512 : i64},
// CHECK-SAME:    {block = "bf16-n4096-r1-d512-k16-gated", {{.*}}max_tokens = -1 : i64, min_tokens = 0 : i64, schedule = "token_centric", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @experts(
// CHECK:         arith.cmpi slt, %{{.*}}, %c64
// CHECK:         omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<token_centric
// CHECK:         arith.cmpi slt, %{{.*}}, %c512
// CHECK:         omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<dense
// CHECK:         omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<token_centric
// CHECK-LABEL: func.func private @gated(
// CHECK-NOT:     scf.if

// A schedule that is asked for is taken, whatever was measured.

// FORCED-NOT:  dense
// FORCED:      {block = "bf16-n4096-r1-d512-k16", {{.*}}schedule = "token_centric"
// FORCED-LABEL: func.func @experts(
// FORCED-NOT:  dense

// GATED:       {block = "bf16-n4096-r1-d512-k16", estimates = {{.*}}schedule = "token_centric", tokens = 1024 : i64},
// GATED-SAME:  {block = "bf16-n4096-r1-d512-k16-gated", {{.*}}measured = {dense = {{.*}}}, min_tokens = 0 : i64, schedule = "dense", tokens = 1024 : i64}]

// What this target cannot run says nothing.

// UNAVAILABLE-NOT: measured =
// UNAVAILABLE:     schedule = "token_centric", tokens = 1024 : i64}

// KIND:        error: measured: expected '<block>:<tokens>=<schedule>=<seconds>:...', got 'bf16-n4096-r1-d512-k16:1=fast=1e-3'
// TOKENS:      error: measured: expected {{.*}}, got 'bf16-n4096-r1-d512-k16:0=dense=1e-3'
// SECONDS:     error: measured: expected {{.*}}, got 'bf16-n4096-r1-d512-k16:1=dense=-1'
// EMPTY:       error: measured: expected {{.*}}, got 'bf16-n4096-r1-d512-k16'

#id = affine_map<(d0, d1) -> (d0, d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "reader", features = "", units = 4, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 1000, memoryGbps = 1000>} {
  func.func @experts(%x: tensor<?x512xbf16>, %up: tensor<4096x512xbf16>, %down: tensor<4096x512xbf16>, %e: tensor<?x16xi32>,
      %s0: tensor<?x16xf32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
      outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    return %y : tensor<?x512xf32>
  }

  func.func private @gated(%x: tensor<?x512xbf16>, %gate: tensor<4096x512xbf16>, %up: tensor<4096x512xbf16>, %down: tensor<4096x512xbf16>,
      %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
    %g = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xbf16>, tensor<4096x512xbf16>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%g, %s : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
    ^bb0(%p: f32, %q: f32, %o: f32):
      %m = arith.mulf %p, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x16xf32>
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
      outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    return %y : tensor<?x512xf32>
  }
}
