// RUN: omni-opt %s --omnimoe-select-schedule="schedule=token_centric" | FileCheck %s --check-prefixes=CHECK,TOKEN
// RUN: omni-opt %s --omnimoe-select-schedule="schedule=expert_centric" | FileCheck %s --check-prefixes=CHECK,EXPERT
// RUN: omni-opt %s --omnimoe-select-schedule="schedule=dense" | FileCheck %s --check-prefixes=CHECK,DENSE
// RUN: omni-opt %s --omnimoe-select-schedule="schedule=auto" | FileCheck %s --check-prefixes=CHECK,AUTO
// RUN: omni-opt %s --omnimoe-select-schedule="schedule=hybrid" | FileCheck %s --check-prefixes=CHECK,HYBRID
// RUN: not omni-opt %s --omnimoe-select-schedule="schedule=row_centric" 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// A forced schedule is taken for every T, however bad it is for some.

// CHECK:         schedule = "[[SCHEDULE:token_centric|expert_centric|dense|hybrid]]", tokens = 1024 : i64}], omnimoe.target
// CHECK-LABEL: func.func @routed(
// TOKEN:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = {{[0-9]+}}>}
// TOKEN:         omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<token_centric, token_tile = {{[0-9]+}}>}

// A group is a grid row or an even part of one: 96 columns have no group of 64.
// EXPERT:        omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = [[GROUP:96|48|32|16]]>}
// EXPERT:        omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<expert_centric, group_size = [[GROUP]]>}

// DENSE:         omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<dense, group_size = [[BLOCK:[0-9]+]], token_tile = [[TILE:[0-9]+]]>}
// DENSE:         omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<dense, group_size = [[BLOCK]], token_tile = [[TILE]]>}

// HYBRID:        omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<hybrid, group_size = [[GROUP:96|48|32|16]], token_tile = [[TILE:[0-9]+]], min_pairs = 2>}
// HYBRID:        omnimoe.combine {{.*}} {schedule = #omnimoe.schedule<hybrid, group_size = [[GROUP]], token_tile = [[TILE]], min_pairs = 2>}

// AUTO:          omnimoe.grouped_matmul {{.*}} {schedule = #omnimoe.schedule<[[SCHEDULE]]

// UNKNOWN:     error: unknown schedule 'row_centric', expected auto, token_centric, expert_centric, dense or hybrid

module attributes {omnimoe.target = #omnimoe.target<chip = "x86-64", features = "", units = 4, vectorBits = 512, l1Bytes = 65536,
    l2Bytes = 65536, llcBytes = 1073741824, matrixGflops = 10, cacheGbps = 1000, memoryGbps = 1000>} {
  func.func @routed(%rows: tensor<?x32xf32>, %cols: tensor<?x96xf32>, %x: tensor<?x8xf32>, %up: tensor<3072x8xf32>, %down: tensor<3072x8xf32>,
      %g: tensor<?x16xf32>, %e: tensor<?x16xi32>, %y0: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %r:2 = omnimoe.route ins(%rows, %cols : tensor<?x32xf32>, tensor<?x96xf32>) outs(%g, %e : tensor<?x16xf32>, tensor<?x16xi32>)
      -> tensor<?x16xf32>, tensor<?x16xi32>
    %s = omnimoe.grouped_matmul ins(%x, %up, %r#1 : tensor<?x8xf32>, tensor<3072x8xf32>, tensor<?x16xi32>)
      outs(%r#0 : tensor<?x16xf32>) -> tensor<?x16xf32>
    %y = omnimoe.combine to_tokens ins(%s, %down, %r#1 : tensor<?x16xf32>, tensor<3072x8xf32>, tensor<?x16xi32>)
      outs(%y0 : tensor<?x8xf32>) -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}
