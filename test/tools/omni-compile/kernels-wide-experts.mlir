// Wide experts as products of pairs: kernels must assemble without spills, and
// without a remark that wgmma is serialised or registers do not change hands.
// 256 columns are the most of a product: all of an expert, or with a gate both halves
// of a pass, of which a tile has two. Coefficients of the first pass must not wait for
// the second as products, which a cheap payload tempts the assembler to. 300 vectors
// of few experts are cut into three tiles of which the last is not full; 5 are filled
// up to 16.
// REQUIRES: ptxas
// RUN: split-file %s %t
// RUN: omni-compile %t/gated.mlir --target=sm_90a -o %t/gated.ptx
// RUN: ptxas -v -arch=sm_90a %t/gated.ptx -o %t/gated.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/one_product.mlir --target=sm_90a -o %t/one_product.ptx
// RUN: ptxas -v -arch=sm_90a %t/one_product.ptx -o %t/one_product.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/chunks.mlir --target=sm_90a -o %t/chunks.ptx
// RUN: ptxas -v -arch=sm_90a %t/chunks.ptx -o %t/chunks.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/narrow.mlir --target=sm_90a -o %t/narrow.ptx
// RUN: ptxas -v -arch=sm_90a %t/narrow.ptx -o %t/narrow.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/cheap.mlir --target=sm_90a -o %t/cheap.ptx
// RUN: ptxas -v -arch=sm_90a %t/cheap.ptx -o %t/cheap.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning

// CHECK-NOT: {{[1-9][0-9]*}} bytes spill
// CHECK: Compiling entry function '{{.*}}_experts0' for 'sm_90a'
// CHECK: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// CHECK-NOT: {{[1-9][0-9]*}} bytes spill

//--- gated.mlir
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @gated(%x: tensor<?x1024xbf16>, %gate: tensor<256x256x1024xbf16>, %up: tensor<256x256x1024xbf16>, %down: tensor<256x256x1024xbf16>, %g: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> tensor<?x1024xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x1024xbf16>
  %s0 = tensor.empty(%T) : tensor<?x4x256xf32>
  %h = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x1024xbf16>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x4x256xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x4x256xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #pair, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%h, %s, %g : tensor<?x4x256xf32>, tensor<?x4x256xf32>, tensor<?x4xf32>) outs(%s0 : tensor<?x4x256xf32>) {
  ^bb0(%in: f32, %other: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %k = arith.mulf %q, %other : f32
    %m = arith.mulf %k, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x4x256xf32>
  %y0 = tensor.empty(%T) : tensor<?x1024xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x4x256xf32>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%y1 : tensor<?x1024xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

//--- one_product.mlir
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @one_product(%x: tensor<?x1024xf16>, %up: tensor<256x256x1024xf16>, %down: tensor<256x256x1024xf16>, %g: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> tensor<?x1024xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x1024xf16>
  %s0 = tensor.empty(%T) : tensor<?x4x256xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xf16>, tensor<256x256x1024xf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x4x256xf32>
  %a = linalg.generic {indexing_maps = [#id, #pair, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%s, %g : tensor<?x4x256xf32>, tensor<?x4xf32>) outs(%s0 : tensor<?x4x256xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x4x256xf32>
  %y0 = tensor.empty(%T) : tensor<?x1024xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x4x256xf32>, tensor<256x256x1024xf16>, tensor<?x4xi32>) outs(%y1 : tensor<?x1024xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

//--- chunks.mlir
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @chunks(%x: tensor<?x320xbf16>, %gate: tensor<40x300x320xbf16>, %up: tensor<40x300x320xbf16>, %down: tensor<40x300x320xbf16>, %g: tensor<?x3xf32>, %e: tensor<?x3xi32>) -> tensor<?x320xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x320xbf16>
  %s0 = tensor.empty(%T) : tensor<?x3x300xf32>
  %h = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x320xbf16>, tensor<40x300x320xbf16>, tensor<?x3xi32>) outs(%s0 : tensor<?x3x300xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x3x300xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x320xbf16>, tensor<40x300x320xbf16>, tensor<?x3xi32>) outs(%s0 : tensor<?x3x300xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x3x300xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #pair, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%h, %s, %g : tensor<?x3x300xf32>, tensor<?x3x300xf32>, tensor<?x3xf32>) outs(%s0 : tensor<?x3x300xf32>) {
  ^bb0(%in: f32, %other: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %k = arith.mulf %q, %other : f32
    %m = arith.mulf %k, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x3x300xf32>
  %y0 = tensor.empty(%T) : tensor<?x320xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x320xf32>) -> tensor<?x320xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x3x300xf32>, tensor<40x300x320xbf16>, tensor<?x3xi32>) outs(%y1 : tensor<?x320xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x320xf32>
  return %y : tensor<?x320xf32>
}

//--- narrow.mlir
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @narrow(%x: tensor<?x64xf16>, %up: tensor<100x5x64xf16>, %down: tensor<100x5x64xf16>, %g: tensor<?x8xf32>, %e: tensor<?x8xi32>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xf16>
  %s0 = tensor.empty(%T) : tensor<?x8x5xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x64xf16>, tensor<100x5x64xf16>, tensor<?x8xi32>) outs(%s0 : tensor<?x8x5xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x8x5xf32>
  %a = linalg.generic {indexing_maps = [#id, #pair, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%s, %g : tensor<?x8x5xf32>, tensor<?x8xf32>) outs(%s0 : tensor<?x8x5xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x8x5xf32>
  %y0 = tensor.empty(%T) : tensor<?x64xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x8x5xf32>, tensor<100x5x64xf16>, tensor<?x8xi32>) outs(%y1 : tensor<?x64xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

//--- cheap.mlir
#id = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @cheap(%x: tensor<?x1024xbf16>, %gate: tensor<256x256x1024xbf16>, %up: tensor<256x256x1024xbf16>, %down: tensor<256x256x1024xbf16>, %g: tensor<?x4xf32>, %e: tensor<?x4xi32>) -> tensor<?x1024xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x1024xbf16>
  %s0 = tensor.empty(%T) : tensor<?x4x256xf32>
  %h = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x1024xbf16>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x4x256xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%s0 : tensor<?x4x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x4x256xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #pair, #id], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%h, %s, %g : tensor<?x4x256xf32>, tensor<?x4x256xf32>, tensor<?x4xf32>) outs(%s0 : tensor<?x4x256xf32>) {
  ^bb0(%in: f32, %other: f32, %weight: f32, %out: f32):
    %q = arith.maximumf %in, %zero : f32
    %k = arith.mulf %q, %other : f32
    %m = arith.mulf %k, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x4x256xf32>
  %y0 = tensor.empty(%T) : tensor<?x1024xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x4x256xf32>, tensor<256x256x1024xbf16>, tensor<?x4xi32>) outs(%y1 : tensor<?x1024xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}
