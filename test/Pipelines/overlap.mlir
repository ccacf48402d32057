// The option `overlap` of the pipeline: kernels that wait by themselves.
// RUN: omni-opt %s --omnimoe-to-nvvm | FileCheck %s
// RUN: omni-opt %s --omnimoe-to-nvvm="overlap=false" | FileCheck %s --check-prefix=OFF
// OFF-NOT: omnimoe.overlaps
// OFF-NOT: griddepcontrol

// Nothing is read before the kernel before has ended.
// CHECK-COUNT-2: gpu.launch_func {{.*}} {omnimoe.overlaps}
// CHECK:       .entry
// CHECK-NOT:   ld.global
// CHECK:       griddepcontrol.wait;
// CHECK:       griddepcontrol.launch_dependents;
// CHECK:       .entry
// CHECK-NOT:   ld.global
// CHECK:       griddepcontrol.wait;
// CHECK:       griddepcontrol.launch_dependents;

func.func @choose_and_add(%x: tensor<?x64xf32>, %r: tensor<?x32xf32>, %c: tensor<?x32xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x64xf32>) {
  %c0 = arith.constant 0 : index
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xf32>
  %s0 = tensor.empty(%T) : tensor<?x4xf32>
  %e0 = tensor.empty(%T) : tensor<?x4xi32>
  %s, %e = omnimoe.route ins(%r, %c : tensor<?x32xf32>, tensor<?x32xf32>) outs(%s0, %e0 : tensor<?x4xf32>, tensor<?x4xi32>)
    -> tensor<?x4xf32>, tensor<?x4xi32>
  %y0 = tensor.empty(%T) : tensor<?x64xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
    ins(%x : tensor<?x64xf32>) outs(%y0 : tensor<?x64xf32>) {
  ^bb0(%v: f32, %o: f32):
    %w = arith.addf %v, %one : f32
    linalg.yield %w : f32
  } -> tensor<?x64xf32>
  return %s, %e, %y : tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x64xf32>
}
