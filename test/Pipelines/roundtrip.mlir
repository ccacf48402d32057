// Every pass of the pipeline leaves IR that verifies, and what a stage leaves can
// be read back.
// RUN: omni-opt %s --verify-each --verify-roundtrip --omnimoe-to-llvm -o /dev/null
// RUN: omni-opt %s --verify-each --omnimoe-to-llvm="schedule=dense" | omni-opt --verify-roundtrip -o /dev/null
// RUN: omni-opt %s --verify-each --omnimoe-to-llvm="schedule=expert_centric threads=1" | omni-opt --verify-roundtrip -o /dev/null
// RUN: omni-opt %s --verify-each --omnimoe-to-llvm --emit-bytecode | omni-opt --verify-roundtrip -o /dev/null

// The front of the pipeline stage by stage, through text. Its passes need no
// pipeline around them.
// RUN: omni-opt %s --canonicalize --cse --omnimoe-results-to-destinations --omnimoe-accumulate-in-f32 \
// RUN:     --omnimoe-select-schedule="schedule=expert_centric threads=2" --omnimoe-verify-stage="stage=schedule" \
// RUN:   | omni-opt --verify-roundtrip --omnimoe-tile="threads=2" --canonicalize --cse --omnimoe-verify-stage="stage=tile" \
// RUN:   | omni-opt --verify-roundtrip --omnimoe-expert-centric-reorder --omnimoe-transpose-activations --canonicalize --cse \
// RUN:   | omni-opt --verify-roundtrip \
// RUN:     --one-shot-bufferize="bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map" \
// RUN:     --canonicalize --cse --omnimoe-verify-stage="stage=bufferize" --omnimoe-plan-workspace \
// RUN:   | omni-opt --verify-roundtrip --convert-omnimoe-to-vector --convert-linalg-to-vector --omnimoe-verify-stage="stage=vector" \
// RUN:   | omni-opt --verify-roundtrip | FileCheck %s

// CHECK: func.func @omnimoe_workspace_size(
// CHECK: func.func @experts(
// CHECK:   scf.forall
// CHECK:     vector.fma

#id = affine_map<(d0, d1) -> (d0, d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "x86-64", features = "", units = 6, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 1000, memoryGbps = 1000>} {
  func.func @experts(%rows: tensor<?x32xf32>, %cols: tensor<?x32xf32>, %x: tensor<?x64xf32>, %up: tensor<1024x64xf32>, %down: tensor<1024x64xf32>)
      -> tensor<?x64xf32> {
    %c0 = arith.constant 0 : index
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %T = tensor.dim %x, %c0 : tensor<?x64xf32>
    %g0 = tensor.empty(%T) : tensor<?x8xf32>
    %e0 = tensor.empty(%T) : tensor<?x8xi32>
    %g, %e = omnimoe.route ins(%rows, %cols : tensor<?x32xf32>, tensor<?x32xf32>) outs(%g0, %e0 : tensor<?x8xf32>, tensor<?x8xi32>)
      -> tensor<?x8xf32>, tensor<?x8xi32>
    %s0 = tensor.empty(%T) : tensor<?x8xf32>
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x64xf32>, tensor<1024x64xf32>, tensor<?x8xi32>)
      outs(%s0 : tensor<?x8xf32>) -> tensor<?x8xf32>
    %a0 = tensor.empty(%T) : tensor<?x8xf32>
    %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%s, %g : tensor<?x8xf32>, tensor<?x8xf32>) outs(%a0 : tensor<?x8xf32>) {
    ^bb0(%p: f32, %q: f32, %o: f32):
      %n = arith.negf %p : f32
      %x1 = math.exp %n : f32
      %d = arith.addf %x1, %one : f32
      %silu = arith.divf %p, %d : f32
      %m = arith.mulf %silu, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x8xf32>
    %y0 = tensor.empty(%T) : tensor<?x64xf32>
    %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x8xf32>, tensor<1024x64xf32>, tensor<?x8xi32>)
      outs(%y1 : tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}
