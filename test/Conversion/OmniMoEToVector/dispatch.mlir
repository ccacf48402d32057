// RUN: omni-opt %s --convert-omnimoe-to-vector | FileCheck %s
// RUN: omni-opt %s --convert-omnimoe-to-vector | mlir-opt --convert-scf-to-cf \
// RUN:   --expand-strided-metadata --lower-affine --convert-arith-to-llvm --finalize-memref-to-llvm \
// RUN:   --convert-func-to-llvm --convert-cf-to-llvm --reconcile-unrealized-casts \
// RUN:   | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=LLVM

// Scratch holds two counters for each of the 64 groups, whatever T is.

// CHECK-LABEL: func.func @groups(
// CHECK-SAME:    %[[IDS:[a-z0-9]+]]: memref<?x16xi32>, %[[OFFSETS:[a-z0-9]+]]: memref<65xi32>,
// CHECK-SAME:    %[[TOKENS:[a-z0-9]+]]: memref<?xi32>, %[[STARTS:[a-z0-9]+]]: memref<?xi32>,
// CHECK-SAME:    %[[PAIRS:[a-z0-9]+]]: memref<?xi32>)
// CHECK:         %[[SCRATCH:.*]] = memref.alloc() {alignment = 64 : i64} : memref<512xi8>
//   Count.
// CHECK:         %[[T:.*]] = memref.dim %[[IDS]]
// CHECK:         scf.for %[[TOKEN:.*]] = %{{.*}} to %[[T]]
// CHECK:           scf.for %[[CHOICE:.*]] =
// CHECK:             %[[ID:.*]] = memref.load %[[IDS]][%[[TOKEN]], %[[CHOICE]]]
// CHECK:             %[[EXPERT:.*]] = arith.index_castui %[[ID]]
// CHECK:             %[[KNOWN:.*]] = arith.cmpi ult, %[[EXPERT]], %c4096
// CHECK:             scf.if %[[KNOWN]]
// CHECK:               arith.divui %[[EXPERT]], %c64
// CHECK:               memref.store {{.*}}, %[[OFFSETS]]
//   Scan, and the end of the last slot.
// CHECK:         %[[TOTALS:.*]]:2 = scf.for
// CHECK:         memref.store %[[TOTALS]]#1, %[[STARTS]]
//   Place.
// CHECK:         scf.for
// CHECK:           scf.for
// CHECK:             scf.if
// CHECK:               memref.store {{.*}}, %[[PAIRS]]
// CHECK:               scf.if
// CHECK:                 memref.store {{.*}}, %[[OFFSETS]]
// CHECK:                 memref.store {{.*}}, %[[TOKENS]]
// CHECK:                 memref.store {{.*}}, %[[STARTS]]
// CHECK:         memref.dealloc %[[SCRATCH]]
// CHECK-NOT:     omnimoe.dispatch

// LLVM-LABEL: define void @groups(
func.func @groups(%ids: memref<?x16xi32>, %offsets: memref<65xi32>,
                  %tokens: memref<?xi32>, %starts: memref<?xi32>,
                  %pairs: memref<?xi32>) {
  omnimoe.dispatch ins(%ids : memref<?x16xi32>)
    outs(%offsets, %tokens, %starts, %pairs : memref<65xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4096 group_size = 64
  return
}

// With group_size = 1 every expert is a group.

// CHECK-LABEL: func.func @experts(
// CHECK:         %[[SCRATCH:.*]] = memref.alloc() {alignment = 64 : i64} : memref<524288xi8>
// CHECK:         memref.dealloc %[[SCRATCH]]
// LLVM-LABEL: define void @experts(
func.func @experts(%ids: memref<?x2xi32>, %offsets: memref<65537xi32>,
                   %tokens: memref<?xi32>, %starts: memref<?xi32>,
                   %pairs: memref<?xi32>) {
  omnimoe.dispatch ins(%ids : memref<?x2xi32>)
    outs(%offsets, %tokens, %starts, %pairs : memref<65537xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 65536
  return
}

// Where groups are lines of a grid, a token's pairs in each of its rows and columns
// are counted before its groups are asked for; what travels with pairs is stored
// beside them.

// CHECK-LABEL: func.func @lines(
// CHECK-SAME:    %[[E:[a-z0-9]+]]: memref<?x2xi32>, %[[W:[a-z0-9]+]]: memref<?x2xf32>
// CHECK-SAME:    %[[SORTED:[a-z0-9]+]]: memref<?xf32>
// CHECK:         arith.divui %{{.*}}, %c4{{.*}} : index
// CHECK:         arith.cmpi uge
// CHECK:         memref.load %[[W]]
// CHECK:         memref.store %{{.*}}, %[[SORTED]]
// CHECK-NOT:     omnimoe.dispatch
func.func @lines(%e: memref<?x2xi32>, %w: memref<?x2xf32>, %o: memref<8xi32>, %p: memref<?xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %f: memref<?xf32>) {
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %t, %s, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %f : memref<?x2xf32> to memref<?xf32>) num_experts = 12 group_size = 4 grid_columns = 4
  return
}
