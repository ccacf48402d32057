// RUN: omni-opt %s -split-input-file | omni-opt -split-input-file | FileCheck %s

// Sizes of zero and a split of one are the default and are not printed.
// CHECK:      func.func private @schedules() attributes {
// CHECK-SAME:   a = #omnimoe.schedule<token_centric>,
// CHECK-SAME:   b = #omnimoe.schedule<token_centric, token_tile = 8>,
// CHECK-SAME:   c = #omnimoe.schedule<expert_centric, group_size = 64>,
// CHECK-SAME:   d = #omnimoe.schedule<dense, group_size = 1024, token_tile = 64>,
// CHECK-SAME:   e = #omnimoe.schedule<hybrid, group_size = 16, min_pairs = 2>,
// CHECK-SAME:   f = #omnimoe.schedule<token_centric>,
// CHECK-SAME:   g = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>,
// CHECK-SAME:   h = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>,
// CHECK-SAME:   i = #omnimoe.schedule<expert_centric, group_size = 60, grid_columns = 60>}
func.func private @schedules() attributes {
  a = #omnimoe.schedule<token_centric>,
  b = #omnimoe.schedule<token_centric, token_tile = 8>,
  c = #omnimoe.schedule<expert_centric, group_size = 64>,
  d = #omnimoe.schedule<dense, group_size = 1024, token_tile = 64>,
  e = #omnimoe.schedule<hybrid, group_size = 16, min_pairs = 2>,
  f = #omnimoe.schedule<token_centric, group_size = 0, token_tile = 0, pair_split = 1>,
  g = #omnimoe.schedule<token_centric, token_tile = 1, pair_split = 32>,
  h = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = 128>,
  i = #omnimoe.schedule<expert_centric, group_size = 60, grid_columns = 60>}

// -----

// Parameters of a target may stand in any order.
// CHECK:      module attributes {omnimoe.target = #omnimoe.target<
// CHECK-SAME:   chip = "sapphirerapids", features = "+avx512f", units = 2, vectorBits = 512, l1Bytes = 49152,
// CHECK-SAME:   l2Bytes = 2097152, llcBytes = 272629760, matrixGflops = 120, cacheGbps = 12, memoryGbps = 20>}
module attributes {omnimoe.target = #omnimoe.target<features = "+avx512f", chip = "sapphirerapids",
  vectorBits = 512, units = 2, l1Bytes = 49152, llcBytes = 272629760, l2Bytes = 2097152, matrixGflops = 120,
  memoryGbps = 20, cacheGbps = 12>} {}

// -----

// A chip need not have features.
// CHECK:      chip = "sm_90a", features = ""
module attributes {omnimoe.target = #omnimoe.target<chip = "sm_90a", features = "", units = 132, vectorBits = 128,
  l1Bytes = 233472, l2Bytes = 52428800, llcBytes = 52428800, matrixGflops = 5300, cacheGbps = 45, memoryGbps = 3000>} {}
