// RUN: omni-opt %s --pass-pipeline='builtin.module(omnimoe-attach-target{chip=sm_90a},func.func(omnimoe-tile,canonicalize,cse,omnimoe-fuse-sibling-tiles))' --split-input-file | FileCheck %s
// RUN: omni-opt %s --pass-pipeline='builtin.module(omnimoe-attach-target{chip=host},func.func(omnimoe-tile,canonicalize,cse,omnimoe-fuse-sibling-tiles))' --split-input-file | FileCheck %s --check-prefix=CPU

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Two products of the same rows are computed in one loop, whose tiles are higher
// than those of one product. A CPU has no use for that.
// CHECK-LABEL: func.func @same_rows
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (64) {{.*}} -> (tensor<?xf32>, tensor<?xf32>)
// CHECK-COUNT-2: linalg.matmul
// CHECK-NOT: scf.forall (
// CPU-LABEL: func.func @same_rows
// CPU-COUNT-2: scf.forall (
func.func @same_rows(%x: tensor<?x128xbf16>, %u: tensor<64x128xbf16>, %v: tensor<48x128xbf16>)
    -> (tensor<?xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x128xbf16>
  %p0 = tensor.empty(%T) : tensor<?x64xf32>
  %p = linalg.fill ins(%zero : f32) outs(%p0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %q0 = tensor.empty(%T) : tensor<?x48xf32>
  %q = linalg.fill ins(%zero : f32) outs(%q0 : tensor<?x48xf32>) -> tensor<?x48xf32>
  %z0 = tensor.empty(%T) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%z0 : tensor<?xf32>) -> tensor<?xf32>
  %a = linalg.matmul indexing_maps = #nt ins(%x, %u : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%p : tensor<?x64xf32>) -> tensor<?x64xf32>
  %m = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<?x64xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %o: f32):
    %r = arith.maximumf %i, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %b = linalg.matmul indexing_maps = #nt ins(%x, %v : tensor<?x128xbf16>, tensor<48x128xbf16>) outs(%q : tensor<?x48xf32>) -> tensor<?x48xf32>
  %n = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : tensor<?x48xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %o: f32):
    %r = arith.maximumf %i, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  return %m, %n : tensor<?xf32>, tensor<?xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Other rows are another loop.
// CHECK-LABEL: func.func @other_rows
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (32)
// CHECK: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (32)
func.func @other_rows(%x: tensor<?x128xbf16>, %y: tensor<?x128xbf16>, %u: tensor<64x128xbf16>) -> (tensor<?xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x128xbf16>
  %p0 = tensor.empty(%T) : tensor<?x64xf32>
  %p = linalg.fill ins(%zero : f32) outs(%p0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %z0 = tensor.empty(%T) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%z0 : tensor<?xf32>) -> tensor<?xf32>
  %a = linalg.matmul indexing_maps = #nt ins(%x, %u : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%p : tensor<?x64xf32>) -> tensor<?x64xf32>
  %m = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<?x64xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %o: f32):
    %r = arith.maximumf %i, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %b = linalg.matmul indexing_maps = #nt ins(%y, %u : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%p : tensor<?x64xf32>) -> tensor<?x64xf32>
  %n = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%b : tensor<?x64xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %o: f32):
    %r = arith.maximumf %i, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  return %m, %n : tensor<?xf32>, tensor<?xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// What needs the first before the second starts keeps them apart.
// CHECK-LABEL: func.func @needed_between
// CHECK-COUNT-2: scf.forall (%{{.*}}) = (0) to (%{{.*}}) step (64)
func.func @needed_between(%x: tensor<?x128xbf16>, %u: tensor<64x128xbf16>, %v: tensor<64x128xbf16>) -> (tensor<?xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x128xbf16>
  %p0 = tensor.empty(%T) : tensor<?x64xf32>
  %p = linalg.fill ins(%zero : f32) outs(%p0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %z0 = tensor.empty(%T) : tensor<?xf32>
  %z = linalg.fill ins(%zero : f32) outs(%z0 : tensor<?xf32>) -> tensor<?xf32>
  %a = linalg.matmul indexing_maps = #nt ins(%x, %u : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%p : tensor<?x64xf32>) -> tensor<?x64xf32>
  %m = linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<?x64xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %o: f32):
    %r = arith.maximumf %i, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %b = linalg.matmul indexing_maps = #nt ins(%x, %v : tensor<?x128xbf16>, tensor<64x128xbf16>) outs(%p : tensor<?x64xf32>) -> tensor<?x64xf32>
  %n = linalg.generic {indexing_maps = [#id, #row, #row], iterator_types = ["parallel", "reduction"]} ins(%b, %m : tensor<?x64xf32>, tensor<?xf32>) outs(%z : tensor<?xf32>) {
  ^bb0(%i: f32, %j: f32, %o: f32):
    %d = arith.subf %i, %j : f32
    %r = arith.maximumf %d, %o : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  return %m, %n : tensor<?xf32>, tensor<?xf32>
}
