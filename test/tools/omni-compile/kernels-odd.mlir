// Kernels of wide experts with an odd hidden size, and an activation that is a
// polynomial: nothing may be left for a device library, and all must assemble.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS

// CHECK-NOT: .extern
// CHECK-NOT: __nv_
// CHECK: .visible .entry experts_0(
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads

func.func @experts(%x: tensor<?x33xf16>, %up: tensor<50x3x33xf16>, %down: tensor<50x3x33xf16>, %w: tensor<?x512xf32>, %e: tensor<?x512xi32>) -> tensor<?x33xf16> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x33xf16>
  %s0 = tensor.empty(%T) : tensor<?x512x3xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x33xf16>, tensor<50x3x33xf16>, tensor<?x512xi32>) outs(%s0 : tensor<?x512x3xf32>) -> tensor<?x512x3xf32>
  %a0 = tensor.empty(%T) : tensor<?x512x3xf32>
  %a = linalg.generic {indexing_maps=[affine_map<(d0,d1,d2)->(d0,d1,d2)>, affine_map<(d0,d1,d2)->(d0,d1)>, affine_map<(d0,d1,d2)->(d0,d1,d2)>], iterator_types=["parallel","parallel","parallel"]} ins(%s, %w : tensor<?x512x3xf32>, tensor<?x512xf32>) outs(%a0 : tensor<?x512x3xf32>) {
  ^bb0(%v: f32, %g: f32, %o: f32):
    %n = arith.negf %v : f32
    %ex = math.tanh %n : f32
    %d = arith.addf %ex, %one : f32
    %q = arith.divf %v, %d : f32
    %r = arith.mulf %q, %g : f32
    linalg.yield %r : f32
  } -> tensor<?x512x3xf32>
  %y0 = tensor.empty(%T) : tensor<?x33xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x33xf32>) -> tensor<?x33xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x512x3xf32>, tensor<50x3x33xf16>, tensor<?x512xi32>) outs(%y1 : tensor<?x33xf32>) -> tensor<?x33xf32>
  %z0 = tensor.empty(%T) : tensor<?x33xf16>
  %z = linalg.generic {indexing_maps=[affine_map<(d0,d1)->(d0,d1)>, affine_map<(d0,d1)->(d0,d1)>], iterator_types=["parallel","parallel"]} ins(%y : tensor<?x33xf32>) outs(%z0 : tensor<?x33xf16>) {
  ^bb0(%v: f32, %o: f16):
    %r = arith.truncf %v : f32 to f16
    linalg.yield %r : f16
  } -> tensor<?x33xf16>
  return %z : tensor<?x33xf16>
}

