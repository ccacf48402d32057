// DEFINE: %{to-llvm} = --convert-scf-to-cf --expand-strided-metadata --lower-affine \
// DEFINE:   --convert-arith-to-llvm --convert-math-to-llvm --convert-vector-to-llvm \
// DEFINE:   --finalize-memref-to-llvm --convert-func-to-llvm --convert-cf-to-llvm \
// DEFINE:   --reconcile-unrealized-casts
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=512" | FileCheck %s
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=256" | FileCheck %s --check-prefix=NARROW
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=512" | mlir-opt %{to-llvm} \
// RUN:   | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=LLVM
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=128" | mlir-opt %{to-llvm} \
// RUN:   | mlir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=LLVM

// Scratch is one block; tables are filled before the loop over
// tokens. 64 of 64 rows are wanted, so no axis is narrowed first.

// CHECK-LABEL: func.func @square(
// CHECK-SAME:    %[[ROWS:[a-z0-9]+]]: memref<?x64xf32>, %[[COLS:[a-z0-9]+]]: memref<?x64xf32>,
// CHECK-SAME:    %[[SCORES:[a-z0-9]+]]: memref<?x64xf32>, %[[EXPERTS:[a-z0-9]+]]: memref<?x64xi32>)
// CHECK:         %[[SCRATCH:.*]] = memref.alloc() {alignment = 64 : i64}
// CHECK:         memref.view %[[SCRATCH]]
// CHECK:         arith.divui
// CHECK:         %[[TOKENS:.*]] = memref.dim %[[SCORES]]
// CHECK:         scf.for %[[T:.*]] = %{{.*}} to %[[TOKENS]]
//   The keys of the rows, then their sort by counting.
// CHECK:           vector.load %[[ROWS]][%[[T]], %{{.*}}] {{.*}} vector<16xf32>
// CHECK:           arith.cmpf uno
// CHECK:           arith.cmpi sgt, {{.*}} : vector<16xi32>
// CHECK:           vector.load %[[COLS]][%[[T]], %{{.*}}] {{.*}} vector<16xf32>
//   Sums of candidates, the search of the last sum wanted, the survivors.
// CHECK:           arith.addf {{.*}} : vector<16xf32>
// CHECK:           scf.while
// CHECK:             vector.reduction <add>
// CHECK-COUNT-2:   vector.compressstore
//   The repair of ties, or plain ids.
// CHECK:           vector.reduction <or>
// CHECK:           scf.if
// CHECK:             arith.maxsi
// CHECK:           } else {
//   The sort of 64-bit keys, and the results.
// CHECK:           arith.cmpi sgt, {{.*}} : vector<8xi64>
// CHECK:           vector.store {{.*}}, %[[SCORES]][%[[T]], %{{.*}}]
// CHECK:           vector.store {{.*}}, %[[EXPERTS]][%[[T]], %{{.*}}]
// CHECK:         memref.dealloc %[[SCRATCH]]
// CHECK-NOT:     omnimoe.route

// Without compress-store in the machine, survivors are copied one by one.
// NARROW-LABEL: func.func @square(
// NARROW:         vector.load {{.*}} vector<8xf32>
// NARROW-NOT:     vector.compressstore
// NARROW:         memref.dealloc

// LLVM-LABEL: define void @square(
func.func @square(%rows: memref<?x64xf32>, %cols: memref<?x64xf32>,
                  %scores: memref<?x64xf32>, %experts: memref<?x64xi32>) {
  omnimoe.route ins(%rows, %cols : memref<?x64xf32>, memref<?x64xf32>)
                outs(%scores, %experts : memref<?x64xf32>, memref<?x64xi32>)
  return
}

// A tile of tokens; sizes that are no whole number of vectors are masked.

// CHECK-LABEL: func.func @tile(
// CHECK-SAME:    %[[ROWS:[a-z0-9]+]]: memref<4x21xf32, strided<[21, 1], offset: ?>>
// CHECK:         vector.load %[[ROWS]]
// CHECK:         vector.maskedload %[[ROWS]]
// CHECK:         vector.maskedstore
// LLVM-LABEL: define void @tile(
func.func @tile(%rows: memref<4x21xf32, strided<[21, 1], offset: ?>>,
                %cols: memref<4x5xf32, strided<[5, 1], offset: ?>>,
                %scores: memref<4x7xf32, strided<[7, 1], offset: ?>>,
                %experts: memref<4x7xi32, strided<[7, 1], offset: ?>>) {
  omnimoe.route
    ins(%rows, %cols : memref<4x21xf32, strided<[21, 1], offset: ?>>,
                       memref<4x5xf32, strided<[5, 1], offset: ?>>)
    outs(%scores, %experts : memref<4x7xf32, strided<[7, 1], offset: ?>>,
                             memref<4x7xi32, strided<[7, 1], offset: ?>>)
  return
}

// All pairs are wanted: every one is a candidate, and none is searched for.

// CHECK-LABEL: func.func @all(
// CHECK-NOT:     scf.while
// CHECK-NOT:     vector.compressstore
// CHECK:         return
// LLVM-LABEL: define void @all(
func.func @all(%rows: memref<?x4xf32>, %cols: memref<?x3xf32>,
               %scores: memref<?x12xf32>, %experts: memref<?x12xi32>) {
  omnimoe.route ins(%rows, %cols : memref<?x4xf32>, memref<?x3xf32>)
                outs(%scores, %experts : memref<?x12xf32>, memref<?x12xi32>)
  return
}

// Long axes are narrowed first: three searches. Runs are merged, as equal
// logits may keep all 1024.

// CHECK-LABEL: func.func @narrowed(
// CHECK:         scf.for %[[T:.*]] = %{{.*}} to %{{.*}}
// CHECK-COUNT-2: vector.compressstore
// CHECK:         scf.while
// CHECK-COUNT-4: vector.compressstore
// CHECK:         memref.dealloc
// LLVM-LABEL: define void @narrowed(
func.func @narrowed(%rows: memref<?x1024xf32>, %cols: memref<?x1024xf32>,
                    %scores: memref<?x16xf32>, %experts: memref<?x16xi32>) {
  omnimoe.route ins(%rows, %cols : memref<?x1024xf32>, memref<?x1024xf32>)
                outs(%scores, %experts : memref<?x16xf32>, memref<?x16xi32>)
  return
}

// The sort of many pairs merges runs: a loop over lengths around one over pairs
// of runs around one over their entries.

// CHECK-LABEL: func.func @large(
// CHECK:         vector.store {{.*}} : memref<{{.*}}xi64>, vector<8xi64>
// CHECK:         scf.while
// CHECK:           scf.for
// CHECK:             scf.for {{.*}} -> (index, index, index, index)
// CHECK:         memref.dealloc
// LLVM-LABEL: define void @large(
func.func @large(%rows: memref<?x320xf32>, %cols: memref<?x320xf32>,
                 %scores: memref<?x4096xf32>, %experts: memref<?x4096xi32>) {
  omnimoe.route ins(%rows, %cols : memref<?x320xf32>, memref<?x320xf32>)
                outs(%scores, %experts : memref<?x4096xf32>, memref<?x4096xi32>)
  return
}
