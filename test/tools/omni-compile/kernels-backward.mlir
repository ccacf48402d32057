// The gradient of routed experts, by which all four of the dialect's operations
// are met: sums to experts, the router's sums by position and the element-wise
// operations must assemble without spills or calls of a device library.
// REQUIRES: ptxas
// RUN: omni-opt %s --omnimoe-differentiate=save=true -o %t.mlir
// RUN: omni-compile %t.mlir --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS --implicit-check-not=warning

// Nothing is added in memory that several blocks share.
// CHECK-NOT: .extern
// CHECK-NOT: __nv_
// CHECK-NOT: atom.global
// CHECK-NOT: red.global
// CHECK: .visible .entry routed_backward_dispatch0_scatter0(
// CHECK-NOT: .extern
// CHECK-NOT: __nv_
// CHECK-NOT: atom.global
// CHECK-NOT: red.global

// PTXAS-DAG: Compiling entry function 'routed_backward_0' for 'sm_90a'
// PTXAS-DAG: Compiling entry function 'routed_backward_dispatch0_slots' for 'sm_90a'
// PTXAS-NOT: {{[1-9][0-9]*}} bytes spill

#pair = affine_map<(t, k) -> (t, k)>
!tokens = tensor<?x1024xbf16>
!sums = tensor<?x1024xf32>
!table = tensor<4096x1024xbf16>
!logits = tensor<?x64xf32>
!pairs = tensor<?x16xf32>
!ids = tensor<?x16xi32>

func.func @routed(%x: !tokens, %up: !table, %down: !table, %rows: !logits, %columns: !logits) -> !tokens {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : !tokens
  %n0 = tensor.empty(%T) : !pairs
  %e0 = tensor.empty(%T) : !ids
  %n, %e = omnimoe.route ins(%rows, %columns : !logits, !logits) outs(%n0, %e0 : !pairs, !ids) -> !pairs, !ids
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : !tokens, !table, !ids) outs(%n0 : !pairs) -> !pairs
  %a = linalg.generic {indexing_maps = [#pair, #pair, #pair], iterator_types = ["parallel", "parallel"]}
      ins(%s, %n : !pairs, !pairs) outs(%n0 : !pairs) {
  ^bb0(%product: f32, %score: f32, %out: f32):
    %weight = math.exp %score : f32
    %minus = arith.negf %product : f32
    %power = math.exp %minus : f32
    %below = arith.addf %power, %one : f32
    %active = arith.divf %product, %below : f32
    %gated = arith.mulf %active, %weight : f32
    linalg.yield %gated : f32
  } -> !pairs
  %y0 = tensor.empty(%T) : !sums
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : !sums) -> !sums
  %y2 = omnimoe.combine to_tokens ins(%a, %down, %e : !pairs, !table, !ids) outs(%y1 : !sums) -> !sums
  %z0 = tensor.empty(%T) : !tokens
  %z = linalg.generic {indexing_maps = [#pair, #pair], iterator_types = ["parallel", "parallel"]}
      ins(%y2 : !sums) outs(%z0 : !tokens) {
  ^bb0(%sum: f32, %out: bf16):
    %r = arith.truncf %sum : f32 to bf16
    linalg.yield %r : bf16
  } -> !tokens
  return %z : !tokens
}
