// Dense products as PTX, which must assemble without spills: SwiGLU with bf16
// matrices on tensor cores, and a product of f32 followed by a softmax.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS

// PTX-DAG: cp.async.cg.shared.global [%{{.*}}], [%{{.*}}], 16, %{{.*}};
// PTX-DAG: ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX-DAG: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// PTX-DAG: fma.rn.f32
// PTX-DAG: shfl.sync.bfly
// PTX-DAG: st.global.v4.b32

// PTXAS-NOT: warning
// PTXAS-COUNT-4: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#column = affine_map<(d0, d1) -> (d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

func.func @layer(%x: tensor<?x264xbf16>, %gate: tensor<200x264xbf16>, %up: tensor<200x264xbf16>, %down: tensor<264x200xbf16>,
                 %v: tensor<?x36xf32>, %w: tensor<68x36xf32>, %mean: tensor<68xf32>, %variance: tensor<68xf32>)
    -> (tensor<?x264xbf16>, tensor<?x68xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x264xbf16>
  %e = tensor.empty(%T) : tensor<?x200xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x200xf32>) -> tensor<?x200xf32>
  %p = linalg.matmul indexing_maps = #nt ins(%x, %gate : tensor<?x264xbf16>, tensor<200x264xbf16>) outs(%f : tensor<?x200xf32>) -> tensor<?x200xf32>
  %q = linalg.matmul indexing_maps = #nt ins(%x, %up : tensor<?x264xbf16>, tensor<200x264xbf16>) outs(%f : tensor<?x200xf32>) -> tensor<?x200xf32>
  %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%p, %q : tensor<?x200xf32>, tensor<?x200xf32>) outs(%e : tensor<?x200xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %n = arith.negf %a : f32
    %x1 = math.exp %n : f32
    %d = arith.addf %x1, %one : f32
    %silu = arith.divf %a, %d : f32
    %m = arith.mulf %silu, %b : f32
    linalg.yield %m : f32
  } -> tensor<?x200xf32>
  %y0 = tensor.empty(%T) : tensor<?x264xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x264xf32>) -> tensor<?x264xf32>
  %y2 = linalg.matmul indexing_maps = #nt ins(%h, %down : tensor<?x200xf32>, tensor<264x200xbf16>) outs(%y1 : tensor<?x264xf32>) -> tensor<?x264xf32>
  %y3 = tensor.empty(%T) : tensor<?x264xbf16>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%y2 : tensor<?x264xf32>) outs(%y3 : tensor<?x264xbf16>) {
  ^bb0(%in: f32, %out: bf16):
    %r = arith.truncf %in : f32 to bf16
    linalg.yield %r : bf16
  } -> tensor<?x264xbf16>

  %l0 = tensor.empty(%T) : tensor<?x68xf32>
  %l1 = linalg.fill ins(%zero : f32) outs(%l0 : tensor<?x68xf32>) -> tensor<?x68xf32>
  %l2 = linalg.matmul indexing_maps = #nt ins(%v, %w : tensor<?x36xf32>, tensor<68x36xf32>) outs(%l1 : tensor<?x68xf32>) -> tensor<?x68xf32>
  %l = linalg.generic {indexing_maps = [#id, #column, #column, #id], iterator_types = ["parallel", "parallel"]}
      ins(%l2, %mean, %variance : tensor<?x68xf32>, tensor<68xf32>, tensor<68xf32>) outs(%l0 : tensor<?x68xf32>) {
  ^bb0(%in: f32, %m: f32, %s: f32, %out: f32):
    %a = arith.subf %in, %m : f32
    %b = math.sqrt %s : f32
    %c = arith.divf %a, %b : f32
    linalg.yield %c : f32
  } -> tensor<?x68xf32>
  %s0 = tensor.empty(%T) : tensor<?xf32>
  %s1 = linalg.fill ins(%zero : f32) outs(%s0 : tensor<?xf32>) -> tensor<?xf32>
  %s = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
      ins(%l : tensor<?x68xf32>) outs(%s1 : tensor<?xf32>) {
  ^bb0(%in: f32, %out: f32):
    %a = math.exp %in : f32
    %b = arith.addf %a, %out : f32
    linalg.yield %b : f32
  } -> tensor<?xf32>
  %z = linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
      ins(%l, %s : tensor<?x68xf32>, tensor<?xf32>) outs(%l0 : tensor<?x68xf32>) {
  ^bb0(%in: f32, %sum: f32, %out: f32):
    %a = math.log %sum : f32
    %b = arith.subf %in, %a : f32
    linalg.yield %b : f32
  } -> tensor<?x68xf32>
  return %y, %z : tensor<?x264xbf16>, tensor<?x68xf32>
}
