// RUN: omni-opt %s --pass-pipeline='builtin.module(func.func(omnimoe-narrow-products))' --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// What the program computes is rounded, once for all products with it.
// CHECK-LABEL: func.func @computed
// CHECK: %[[H:.*]] = linalg.generic
// CHECK: %[[E:.*]] = tensor.empty(%{{.*}}) : tensor<?x16xbf16>
// CHECK: %[[N:.*]] = linalg.generic {{.*}} ins(%[[H]] : tensor<?x16xf32>) outs(%[[E]] : tensor<?x16xbf16>)
// CHECK: arith.truncf %{{.*}} : f32 to bf16
// CHECK-COUNT-2: linalg.matmul {{.*}} ins(%[[N]], %{{.*}} : tensor<?x16xbf16>, tensor<8x16xbf16>)
func.func @computed(%x: tensor<?x16xf32>, %w: tensor<8x16xbf16>, %y0: tensor<?x8xf32>, %h0: tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x16xf32>) outs(%h0 : tensor<?x16xf32>) {
  ^bb0(%in: f32, %out: f32):
    %n = arith.negf %in : f32
    linalg.yield %n : f32
  } -> tensor<?x16xf32>
  %y = linalg.matmul indexing_maps = #nt ins(%h, %w : tensor<?x16xf32>, tensor<8x16xbf16>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  %z = linalg.matmul indexing_maps = #nt ins(%h, %w : tensor<?x16xf32>, tensor<8x16xbf16>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// An argument keeps its type.
// CHECK-LABEL: func.func @argument
// CHECK-NOT: arith.truncf
// CHECK: linalg.matmul {{.*}} ins(%{{.*}}, %{{.*}} : tensor<?x16xf32>, tensor<8x16xbf16>)
func.func @argument(%x: tensor<?x16xf32>, %w: tensor<8x16xbf16>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = linalg.matmul indexing_maps = #nt ins(%x, %w : tensor<?x16xf32>, tensor<8x16xbf16>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

#id = affine_map<(d0, d1) -> (d0, d1)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]

// Nothing is rounded where all is f32.
// CHECK-LABEL: func.func @wide
// CHECK-NOT: arith.truncf
// CHECK: linalg.matmul {{.*}} ins(%{{.*}}, %{{.*}} : tensor<?x16xf32>, tensor<8x16xf32>)
func.func @wide(%x: tensor<?x16xf32>, %w: tensor<8x16xf32>, %y0: tensor<?x8xf32>, %h0: tensor<?x16xf32>) -> tensor<?x8xf32> {
  %h = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x16xf32>) outs(%h0 : tensor<?x16xf32>) {
  ^bb0(%in: f32, %out: f32):
    %n = arith.negf %in : f32
    linalg.yield %n : f32
  } -> tensor<?x16xf32>
  %y = linalg.matmul indexing_maps = #nt ins(%h, %w : tensor<?x16xf32>, tensor<8x16xf32>) outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
