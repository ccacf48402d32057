// RUN: omni-opt %s --pass-pipeline='builtin.module(func.func(omnimoe-fuse-elementwise))' --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// The rounding of a sum stays with it where a product's tile will read it; what
// else follows the product is one operation.
// CHECK-LABEL: func.func @sum_meets_product
// CHECK: %[[Y:.*]] = omnimoe.combine
// CHECK: %[[N:.*]] = linalg.generic {{.*}} ins(%[[Y]] : tensor<?x16xf32>)
// CHECK-NEXT: ^bb0
// CHECK-NEXT: arith.truncf
// CHECK-NEXT: linalg.yield
// CHECK: %[[M:.*]] = linalg.matmul
// CHECK: linalg.generic {{.*}} ins(%[[M]], %[[N]] : tensor<?x16xf32>, tensor<?x16xbf16>)
// CHECK: arith.extf
// CHECK: arith.addf
// CHECK: arith.truncf
// CHECK-NOT: linalg.generic
func.func @sum_meets_product(%c: tensor<?x4xf32>, %v: tensor<64x16xbf16>, %e: tensor<?x4xi32>, %x: tensor<?x8xbf16>, %w: tensor<16x8xbf16>,
                             %f: tensor<?x16xf32>, %b: tensor<?x16xbf16>) -> tensor<?x16xbf16> {
  %y = omnimoe.combine to_tokens ins(%c, %v, %e : tensor<?x4xf32>, tensor<64x16xbf16>, tensor<?x4xi32>) outs(%f : tensor<?x16xf32>) -> tensor<?x16xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : tensor<?x16xf32>) outs(%b : tensor<?x16xbf16>) {
  ^bb0(%i: f32, %o: bf16):
    %t = arith.truncf %i : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  %m = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x8xbf16>, tensor<16x8xbf16>) outs(%f : tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%m, %n : tensor<?x16xf32>, tensor<?x16xbf16>) outs(%f : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: bf16, %o: f32):
    %l = arith.extf %q : bf16 to f32
    %s = arith.addf %p, %l : f32
    linalg.yield %s : f32
  } -> tensor<?x16xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%a : tensor<?x16xf32>) outs(%b : tensor<?x16xbf16>) {
  ^bb0(%i: f32, %o: bf16):
    %t = arith.truncf %i : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  return %r : tensor<?x16xbf16>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>

// Without a product there is one operation behind the sum.
// CHECK-LABEL: func.func @sum_alone
// CHECK: %[[Y:.*]] = omnimoe.combine
// CHECK: linalg.generic {{.*}} ins(%[[Y]], %{{.*}} : tensor<?x16xf32>, tensor<?x16xf32>)
// CHECK-NOT: linalg.generic
func.func @sum_alone(%c: tensor<?x4xf32>, %v: tensor<64x16xbf16>, %e: tensor<?x4xi32>, %z: tensor<?x16xf32>, %f: tensor<?x16xf32>, %b: tensor<?x16xbf16>) -> tensor<?x16xf32> {
  %y = omnimoe.combine to_tokens ins(%c, %v, %e : tensor<?x4xf32>, tensor<64x16xbf16>, tensor<?x4xi32>) outs(%f : tensor<?x16xf32>) -> tensor<?x16xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%y : tensor<?x16xf32>) outs(%b : tensor<?x16xbf16>) {
  ^bb0(%i: f32, %o: bf16):
    %t = arith.truncf %i : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%n, %z : tensor<?x16xbf16>, tensor<?x16xf32>) outs(%f : tensor<?x16xf32>) {
  ^bb0(%q: bf16, %p: f32, %o: f32):
    %l = arith.extf %q : bf16 to f32
    %s = arith.addf %p, %l : f32
    linalg.yield %s : f32
  } -> tensor<?x16xf32>
  return %a : tensor<?x16xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// A rounded product becomes part of what follows: its tile computes that too.
// CHECK-LABEL: func.func @two_products
// CHECK-COUNT-2: linalg.matmul
// CHECK: linalg.generic
// CHECK: arith.truncf
// CHECK: arith.addf
// CHECK-NOT: linalg.generic
func.func @two_products(%x: tensor<?x8xbf16>, %w: tensor<16x8xbf16>, %f: tensor<?x16xf32>, %b: tensor<?x16xbf16>) -> tensor<?x16xf32> {
  %m = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x8xbf16>, tensor<16x8xbf16>) outs(%f : tensor<?x16xf32>) -> tensor<?x16xf32>
  %k = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x8xbf16>, tensor<16x8xbf16>) outs(%f : tensor<?x16xf32>) -> tensor<?x16xf32>
  %n = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%k : tensor<?x16xf32>) outs(%b : tensor<?x16xbf16>) {
  ^bb0(%i: f32, %o: bf16):
    %t = arith.truncf %i : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x16xbf16>
  %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%m, %n : tensor<?x16xf32>, tensor<?x16xbf16>) outs(%f : tensor<?x16xf32>) {
  ^bb0(%p: f32, %q: bf16, %o: f32):
    %l = arith.extf %q : bf16 to f32
    %s = arith.addf %p, %l : f32
    linalg.yield %s : f32
  } -> tensor<?x16xf32>
  return %a : tensor<?x16xf32>
}
