// RUN: omni-opt %s --omnimoe-attach-target=chip=sm_90a --convert-omnimoe-dispatch-to-gpu --verify-diagnostics

func.func @too_many_lines(%e: memref<?x16xi32>, %o: memref<10001xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op groups by lines of a grid: a block has counters for 8192 rows and columns, got 10000}}
  omnimoe.dispatch ins(%e : memref<?x16xi32>) outs(%o, %p, %p, %p : memref<10001xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 25000000 group_size = 5000 grid_columns = 5000
  return
}
