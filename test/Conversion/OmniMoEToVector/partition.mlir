// RUN: omni-opt %s --convert-omnimoe-to-vector | FileCheck %s

// The pairs of a token are counted by group, parted, and the counts taken back.

// CHECK-LABEL: func.func @partition(
// CHECK-SAME:    %[[E:.*]]: memref<?x4xi32>, %[[C:.*]]: memref<?x4xi32>, %[[R:.*]]: memref<?x4xi32>)
// CHECK:         %[[NONE:.*]] = arith.constant -1 : i32
// CHECK:         scf.for
// CHECK:         scf.for %[[T:.*]] =
// CHECK:           scf.for
// CHECK:             %[[ID:.*]] = memref.load %[[E]][%[[T]]
// CHECK:             arith.cmpi ult, %[[ID]], %c10_i32
// CHECK:             arith.divui
// CHECK:           scf.for %[[K:.*]] =
// CHECK:             %[[CROWDED:.*]] = arith.cmpi uge, %{{.*}}, %c2_i32
// CHECK:             %[[OWN:.*]] = arith.select %{{.*}}, %{{.*}}, %[[NONE]]
// CHECK:             %[[A:.*]] = arith.select %[[CROWDED]], %[[OWN]], %[[NONE]]
// CHECK:             memref.store %[[A]], %[[C]][%[[T]], %[[K]]]
// CHECK:             %[[B:.*]] = arith.select %[[CROWDED]], %[[NONE]], %[[OWN]]
// CHECK:             memref.store %[[B]], %[[R]][%[[T]], %[[K]]]
// CHECK:           scf.for
// CHECK:             memref.store
func.func @partition(%e: memref<?x4xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 10 group_size = 4 min_pairs = 2
  return
}
