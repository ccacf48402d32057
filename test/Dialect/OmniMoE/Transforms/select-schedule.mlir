// RUN: omni-opt %s --omnimoe-select-schedule -split-input-file | FileCheck %s
// RUN: omni-opt %s --omnimoe-select-schedule -split-input-file | omni-opt -split-input-file | FileCheck %s

// Every module states its target, so that nothing depends on the machine the
// test runs on. This one reads quickly and multiplies slowly: each token had
// better stream its own vectors, whatever T is.

// CHECK:       module attributes {omnimoe.schedules = [{
// CHECK-SAME:    estimates = {dense = {{.*}} : f64, expert_centric = {{.*}} : f64, token_centric = {{.*}} : f64},
// CHECK-SAME:    max_tokens = -1 : i64, min_tokens = 0 : i64, schedule = "token_centric", tokens = 1024 : i64}],
// CHECK-SAME:    omnimoe.target = #omnimoe.target<chip = "reader"
// CHECK-LABEL: func.func @one_version(
// CHECK-NOT:     scf.if
// CHECK:         %[[S:.*]] = omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = [[TILE:[0-9]+]]>} -> tensor<?x16xf32>
// CHECK:         %[[A:.*]] = linalg.generic {{.*}} ins(%[[S]], %{{.*}} :
// CHECK:         omnimoe.combine to_tokens ins(%[[A]], {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = [[TILE]]>} -> tensor<?x512xf32>
#id = affine_map<(d0, d1) -> (d0, d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "reader", features = "", units = 4, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 1000, memoryGbps = 1000>} {
  func.func @one_version(%x: tensor<?x512xf32>, %up: tensor<4096x512xf32>, %down: tensor<4096x512xf32>, %g: tensor<?x16xf32>,
      %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
      outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%s, %g : tensor<?x16xf32>, tensor<?x16xf32>) outs(%s0 : tensor<?x16xf32>) {
    ^bb0(%p: f32, %q: f32, %o: f32):
      %m = arith.mulf %p, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x16xf32>
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
      outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    return %y : tensor<?x512xf32>
  }
}

// -----

// This one multiplies quickly and reads slowly: with many tokens it pays to
// read every vector once for all of them, with few it does not. The block is
// cloned under a branch on T; what it shares with others stays outside.

// CHECK:       module attributes {omnimoe.schedules = [
// CHECK-SAME:    {block = "f32-n512-r1-d512-k128", estimates = {{{[^}]*}}}, max_tokens = [[LIMIT:[0-9]+]] : i64, min_tokens = 0 : i64, schedule = "token_centric", tokens = 1 : i64},
// CHECK-SAME:    {block = "f32-n512-r1-d512-k128", estimates = {{{[^}]*}}}, max_tokens = {{[-0-9]+}} : i64, min_tokens = [[LIMIT]] : i64, schedule = "[[KIND:dense|expert_centric]]", tokens = [[LIMIT]] : i64}
// CHECK-LABEL: func.func @two_versions(
// CHECK-SAME:    {{.*}} %[[E:[a-z0-9]+]]: tensor<?x128xi32>, %[[S0:[a-z0-9]+]]: tensor<?x128xf32>, %[[Y0:[a-z0-9]+]]: tensor<?x512xf32>)
// CHECK-NOT:     omnimoe.
// CHECK:         %[[T:.*]] = tensor.dim %[[E]], %c0
// CHECK:         %[[FEW:.*]] = arith.cmpi slt, %[[T]], %c[[LIMIT]]
// CHECK:         %[[Y:.*]] = scf.if %[[FEW]] -> (tensor<?x512xf32>) {
// CHECK:           omnimoe.grouped_matmul {{.*}} outs(%[[S0]] {{.*}} {schedule = #omnimoe.schedule<token_centric
// CHECK:           linalg.generic
// CHECK:           %[[FIRST:.*]] = omnimoe.combine to_tokens {{.*}} outs(%[[Y0]] {{.*}} {schedule = #omnimoe.schedule<token_centric
// CHECK:           scf.yield %[[FIRST]]
// CHECK:         } else {
// CHECK:           omnimoe.grouped_matmul {{.*}} outs(%[[S0]] {{.*}} {schedule = #omnimoe.schedule<[[KIND]], group_size = [[BLOCK:[0-9]+]]
// CHECK:           linalg.generic
// CHECK:           %[[NEXT:.*]] = omnimoe.combine to_tokens {{.*}} outs(%[[Y0]] {{.*}} {schedule = #omnimoe.schedule<[[KIND]], group_size = [[BLOCK]]
// CHECK:           scf.yield %[[NEXT]]
// CHECK:         return %[[Y]]
#id = affine_map<(d0, d1) -> (d0, d1)>
module attributes {omnimoe.target = #omnimoe.target<chip = "multiplier", features = "", units = 1, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 1000000, cacheGbps = 1, memoryGbps = 1>} {
  func.func @two_versions(%x: tensor<?x512xf32>, %up: tensor<512x512xf32>, %down: tensor<512x512xf32>, %g: tensor<?x128xf32>,
      %e: tensor<?x128xi32>, %s0: tensor<?x128xf32>, %y0: tensor<?x512xf32>) -> tensor<?x512xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x512xf32>, tensor<512x512xf32>, tensor<?x128xi32>)
      outs(%s0 : tensor<?x128xf32>) -> tensor<?x128xf32>
    %a = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%s, %g : tensor<?x128xf32>, tensor<?x128xf32>) outs(%s0 : tensor<?x128xf32>) {
    ^bb0(%p: f32, %q: f32, %o: f32):
      %m = arith.mulf %p, %q : f32
      linalg.yield %m : f32
    } -> tensor<?x128xf32>
    %y = omnimoe.combine to_tokens ins(%a, %down, %e : tensor<?x128xf32>, tensor<512x512xf32>, tensor<?x128xi32>)
      outs(%y0 : tensor<?x512xf32>) -> tensor<?x512xf32>
    return %y : tensor<?x512xf32>
  }
}

// -----

// The same machine and shapes with T known: one version, no branch.

// CHECK:       module attributes {omnimoe.schedules = [{{{.*}} min_tokens = 0 : i64, schedule = "[[KIND:dense|expert_centric]]", tokens = {{[0-9]+}} : i64}]
// CHECK-LABEL: func.func @static_tokens(
// CHECK-NOT:     scf.if
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<[[KIND]]
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<[[KIND]]
module attributes {omnimoe.target = #omnimoe.target<chip = "multiplier", features = "", units = 1, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 1000000, cacheGbps = 1, memoryGbps = 1>} {
  func.func @static_tokens(%x: tensor<1024x512xf32>, %up: tensor<512x512xf32>, %down: tensor<512x512xf32>, %e: tensor<1024x128xi32>,
      %s0: tensor<1024x128xf32>, %y0: tensor<1024x512xf32>) -> tensor<1024x512xf32> {
    %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<1024x512xf32>, tensor<512x512xf32>, tensor<1024x128xi32>)
      outs(%s0 : tensor<1024x128xf32>) -> tensor<1024x128xf32>
    %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<1024x128xf32>, tensor<512x512xf32>, tensor<1024x128xi32>)
      outs(%y0 : tensor<1024x512xf32>) -> tensor<1024x512xf32>
    return %y : tensor<1024x512xf32>
  }
}

// -----

// A sum to experts goes expert by expert. Operations that carry a schedule and
// operations on memrefs stay as they are. Products on other experts than those of the sum are no
// expert block: each operation takes a schedule of its own.

// CHECK:       module attributes {omnimoe.target =
// CHECK-NOT:     omnimoe.schedules
// CHECK-LABEL: func.func @left_alone(
// CHECK:         omnimoe.combine to_experts {{.*}} outs(%{{.*}} : tensor<64x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>} -> tensor<64x8xf32>
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<dense, group_size = 32>}
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<dense, group_size = 32>}
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<?x4xf32>
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 8>} -> tensor<?x8xf32>
// CHECK:         omnimoe.combine to_tokens {{.*}} outs(%{{.*}} : memref<?x8xf32>){{$}}
module attributes {omnimoe.target = #omnimoe.target<chip = "x", features = "", units = 4, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 10, memoryGbps = 10>} {
  func.func @left_alone(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %other: tensor<?x4xi32>, %s: tensor<?x4xf32>,
      %dw: tensor<64x8xf32>, %ma: memref<?x4xf32>, %mw: memref<64x8xf32>, %me: memref<?x4xi32>, %my: memref<?x8xf32>)
      -> (tensor<64x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
    %0 = omnimoe.combine to_experts ins(%s, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>)
      outs(%dw : tensor<64x8xf32>) -> tensor<64x8xf32>
    %1 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%s : tensor<?x4xf32>) {schedule = #omnimoe.schedule<dense, group_size = 32>} -> tensor<?x4xf32>
    %2 = omnimoe.combine to_tokens ins(%1, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%x : tensor<?x8xf32>) {schedule = #omnimoe.schedule<dense, group_size = 32>} -> tensor<?x8xf32>
    %3 = omnimoe.grouped_matmul ins(%x, %w, %other : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
    %4 = omnimoe.combine to_tokens ins(%3, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
      outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
    omnimoe.combine to_tokens ins(%ma, %mw, %me : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%my : memref<?x8xf32>)
    return %0, %2, %4 : tensor<64x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
  }
}
