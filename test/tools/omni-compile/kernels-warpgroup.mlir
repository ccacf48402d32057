// Dense products by warpgroups: the kernels of a SwiGLU MLP must assemble without
// spills, and without a remark that wgmma is serialised.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --check-prefix=PTX --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS --implicit-check-not=C75 --implicit-check-not=warning

// The maps of x, gate and up are parameters by value.
// PTX: .param .align 64 .b8 [[KERNEL:.*]]_param_0[128]
// PTX: .reqntid 384, 1, 1
// PTX-DAG: setmaxnreg.inc
// PTX-DAG: cp.async.bulk.tensor
// PTX-DAG: wgmma.mma_async

// PTXAS-COUNT-4: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads

#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d1, d2)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1) -> (d0, d1)>
module {
  func.func @main(%arg0: tensor<?x1024xbf16> {omnimoe.name = "x"}, %arg1: tensor<4096x1024xbf16> {omnimoe.name = "g"}, %arg2: tensor<4096x1024xbf16> {omnimoe.name = "u"}, %arg3: tensor<1024x4096xbf16> {omnimoe.name = "d"}) -> tensor<?x1024xbf16> {
    %c0 = arith.constant 0 : index
    %dim = tensor.dim %arg0, %c0 : tensor<?x1024xbf16>
    %cst = arith.constant 0.000000e+00 : f32
    %cst_0 = arith.constant 1.000000e+00 : f32
    %0 = tensor.empty(%dim) : tensor<?x4096xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %2 = linalg.matmul indexing_maps = [#map, #map1, #map2] ins(%arg0, %arg1 : tensor<?x1024xbf16>, tensor<4096x1024xbf16>) outs(%1 : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %3 = tensor.empty(%dim) : tensor<?x4096xf32>
    %4 = linalg.fill ins(%cst : f32) outs(%3 : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %5 = linalg.matmul indexing_maps = [#map, #map1, #map2] ins(%arg0, %arg2 : tensor<?x1024xbf16>, tensor<4096x1024xbf16>) outs(%4 : tensor<?x4096xf32>) -> tensor<?x4096xf32>
    %6 = tensor.empty(%dim) : tensor<?x4096xf32>
    %7 = linalg.generic {indexing_maps = [#map3, #map3, #map3], iterator_types = ["parallel", "parallel"]} ins(%2, %5 : tensor<?x4096xf32>, tensor<?x4096xf32>) outs(%6 : tensor<?x4096xf32>) {
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %13 = arith.negf %in : f32
      %14 = math.exp %13 : f32
      %15 = arith.addf %cst_0, %14 : f32
      %16 = arith.divf %in, %15 : f32
      %17 = arith.mulf %16, %in_1 : f32
      linalg.yield %17 : f32
    } -> tensor<?x4096xf32>
    %8 = tensor.empty(%dim) : tensor<?x1024xf32>
    %9 = linalg.fill ins(%cst : f32) outs(%8 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
    %10 = linalg.matmul indexing_maps = [#map, #map1, #map2] ins(%7, %arg3 : tensor<?x4096xf32>, tensor<1024x4096xbf16>) outs(%9 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
    %11 = tensor.empty(%dim) : tensor<?x1024xbf16>
    %12 = linalg.generic {indexing_maps = [#map3, #map3], iterator_types = ["parallel", "parallel"]} ins(%10 : tensor<?x1024xf32>) outs(%11 : tensor<?x1024xbf16>) {
    ^bb0(%in: f32, %out: bf16):
      %13 = arith.truncf %in : f32 to bf16
      linalg.yield %13 : bf16
    } -> tensor<?x1024xbf16>
    return %12 : tensor<?x1024xbf16>
  }
}
