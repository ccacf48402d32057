// Products of gathered rows: the producer's registers must do, without spills, and
// without a remark that wgmma is serialised.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS --implicit-check-not=C75 --implicit-check-not=warning

// Rows are gathered for SwiGLU in its kernel: of few rows in a kernel before.
// PTX-DAG: setmaxnreg.dec.sync.aligned.u32 {{.*}}40
// PTX-DAG: setmaxnreg.inc.sync.aligned.u32 {{.*}}232
// PTX-DAG: cp.async.cg.shared.global [{{.*}}], [{{.*}}], 16, %r
// PTX-DAG: cp.async.mbarrier.arrive.noinc

// PTXAS-COUNT-3: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: Compiling entry function

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
module {
  func.func @main(%rows: tensor<?xi32>, %x: tensor<5000x1000xbf16>, %g: tensor<4096x1000xbf16>, %u: tensor<4096x1000xbf16>) -> tensor<?x4096xbf16> {
    %c0 = arith.constant 0 : index
    %count = arith.constant 5000 : index
    %none = arith.constant 0.0 : bf16
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %T = tensor.dim %rows, %c0 : tensor<?xi32>
    %a0 = tensor.empty(%T) : tensor<?x1000xbf16>
    %a = linalg.generic {indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}
        ins(%rows : tensor<?xi32>) outs(%a0 : tensor<?x1000xbf16>) {
    ^bb0(%index: i32, %out: bf16):
      %i = arith.index_cast %index : i32 to index
      %inside = arith.cmpi ult, %i, %count : index
      %r = arith.select %inside, %i, %c0 : index
      %c = linalg.index 1 : index
      %v = tensor.extract %x[%r, %c] : tensor<5000x1000xbf16>
      %e = arith.select %inside, %v, %none : bf16
      linalg.yield %e : bf16
    } -> tensor<?x1000xbf16>
    %s0 = tensor.empty(%T) : tensor<?x4096xf32>
    %s = linalg.fill ins(%zero : f32) outs(%s0 : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %p = linalg.matmul indexing_maps = #nt ins(%a, %g : tensor<?x1000xbf16>, tensor<4096x1000xbf16>) outs(%s : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %q = linalg.matmul indexing_maps = #nt ins(%a, %u : tensor<?x1000xbf16>, tensor<4096x1000xbf16>) outs(%s : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %h0 = tensor.empty(%T) : tensor<?x4096xbf16>
    %h = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
        ins(%p, %q : tensor<?x4096xf32>, tensor<?x4096xf32>) outs(%h0 : tensor<?x4096xbf16>) {
    ^bb0(%d: f32, %f: f32, %out: bf16):
      %n = arith.negf %d : f32
      %e = math.exp %n : f32
      %b = arith.addf %e, %one : f32
      %w = arith.divf %d, %b : f32
      %m = arith.mulf %w, %f : f32
      %t = arith.truncf %m : f32 to bf16
      linalg.yield %t : bf16
    } -> tensor<?x4096xbf16>
    return %h : tensor<?x4096xbf16>
  }
}
