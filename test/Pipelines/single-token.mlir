// One token, known when compiling: the loop around its only tile goes, in every
// schedule.
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=token_centric" | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=expert_centric" | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-llvm="schedule=dense" | FileCheck %s

// CHECK-NOT: omp.
// CHECK: llvm.func @omnimoe_entry

func.func @experts(%x: tensor<1x512xf32>, %up: tensor<4096x512xf32>, %down: tensor<4096x512xf32>, %w: tensor<1x16xf32>, %e: tensor<1x16xi32>) -> tensor<1x512xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %s0 = tensor.empty() : tensor<1x16xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<1x512xf32>, tensor<4096x512xf32>, tensor<1x16xi32>) outs(%s0 : tensor<1x16xf32>) -> tensor<1x16xf32>
  %a0 = tensor.empty() : tensor<1x16xf32>
  %a = linalg.generic {indexing_maps=[affine_map<(d0,d1)->(d0,d1)>, affine_map<(d0,d1)->(d0,d1)>, affine_map<(d0,d1)->(d0,d1)>], iterator_types=["parallel","parallel"]} ins(%s, %w : tensor<1x16xf32>, tensor<1x16xf32>) outs(%a0 : tensor<1x16xf32>) {
  ^bb0(%v: f32, %g: f32, %o: f32):
    %n = arith.negf %v : f32
    %ex = math.exp %n : f32
    %d = arith.addf %ex, %one : f32
    %q = arith.divf %v, %d : f32
    %r = arith.mulf %q, %g : f32
    linalg.yield %r : f32
  } -> tensor<1x16xf32>
  %y0 = tensor.empty() : tensor<1x512xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<1x512xf32>) -> tensor<1x512xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<1x16xf32>, tensor<4096x512xf32>, tensor<1x16xi32>) outs(%y1 : tensor<1x512xf32>) -> tensor<1x512xf32>
  return %y : tensor<1x512xf32>
}

