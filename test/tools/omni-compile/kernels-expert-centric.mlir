// Experts as dense products of slots: kernels must assemble without spills, and
// without a remark that wgmma is serialised or registers do not change hands.
// A group of more than 256 experts is cut into two products; one of 50 is filled
// up to 64 columns; 64 elements of a token are a single step; the loops over a few
// steps stay loops.
// REQUIRES: ptxas
// RUN: split-file %s %t
// RUN: omni-compile %t/two_parts.mlir --target=sm_90a -o %t/two_parts.ptx
// RUN: ptxas -v -arch=sm_90a %t/two_parts.ptx -o %t/two_parts.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/one_step.mlir --target=sm_90a -o %t/one_step.ptx
// RUN: ptxas -v -arch=sm_90a %t/one_step.ptx -o %t/one_step.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/odd_steps.mlir --target=sm_90a -o %t/odd_steps.ptx
// RUN: ptxas -v -arch=sm_90a %t/odd_steps.ptx -o %t/odd_steps.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning
// RUN: omni-compile %t/few_steps.mlir --target=sm_90a -o %t/few_steps.ptx
// RUN: ptxas -v -arch=sm_90a %t/few_steps.ptx -o %t/few_steps.cubin 2>&1 | FileCheck %s --implicit-check-not=C75 --implicit-check-not=warning

// CHECK-NOT: {{[1-9][0-9]*}} bytes spill
// CHECK: Compiling entry function '{{.*}}_experts0' for 'sm_90a'
// CHECK: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// CHECK-NOT: {{[1-9][0-9]*}} bytes spill

//--- two_parts.mlir
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @two_parts(%x: tensor<?x1024xbf16>, %up: tensor<102400x1024xbf16>, %down: tensor<102400x1024xbf16>, %g: tensor<?x512xf32>, %e: tensor<?x512xi32>) -> tensor<?x1024xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x1024xbf16>
  %s0 = tensor.empty(%T) : tensor<?x512xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<102400x1024xbf16>, tensor<?x512xi32>) outs(%s0 : tensor<?x512xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 320>} -> tensor<?x512xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x512xf32>, tensor<?x512xf32>) outs(%s0 : tensor<?x512xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x512xf32>
  %y0 = tensor.empty(%T) : tensor<?x1024xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x512xf32>, tensor<102400x1024xbf16>, tensor<?x512xi32>) outs(%y1 : tensor<?x1024xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 320>} -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

//--- one_step.mlir
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @one_step(%x: tensor<?x64xf16>, %up: tensor<600x64xf16>, %down: tensor<600x64xf16>, %g: tensor<?x6xf32>, %e: tensor<?x6xi32>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xf16>
  %s0 = tensor.empty(%T) : tensor<?x6xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x64xf16>, tensor<600x64xf16>, tensor<?x6xi32>) outs(%s0 : tensor<?x6xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 50>} -> tensor<?x6xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x6xf32>, tensor<?x6xf32>) outs(%s0 : tensor<?x6xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x6xf32>
  %y0 = tensor.empty(%T) : tensor<?x64xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x6xf32>, tensor<600x64xf16>, tensor<?x6xi32>) outs(%y1 : tensor<?x64xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 50>} -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

//--- odd_steps.mlir
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @odd_steps(%x: tensor<?x320xbf16>, %up: tensor<1024x320xbf16>, %down: tensor<1024x320xbf16>, %g: tensor<?x9xf32>, %e: tensor<?x9xi32>) -> tensor<?x320xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x320xbf16>
  %s0 = tensor.empty(%T) : tensor<?x9xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x320xbf16>, tensor<1024x320xbf16>, tensor<?x9xi32>) outs(%s0 : tensor<?x9xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 128>} -> tensor<?x9xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x9xf32>, tensor<?x9xf32>) outs(%s0 : tensor<?x9xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x9xf32>
  %y0 = tensor.empty(%T) : tensor<?x320xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x320xf32>) -> tensor<?x320xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x9xf32>, tensor<1024x320xbf16>, tensor<?x9xi32>) outs(%y1 : tensor<?x320xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 128>} -> tensor<?x320xf32>
  return %y : tensor<?x320xf32>
}

//--- few_steps.mlir
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @few_steps(%x: tensor<?x256xbf16>, %up: tensor<120000x256xbf16>, %down: tensor<120000x256xbf16>, %g: tensor<?x33xf32>, %e: tensor<?x33xi32>) -> tensor<?x256xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x256xbf16>
  %s0 = tensor.empty(%T) : tensor<?x33xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x256xbf16>, tensor<120000x256xbf16>, tensor<?x33xi32>) outs(%s0 : tensor<?x33xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 300>} -> tensor<?x33xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g : tensor<?x33xf32>, tensor<?x33xf32>) outs(%s0 : tensor<?x33xf32>) {
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  } -> tensor<?x33xf32>
  %y0 = tensor.empty(%T) : tensor<?x256xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x256xf32>) -> tensor<?x256xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x33xf32>, tensor<120000x256xbf16>, tensor<?x33xi32>) outs(%y1 : tensor<?x256xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 300>} -> tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}
