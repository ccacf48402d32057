// RUN: omni-opt %s -split-input-file | omni-opt -split-input-file | FileCheck %s
// RUN: omni-opt %s -split-input-file -verify-diagnostics -o /dev/null

// Sizes of zero are the default and are not printed.
// CHECK:      module attributes {
// CHECK-SAME:   a = #omnimoe.schedule<token_centric>,
// CHECK-SAME:   b = #omnimoe.schedule<token_centric, token_tile = 8>,
// CHECK-SAME:   c = #omnimoe.schedule<expert_centric, group_size = 64>,
// CHECK-SAME:   d = #omnimoe.schedule<dense, group_size = 1024, token_tile = 64>,
// CHECK-SAME:   e = #omnimoe.schedule<hybrid, group_size = 16>,
// CHECK-SAME:   f = #omnimoe.schedule<token_centric>}
module attributes {
  a = #omnimoe.schedule<token_centric>,
  b = #omnimoe.schedule<token_centric, token_tile = 8>,
  c = #omnimoe.schedule<expert_centric, group_size = 64>,
  d = #omnimoe.schedule<dense, group_size = 1024, token_tile = 64>,
  e = #omnimoe.schedule<hybrid, group_size = 16>,
  f = #omnimoe.schedule<token_centric, group_size = 0, token_tile = 0>} {}

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

// -----

// expected-error @below {{schedule sizes must not be negative, got group_size -4 and token_tile 0}}
module attributes {s = #omnimoe.schedule<expert_centric, group_size = -4>} {}

// -----

// expected-error @below {{schedule sizes must not be negative, got group_size 0 and token_tile -8}}
module attributes {s = #omnimoe.schedule<token_centric, token_tile = -8>} {}

// -----

// expected-error @below {{schedule expert_centric needs a group_size of at least 1}}
module attributes {s = #omnimoe.schedule<expert_centric>} {}

// -----

// expected-error @below {{schedule dense needs a group_size of at least 1}}
module attributes {s = #omnimoe.schedule<dense, token_tile = 64>} {}

// -----

// expected-error @below {{schedule hybrid needs a group_size of at least 1}}
module attributes {s = #omnimoe.schedule<hybrid, group_size = 0>} {}

// -----

// expected-error @below {{schedule token_centric has no groups, got group_size 64}}
module attributes {s = #omnimoe.schedule<token_centric, group_size = 64>} {}

// -----

// expected-error @+2 {{expected ::mlir::omnimoe::ScheduleKind to be one of: token_centric, expert_centric, dense, hybrid}}
// expected-error @+1 {{failed to parse OmniMoE_ScheduleAttr parameter 'kind'}}
module attributes {s = #omnimoe.schedule<row_centric>} {}

// -----

// expected-error @below {{target needs the name of a chip}}
module attributes {t = #omnimoe.target<chip = "", features = "", units = 1, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'units' must be positive, got 0}}
module attributes {t = #omnimoe.target<chip = "x", features = "", units = 0, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'vectorBits' must be positive, got -512}}
module attributes {t = #omnimoe.target<chip = "x", features = "", units = 1, vectorBits = -512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}

// -----

// expected-error @below {{target parameter 'memoryGbps' must be positive, got 0}}
module attributes {t = #omnimoe.target<chip = "x", features = "", units = 1, vectorBits = 512, l1Bytes = 1, l2Bytes = 1,
  llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 0>} {}
