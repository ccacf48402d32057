// RUN: omni-opt %s -split-input-file -verify-diagnostics

// expected-error @below {{schedule sizes must not be negative, got group_size -4, token_tile 0 and column_tile 0}}
module attributes {omnimoe.s = #omnimoe.schedule<expert_centric, group_size = -4>} {}

// -----

// expected-error @below {{schedule sizes must not be negative, got group_size 0, token_tile -8 and column_tile 0}}
module attributes {omnimoe.s = #omnimoe.schedule<token_centric, token_tile = -8>} {}

// -----

// expected-error @below {{schedule expert_centric needs a group_size of at least 1}}
module attributes {omnimoe.s = #omnimoe.schedule<expert_centric>} {}

// -----

// expected-error @below {{schedule dense needs a group_size of at least 1}}
module attributes {omnimoe.s = #omnimoe.schedule<dense, token_tile = 64>} {}

// -----

// expected-error @below {{schedule hybrid needs a group_size of at least 1}}
module attributes {omnimoe.s = #omnimoe.schedule<hybrid, group_size = 0>} {}

// -----

// expected-error @below {{schedule hybrid needs min_pairs of at least 2, got 0}}
module attributes {omnimoe.s = #omnimoe.schedule<hybrid, group_size = 8>} {}

// -----

// expected-error @below {{schedule dense does not part pairs, got min_pairs 2}}
module attributes {omnimoe.s = #omnimoe.schedule<dense, group_size = 8, min_pairs = 2>} {}

// -----

// expected-error @below {{schedule token_centric has no groups, got group_size 64}}
module attributes {omnimoe.s = #omnimoe.schedule<token_centric, group_size = 64>} {}

// -----

// expected-error @below {{pair_split must be at least 1, got 0}}
module attributes {omnimoe.s = #omnimoe.schedule<token_centric, pair_split = 0>} {}

// -----

// expected-error @below {{schedule dense does not split pairs, got pair_split 2}}
module attributes {omnimoe.s = #omnimoe.schedule<dense, group_size = 8, pair_split = 2>} {}

// -----

// expected-error @below {{schedule sizes must not be negative, got group_size 0, token_tile 0 and column_tile -1}}
module attributes {omnimoe.s = #omnimoe.schedule<token_centric, column_tile = -1>} {}

// -----

// expected-error @below {{schedule dense does not cut columns, got column_tile 64}}
module attributes {omnimoe.s = #omnimoe.schedule<dense, group_size = 8, column_tile = 64>} {}

// -----

// expected-error @below {{schedule token_centric with split pairs does not cut columns, got column_tile 64}}
module attributes {omnimoe.s = #omnimoe.schedule<token_centric, pair_split = 2, column_tile = 64>} {}

// -----

// expected-error @+2 {{to be one of: token_centric, expert_centric, dense, hybrid}}
// expected-error @+1 {{failed to parse OmniMoE_ScheduleAttr parameter 'kind'}}
module attributes {omnimoe.s = #omnimoe.schedule<row_centric>} {}

// -----

// expected-error @below {{target needs the name of a chip}}
module attributes {omnimoe.t = #omnimoe.target<chip = "", features = "", units = 1, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'units' must be positive, got 0}}
module attributes {omnimoe.t = #omnimoe.target<chip = "x", features = "", units = 0, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'vectorBits' must be positive, got -512}}
module attributes {omnimoe.t = #omnimoe.target<chip = "x", features = "", units = 1, vectorBits = -512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'memoryGbps' must be positive, got 0}}
module attributes {omnimoe.t = #omnimoe.target<chip = "x", features = "", units = 1, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 0>} {}

// -----

// expected-error @below {{grid_columns must not be negative, got -1}}
module attributes {omnimoe.s = #omnimoe.schedule<expert_centric, group_size = 8, grid_columns = -1>} {}

// -----

// expected-error @below {{schedule dense has no groups of a grid's lines, got grid_columns 8}}
module attributes {omnimoe.s = #omnimoe.schedule<dense, group_size = 8, grid_columns = 8>} {}
