// Few tokens: the kernels of a program whose pairs are split, one per version.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS
// RUN: FileCheck %s --input-file=%t.ptx

// All vectors of 16 pairs are on their way before the first barrier: each warp
// has 4 pairs of 4 pieces, each thread a piece of 16 vectors, and x has 4.
// CHECK: .visible .entry decode_0(
// CHECK-COUNT-36: ld.global.v4.b32
// CHECK-NOT: ld.global.v4
// CHECK: bar.sync
// CHECK: st.global.v4.b32
// CHECK: .visible .entry decode_1(

// PTXAS-NOT: warning
// PTXAS-DAG: Compiling entry function 'decode_0' for 'sm_90a'
// PTXAS-DAG: Compiling entry function 'decode_1' for 'sm_90a'
// PTXAS-NOT: {{[1-9][0-9]*}} bytes spill

#pair = affine_map<(t, k) -> (t, k)>
!tokens = tensor<?x1024xbf16>
!table = tensor<4096x1024xbf16>
!pairs = tensor<?x512xf32>
!ids = tensor<?x512xi32>
!sums = tensor<?x1024xf32>

func.func @decode(%x: !tokens, %up: !table, %down: !table, %experts: !ids) -> !tokens {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : !tokens
  %s0 = tensor.empty(%T) : !pairs
  %s = omnimoe.grouped_matmul ins(%x, %up, %experts : !tokens, !table, !ids) outs(%s0 : !pairs) -> !pairs
  %y0 = tensor.empty(%T) : !sums
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : !sums) -> !sums
  %y2 = omnimoe.combine to_tokens ins(%s, %down, %experts : !pairs, !table, !ids) outs(%y1 : !sums) -> !sums
  %z0 = tensor.empty(%T) : !tokens
  %z = linalg.generic {indexing_maps = [#pair, #pair], iterator_types = ["parallel", "parallel"]}
      ins(%y2 : !sums) outs(%z0 : !tokens) {
  ^bb0(%sum: f32, %out: bf16):
    %r = arith.truncf %sum : f32 to bf16
    linalg.yield %r : bf16
  } -> !tokens
  return %z : !tokens
}
