// The gradient of wide experts with an odd hidden size and an activation by tanh.
// REQUIRES: ptxas
// RUN: omni-opt %s --omnimoe-differentiate | omni-compile - --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS --implicit-check-not=warning

// CHECK-NOT: .extern
// CHECK-NOT: __nv_
// CHECK: .visible .entry experts_backward_0(
// PTXAS-NOT: {{[1-9][0-9]*}} bytes spill
// PTXAS: Used {{[0-9]+}} registers
// PTXAS-NOT: {{[1-9][0-9]*}} bytes spill

#part = affine_map<(t, k, j) -> (t, k, j)>
#pair = affine_map<(t, k, j) -> (t, k)>
!tokens = tensor<?x33xf16>
!sums = tensor<?x33xf32>
!table = tensor<50x3x33xf16>
!parts = tensor<?x7x3xf32>
!pairs = tensor<?x7xf32>
!ids = tensor<?x7xi32>

func.func @experts(%x: !tokens, %up: !table, %down: !table, %w: !pairs, %e: !ids) -> !sums {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : !tokens
  %s0 = tensor.empty(%T) : !parts
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : !tokens, !table, !ids) outs(%s0 : !parts) -> !parts
  %a = linalg.generic {indexing_maps = [#part, #pair, #part], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%s, %w : !parts, !pairs) outs(%s0 : !parts) {
  ^bb0(%product: f32, %weight: f32, %out: f32):
    %active = math.tanh %product : f32
    %gated = arith.mulf %active, %weight : f32
    linalg.yield %gated : f32
  } -> !parts
  %y0 = tensor.empty(%T) : !sums
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : !sums) -> !sums
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : !parts, !table, !ids) outs(%y1 : !sums) -> !sums
  return %y : !sums
}
