// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --omnimoe-select-schedule --split-input-file | FileCheck %s

// What the cost model chooses on an H100, for bf16. Few choices of few experts are
// streamed token by token, split over blocks where tokens are few, and with sums in
// slices of the vectors where these are met often but do not fit the cache; many choices go
// to tensor cores, group by group: the rows and columns of the grid, parts of them,
// or neighbours where N is no square. Rows of many single choices leave these to the
// tokens (hybrid) where reading every vector for a row and for a column is too
// much; where a token chose something of almost every block, all experts are one
// grid of large blocks (dense).

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 1 : i64}]
// CHECK-LABEL: func.func @t1_n102400_k512(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
func.func @t1_n102400_k512(%x: tensor<1x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<1x512xi32>, %s0: tensor<1x512xf32>, %y0: tensor<1x1024xf32>) -> tensor<1x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<1x1024xbf16>, tensor<102400x1024xbf16>, tensor<1x512xi32>) outs(%s0 : tensor<1x512xf32>) -> tensor<1x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<1x512xf32>, tensor<102400x1024xbf16>, tensor<1x512xi32>) outs(%y0 : tensor<1x1024xf32>) -> tensor<1x1024xf32>
  return %y : tensor<1x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 16 : i64}]
// CHECK-LABEL: func.func @t16_n102400_k512(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>}
func.func @t16_n102400_k512(%x: tensor<16x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<16x512xi32>, %s0: tensor<16x512xf32>, %y0: tensor<16x1024xf32>) -> tensor<16x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<16x1024xbf16>, tensor<102400x1024xbf16>, tensor<16x512xi32>) outs(%s0 : tensor<16x512xf32>) -> tensor<16x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<16x512xf32>, tensor<102400x1024xbf16>, tensor<16x512xi32>) outs(%y0 : tensor<16x1024xf32>) -> tensor<16x1024xf32>
  return %y : tensor<16x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 256 : i64}]
// CHECK-LABEL: func.func @t256_n102400_k512(
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>}
func.func @t256_n102400_k512(%x: tensor<256x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<256x512xi32>, %s0: tensor<256x512xf32>, %y0: tensor<256x1024xf32>) -> tensor<256x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<256x1024xbf16>, tensor<102400x1024xbf16>, tensor<256x512xi32>) outs(%s0 : tensor<256x512xf32>) -> tensor<256x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<256x512xf32>, tensor<102400x1024xbf16>, tensor<256x512xi32>) outs(%y0 : tensor<256x1024xf32>) -> tensor<256x1024xf32>
  return %y : tensor<256x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @t1024_n102400_k4096(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>}
func.func @t1024_n102400_k4096(%x: tensor<1024x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<1024x4096xi32>, %s0: tensor<1024x4096xf32>, %y0: tensor<1024x1024xf32>) -> tensor<1024x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<1024x1024xbf16>, tensor<102400x1024xbf16>, tensor<1024x4096xi32>) outs(%s0 : tensor<1024x4096xf32>) -> tensor<1024x4096xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<1024x4096xf32>, tensor<102400x1024xbf16>, tensor<1024x4096xi32>) outs(%y0 : tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  return %y : tensor<1024x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, grid_columns = 320 : i64, {{.*}}schedule = "expert_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n102400_k512(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>}
func.func @t4096_n102400_k512(%x: tensor<4096x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<4096x512xi32>, %s0: tensor<4096x512xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<102400x1024xbf16>, tensor<4096x512xi32>) outs(%s0 : tensor<4096x512xf32>) -> tensor<4096x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x512xf32>, tensor<102400x1024xbf16>, tensor<4096x512xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 16384 : i64}]
// CHECK-LABEL: func.func @t16384_n102400_k512(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 320, grid_columns = 320>}
func.func @t16384_n102400_k512(%x: tensor<16384x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<16384x512xi32>, %s0: tensor<16384x512xf32>, %y0: tensor<16384x1024xf32>) -> tensor<16384x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<16384x1024xbf16>, tensor<102400x1024xbf16>, tensor<16384x512xi32>) outs(%s0 : tensor<16384x512xf32>) -> tensor<16384x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<16384x512xf32>, tensor<102400x1024xbf16>, tensor<16384x512xi32>) outs(%y0 : tensor<16384x1024xf32>) -> tensor<16384x1024xf32>
  return %y : tensor<16384x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n4096_k16(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
func.func @t4096_n4096_k16(%x: tensor<4096x1024xbf16>, %w: tensor<4096x1024xbf16>, %e: tensor<4096x16xi32>, %s0: tensor<4096x16xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<4096x1024xbf16>, tensor<4096x16xi32>) outs(%s0 : tensor<4096x16xf32>) -> tensor<4096x16xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x16xf32>, tensor<4096x1024xbf16>, tensor<4096x16xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}column_tile = 256 : i64, estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n16384_k64(
// CHECK:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 256>}
func.func @t4096_n16384_k64(%x: tensor<4096x1024xbf16>, %w: tensor<16384x1024xbf16>, %e: tensor<4096x64xi32>, %s0: tensor<4096x64xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<16384x1024xbf16>, tensor<4096x64xi32>) outs(%s0 : tensor<4096x64xf32>) -> tensor<4096x64xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x64xf32>, tensor<16384x1024xbf16>, tensor<4096x64xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @t1024_n16384_k32(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
func.func @t1024_n16384_k32(%x: tensor<1024x1024xbf16>, %w: tensor<16384x1024xbf16>, %e: tensor<1024x32xi32>, %s0: tensor<1024x32xf32>, %y0: tensor<1024x1024xf32>) -> tensor<1024x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<1024x1024xbf16>, tensor<16384x1024xbf16>, tensor<1024x32xi32>) outs(%s0 : tensor<1024x32xf32>) -> tensor<1024x32xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<1024x32xf32>, tensor<16384x1024xbf16>, tensor<1024x32xi32>) outs(%y0 : tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  return %y : tensor<1024x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "token_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n1048576_k64(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = 1>}
func.func @t4096_n1048576_k64(%x: tensor<4096x1024xbf16>, %w: tensor<1048576x1024xbf16>, %e: tensor<4096x64xi32>, %s0: tensor<4096x64xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<1048576x1024xbf16>, tensor<4096x64xi32>) outs(%s0 : tensor<4096x64xf32>) -> tensor<4096x64xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x64xf32>, tensor<1048576x1024xbf16>, tensor<4096x64xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n16384_k1024(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 128, grid_columns = 128>}
func.func @t4096_n16384_k1024(%x: tensor<4096x1024xbf16>, %w: tensor<16384x1024xbf16>, %e: tensor<4096x1024xi32>, %s0: tensor<4096x1024xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<16384x1024xbf16>, tensor<4096x1024xi32>) outs(%s0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x1024xf32>, tensor<16384x1024xbf16>, tensor<4096x1024xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 2048 : i64}]
// CHECK-LABEL: func.func @t2048_n65536_k2048(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 256, grid_columns = 256>}
func.func @t2048_n65536_k2048(%x: tensor<2048x512xbf16>, %w: tensor<65536x512xbf16>, %e: tensor<2048x2048xi32>, %s0: tensor<2048x2048xf32>, %y0: tensor<2048x512xf32>) -> tensor<2048x512xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<2048x512xbf16>, tensor<65536x512xbf16>, tensor<2048x2048xi32>) outs(%s0 : tensor<2048x2048xf32>) -> tensor<2048x2048xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<2048x2048xf32>, tensor<65536x512xbf16>, tensor<2048x2048xi32>) outs(%y0 : tensor<2048x512xf32>) -> tensor<2048x512xf32>
  return %y : tensor<2048x512xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n3000_k512(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 256>}
func.func @t4096_n3000_k512(%x: tensor<4096x1024xbf16>, %w: tensor<3000x1024xbf16>, %e: tensor<4096x512xi32>, %s0: tensor<4096x512xf32>, %y0: tensor<4096x1024xf32>) -> tensor<4096x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x1024xbf16>, tensor<3000x1024xbf16>, tensor<4096x512xi32>) outs(%s0 : tensor<4096x512xf32>) -> tensor<4096x512xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x512xf32>, tensor<3000x1024xbf16>, tensor<4096x512xi32>) outs(%y0 : tensor<4096x1024xf32>) -> tensor<4096x1024xf32>
  return %y : tensor<4096x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 4096 : i64}]
// CHECK-LABEL: func.func @t4096_n65536_k128_d2048(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 256, grid_columns = 256>}
func.func @t4096_n65536_k128_d2048(%x: tensor<4096x2048xbf16>, %w: tensor<65536x2048xbf16>, %e: tensor<4096x128xi32>, %s0: tensor<4096x128xf32>, %y0: tensor<4096x2048xf32>) -> tensor<4096x2048xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<4096x2048xbf16>, tensor<65536x2048xbf16>, tensor<4096x128xi32>) outs(%s0 : tensor<4096x128xf32>) -> tensor<4096x128xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<4096x128xf32>, tensor<65536x2048xbf16>, tensor<4096x128xi32>) outs(%y0 : tensor<4096x2048xf32>) -> tensor<4096x2048xf32>
  return %y : tensor<4096x2048xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "expert_centric", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @t1024_n4096_k256_d2048(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = 64, grid_columns = 64>}
func.func @t1024_n4096_k256_d2048(%x: tensor<1024x2048xbf16>, %w: tensor<4096x2048xbf16>, %e: tensor<1024x256xi32>, %s0: tensor<1024x256xf32>, %y0: tensor<1024x2048xf32>) -> tensor<1024x2048xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<1024x2048xbf16>, tensor<4096x2048xbf16>, tensor<1024x256xi32>) outs(%s0 : tensor<1024x256xf32>) -> tensor<1024x256xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<1024x256xf32>, tensor<4096x2048xbf16>, tensor<1024x256xi32>) outs(%y0 : tensor<1024x2048xf32>) -> tensor<1024x2048xf32>
  return %y : tensor<1024x2048xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "hybrid", tokens = 1024 : i64}]
// CHECK-LABEL: func.func @t1024_n262144_k1024(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<hybrid, group_size = 256, token_tile = 1, min_pairs = 2>}
func.func @t1024_n262144_k1024(%x: tensor<1024x1024xbf16>, %w: tensor<262144x1024xbf16>, %e: tensor<1024x1024xi32>, %s0: tensor<1024x1024xf32>, %y0: tensor<1024x1024xf32>) -> tensor<1024x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<1024x1024xbf16>, tensor<262144x1024xbf16>, tensor<1024x1024xi32>) outs(%s0 : tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<1024x1024xf32>, tensor<262144x1024xbf16>, tensor<1024x1024xi32>) outs(%y0 : tensor<1024x1024xf32>) -> tensor<1024x1024xf32>
  return %y : tensor<1024x1024xf32>
}

// -----

// CHECK:       omnimoe.schedules = [{{.*}}estimates = {dense = {{.*}}, expert_centric = {{.*}}, hybrid = {{.*}}, token_centric = {{.*}}}, {{.*}}schedule = "dense", tokens = 256 : i64}]
// CHECK-LABEL: func.func @t256_n102400_k4096(
// CHECK:         omnimoe.combine to_tokens {{.*}} {schedule = #omnimoe.schedule<dense, group_size = 320>}
func.func @t256_n102400_k4096(%x: tensor<256x1024xbf16>, %w: tensor<102400x1024xbf16>, %e: tensor<256x4096xi32>, %s0: tensor<256x4096xf32>, %y0: tensor<256x1024xf32>) -> tensor<256x1024xf32> {
  %s = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<256x1024xbf16>, tensor<102400x1024xbf16>, tensor<256x4096xi32>) outs(%s0 : tensor<256x4096xf32>) -> tensor<256x4096xf32>
  %y = omnimoe.combine to_tokens ins(%s, %w, %e : tensor<256x4096xf32>, tensor<102400x1024xbf16>, tensor<256x4096xi32>) outs(%y0 : tensor<256x1024xf32>) -> tensor<256x1024xf32>
  return %y : tensor<256x1024xf32>
}
