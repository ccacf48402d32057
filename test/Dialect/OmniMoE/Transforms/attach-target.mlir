// RUN: omni-opt %s --omnimoe-attach-target="chip=sm_90a" --split-input-file | FileCheck %s
// RUN: omni-opt %s --omnimoe-attach-target --split-input-file | FileCheck %s --check-prefix=HOST
// RUN: not omni-opt %s --omnimoe-attach-target="chip=sm_1" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// CHECK: module attributes {omnimoe.target = #omnimoe.target<chip = "sm_90a", features = "+ptx86", units = 132
// HOST: module attributes {omnimoe.target = #omnimoe.target<chip = "{{[a-z].*}}"
// UNKNOWN: error: unknown chip 'sm_1', expected host or one of sm_90a
module {}

// -----

// A module that has a target keeps it.
// CHECK: chip = "mine"
// HOST: chip = "mine"
module attributes {omnimoe.target = #omnimoe.target<chip = "mine", features = "", units = 3, vectorBits = 256, l1Bytes = 1, l2Bytes = 1, llcBytes = 1, matrixGflops = 1, cacheGbps = 1, memoryGbps = 1>} {}
