// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule=deterministic=true --split-input-file | FileCheck %s
// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule --split-input-file | FileCheck %s --check-prefix=ANY

// Many tokens go to tensor cores. Sums whose order is not to matter are marked.

// ANY-LABEL: func.func @decode(
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
// ANY-NOT:     omnimoe.exact
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>}
// ANY:         return

// On a GPU few tokens split their pairs over many blocks. What follows the sum,
// and the caller's memory, are in each version.

// CHECK:       omnimoe.schedules = [
// CHECK-SAME:    max_tokens = [[FEW:[0-9]+]] : i64, min_tokens = 0 : i64, pair_split = 32 : i64, schedule = "token_centric"
// CHECK-SAME:    max_tokens = -1 : i64, min_tokens = [[MANY:[0-9]+]] : i64, schedule = "expert_centric"
// CHECK-LABEL: func.func @decode(
// CHECK:         arith.cmpi slt, %{{.*}}, %c[[FEW]]
// CHECK:         scf.if %{{.*}} {
// CHECK:           linalg.fill
// CHECK:           omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
// CHECK:           arith.truncf
// CHECK:           bufferization.materialize_in_destination
// CHECK:         } else {
// CHECK:           linalg.fill
// CHECK:           omnimoe.combine to_tokens {{.*}} {omnimoe.exact, schedule = #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>}
// CHECK:           bufferization.materialize_in_destination
// CHECK:         return
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @decode(%x: tensor<?x1024xbf16>, %up: tensor<102400x1024xbf16>, %down: tensor<102400x1024xbf16>, %e: tensor<?x512xi32>,
    %s0: tensor<?x512xf32>, %y0: tensor<?x1024xf32>, %z0: tensor<?x1024xbf16>, %z: memref<?x1024xbf16>) {
  %zero = arith.constant 0.0 : f32
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<102400x1024xbf16>, tensor<?x512xi32>)
    outs(%s0 : tensor<?x512xf32>) -> tensor<?x512xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<?x512xf32>, tensor<102400x1024xbf16>, tensor<?x512xi32>)
    outs(%y1 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
    ins(%y : tensor<?x1024xf32>) outs(%z0 : tensor<?x1024xbf16>) {
  ^bb0(%p: f32, %o: bf16):
    %t = arith.truncf %p : f32 to bf16
    linalg.yield %t : bf16
  } -> tensor<?x1024xbf16>
  bufferization.materialize_in_destination %r in restrict writable %z : (tensor<?x1024xbf16>, memref<?x1024xbf16>) -> ()
  return
}

// -----

// Sums that do not start from zeros go token by token where order is not to
// matter. So do those of more choices than a sum of coefficients has bits for.

// CHECK-LABEL: func.func @from_values(
// CHECK-NOT:     omnimoe.exact
// CHECK-NOT:     group_size
// CHECK:         return
// ANY-LABEL: func.func @from_values(
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<{{expert_centric|dense}}, group_size = 320{{(, grid_columns = 320)?}}>}
// ANY:         return
func.func @from_values(%x: tensor<4096x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<4096x512xi32>, %s0: tensor<4096x512xf32>,
    %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<102400x1024xbf16>, tensor<4096x512xi32>)
    outs(%s0 : tensor<4096x512xf32>) -> tensor<4096x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x512xf32>, tensor<102400x1024xbf16>, tensor<4096x512xi32>)
    outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// CHECK-LABEL: func.func @many_choices(
// CHECK-NOT:     omnimoe.exact
// CHECK-NOT:     group_size
// CHECK:         return
// ANY-LABEL: func.func @many_choices(
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<{{expert_centric|dense}}, group_size = 320{{(, grid_columns = 320)?}}>}
// ANY:         return
func.func @many_choices(%x: tensor<512x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<512x8193xi32>, %s0: tensor<512x8193xf32>,
    %y0: tensor<512x1024xf32>) -> tensor<512x1024xf32> {
  %zero = arith.constant 0.0 : f32
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<512x1024xbf16>, tensor<102400x1024xbf16>, tensor<512x8193xi32>)
    outs(%s0 : tensor<512x8193xf32>) -> tensor<512x8193xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<512x1024xf32>) -> tensor<512x1024xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<512x8193xf32>, tensor<102400x1024xbf16>, tensor<512x8193xi32>)
    outs(%y1 : tensor<512x1024xf32>) -> tensor<512x1024xf32>
  return %y : tensor<512x1024xf32>
}

// -----

// 16 pairs fit into the registers of a block: there is nothing to split.

// CHECK:       omnimoe.schedules = [{{{.*}} max_tokens = -1 : i64, min_tokens = 0 : i64, schedule = "token_centric", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @few_pairs(
// CHECK-NOT:     pair_split
func.func @few_pairs(%x: tensor<?x1024xbf16>, %up: tensor<4096x1024xbf16>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>, %y0: tensor<?x1024xf32>)
    -> tensor<?x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<4096x1024xbf16>, tensor<?x16xi32>)
    outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %y = omnimoe.combine to_tokens ins(%s, %up, %e : tensor<?x16xf32>, tensor<4096x1024xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

// -----

// Products beside a sum to experts of the same tokens go expert by expert; those
// of a hidden size that a block's threads cannot share do not.

// CHECK-LABEL: func.func @products_beside_sum(
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
// CHECK:         omnimoe.combine to_experts {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
func.func @products_beside_sum(%a: tensor<?x16xf32>, %x: tensor<?x1024xbf16>, %w: tensor<4096x1024xbf16>, %e: tensor<?x16xi32>, %s0: tensor<?x16xf32>,
    %dw0: tensor<4096x1024xf32>, %odd: tensor<?x100xbf16>, %v: tensor<4096x100xbf16>, %dv0: tensor<4096x100xf32>)
    -> (tensor<?x16xf32>, tensor<4096x1024xf32>, tensor<?x16xf32>, tensor<4096x100xf32>) {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x1024xbf16>, tensor<4096x1024xbf16>, tensor<?x16xi32>) outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %dw = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x16xf32>, tensor<?x1024xbf16>, tensor<?x16xi32>) outs(%dw0 : tensor<4096x1024xf32>)
    -> tensor<4096x1024xf32>
  %t = omnimoe.grouped_matmul ins(%odd, %v, %e : tensor<?x100xbf16>, tensor<4096x100xbf16>, tensor<?x16xi32>) outs(%s0 : tensor<?x16xf32>) -> tensor<?x16xf32>
  %dv = omnimoe.combine to_experts ins(%a, %odd, %e : tensor<?x16xf32>, tensor<?x100xbf16>, tensor<?x16xi32>) outs(%dv0 : tensor<4096x100xf32>)
    -> tensor<4096x100xf32>
  return %s, %dw, %t, %dv : tensor<?x16xf32>, tensor<4096x1024xf32>, tensor<?x16xf32>, tensor<4096x100xf32>
}

// -----

// A table that the cache does not hold, read several times: sums take it in
// slices that the cache does hold, and products go by expert. With a million
// experts each row is met once or never.

// CHECK-LABEL: func.func @large_table(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>}
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
func.func @large_table(%a: tensor<?x512xf32>, %x: tensor<?x1024xbf16>, %v: tensor<102400x1024xbf16>, %e: tensor<?x512xi32>, %y0: tensor<?x1024xf32>)
    -> (tensor<?x1024xf32>, tensor<?x512xf32>) {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x512xf32>, tensor<102400x1024xbf16>, tensor<?x512xi32>) outs(%y0 : tensor<?x1024xf32>)
    -> tensor<?x1024xf32>
  %s = omnimoe.grouped_matmul ins(%x, %v, %e : tensor<?x1024xbf16>, tensor<102400x1024xbf16>, tensor<?x512xi32>) outs(%a : tensor<?x512xf32>)
    -> tensor<?x512xf32>
  return %y, %s : tensor<?x1024xf32>, tensor<?x512xf32>
}

// CHECK-LABEL: func.func @million(
// CHECK-NOT:     column_tile
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
func.func @million(%a: tensor<?x64xf32>, %x: tensor<?x1024xbf16>, %v: tensor<1048576x1024xbf16>, %e: tensor<?x64xi32>, %y0: tensor<?x1024xf32>)
    -> (tensor<?x1024xf32>, tensor<?x64xf32>) {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x64xf32>, tensor<1048576x1024xbf16>, tensor<?x64xi32>) outs(%y0 : tensor<?x1024xf32>)
    -> tensor<?x1024xf32>
  %s = omnimoe.grouped_matmul ins(%x, %v, %e : tensor<?x1024xbf16>, tensor<1048576x1024xbf16>, tensor<?x64xi32>) outs(%a : tensor<?x64xf32>)
    -> tensor<?x64xf32>
  return %y, %s : tensor<?x1024xf32>, tensor<?x64xf32>
}

// -----

// Wide experts with a gate, for every number of tokens: a tile of an expert reads
// its vectors once, a pair by itself reads all of them. Both products belong to
// the block. Where the same bits are asked for, both do so too.

// ANY:         omnimoe.schedules = [{block = "bf16-n256-r256-d1024-k4-gated", estimates = {expert_centric = {{[0-9.]+}}E-4 : f64, token_centric = {{[0-9.]+}}{{(E-3)?}} : f64}, max_tokens = -1 : i64, min_tokens = 0 : i64, schedule = "expert_centric", tokens = 1024 : i64}]
// ANY-LABEL: func.func @gated_wide(
// ANY:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
// ANY:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
// CHECK-LABEL: func.func @gated_wide(
// CHECK-NOT:     omnimoe.
// CHECK:         scf.if
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 4>}
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 4>}
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 4>}
// CHECK:         } else {
#values = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#pair = affine_map<(d0, d1, d2) -> (d0, d1)>
!table = tensor<256x256x1024xbf16>
!values = tensor<?x4x256xf32>
func.func @gated_wide(%x: tensor<?x1024xbf16>, %gate: !table, %up: !table, %down: !table, %g: tensor<?x4xf32>, %e: tensor<?x4xi32>, %s0: !values,
    %y0: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %gate, %e : tensor<?x1024xbf16>, !table, tensor<?x4xi32>) outs(%s0 : !values) -> !values
  %r = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, !table, tensor<?x4xi32>) outs(%s0 : !values) -> !values
  %a = linalg.generic {indexing_maps = [#values, #values, #pair, #values], iterator_types = ["parallel", "parallel", "parallel"]}
    ins(%s, %r, %g : !values, !values, tensor<?x4xf32>) outs(%s0 : !values) {
  ^bb0(%in: f32, %other: f32, %weight: f32, %out: f32):
    %m = arith.mulf %in, %other : f32
    %n = arith.mulf %m, %weight : f32
    linalg.yield %n : f32
  } -> !values
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : !values, !table, tensor<?x4xi32>) outs(%y0 : tensor<?x1024xf32>) -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}

// -----

// Narrow ones, of which few are met by many tokens: only these fill tiles.

// ANY-LABEL: func.func @wide_by_tokens(
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 16>}
// ANY:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
func.func @wide_by_tokens(%x: tensor<?x1024xbf16>, %up: tensor<1024x16x1024xbf16>, %down: tensor<1024x16x1024xbf16>, %e: tensor<?x16xi32>,
    %s0: tensor<?x16x16xf32>, %y0: tensor<?x1024xf32>) -> tensor<?x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : tensor<?x1024xbf16>, tensor<1024x16x1024xbf16>, tensor<?x16xi32>) outs(%s0 : tensor<?x16x16xf32>)
    -> tensor<?x16x16xf32>
  %y = omnimoe.combine to_tokens ins(%s, %down, %e : tensor<?x16x16xf32>, tensor<1024x16x1024xbf16>, tensor<?x16xi32>) outs(%y0 : tensor<?x1024xf32>)
    -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}
