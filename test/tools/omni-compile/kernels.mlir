// The kernels of a program as PTX, which must assemble without spills, and as a
// cubin.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.by-hand.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS
// RUN: omni-compile %s --target=sm_90a -o %t.cubin
// RUN: test -s %t.cubin
// RUN: omni-compile %s --target=sm_90a -o %t.omni
// RUN: FileCheck %s --check-prefix=OMNI --input-file=%t.omni
// RUN: not omni-compile %s --target=sm_90a -o %t.o 2>&1 | FileCheck %s --check-prefix=ENDING
// RUN: not omni-compile %s --target=sm_1 -o %t.ptx 2>&1 | FileCheck %s --check-prefix=CHIP

// Expert vectors travel in 16-byte accesses.
// A program file holds the host's code, which counts the kernels, and the PTX.
// OMNI: "kernels":["experts_0"]
// OMNI-SAME: "target":"sm_90a"
// OMNI: {{omnimoe_gpu_launc[h]}}
// OMNI: {{[.]entry experts_[0]}}

// PTX: .target sm_90a
// PTX: .visible .entry experts_0(
// PTX: .shared .align 16
// PTX: ld.global.v4.b32
// PTX: shfl.sync.bfly
// PTX: ex2.approx.ftz.f32

// PTXAS-NOT: warning
// PTXAS: Compiling entry function 'experts_0' for 'sm_90a'
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads

// ENDING: -o: expected a file ending in .ptx, .cubin, .omni for target sm_90a, got
// CHIP: --target: expected cpu or sm_90a, got sm_1

#pair = affine_map<(t, k) -> (t, k)>
!tokens = tensor<?x1024xbf16>
!table = tensor<4096x1024xbf16>
!pairs = tensor<?x17xf32>
!ids = tensor<?x17xi32>
!sums = tensor<?x1024xf32>

func.func @experts(%x: !tokens, %up: !table, %down: !table, %g: !pairs, %experts: !ids) -> !tokens {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : !tokens
  %s0 = tensor.empty(%T) : !pairs
  %s = omnimoe.grouped_matmul ins(%x, %up, %experts : !tokens, !table, !ids) outs(%s0 : !pairs) -> !pairs
  %a = linalg.generic {indexing_maps = [#pair, #pair, #pair], iterator_types = ["parallel", "parallel"]}
      ins(%s, %g : !pairs, !pairs) outs(%s0 : !pairs) {
  ^bb0(%product: f32, %weight: f32, %out: f32):
    %n = arith.negf %product : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %q = arith.divf %product, %d : f32
    %r = arith.mulf %q, %weight : f32
    linalg.yield %r : f32
  } -> !pairs
  %y0 = tensor.empty(%T) : !sums
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : !sums) -> !sums
  %y2 = omnimoe.combine to_tokens ins(%a, %down, %experts : !pairs, !table, !ids) outs(%y1 : !sums) -> !sums
  %z0 = tensor.empty(%T) : !tokens
  %z = linalg.generic {indexing_maps = [#pair, #pair], iterator_types = ["parallel", "parallel"]}
      ins(%y2 : !sums) outs(%z0 : !tokens) {
  ^bb0(%sum: f32, %out: bf16):
    %r = arith.truncf %sum : f32 to bf16
    linalg.yield %r : bf16
  } -> !tokens
  return %z : !tokens
}
