// DEFINE: %{to-llvm} = --convert-linalg-to-vector --convert-vector-to-scf --convert-scf-to-cf \
// DEFINE:   --expand-strided-metadata --lower-affine --convert-vector-to-llvm --convert-math-to-llvm \
// DEFINE:   --convert-arith-to-llvm --finalize-memref-to-llvm --convert-func-to-llvm \
// DEFINE:   --convert-cf-to-llvm --convert-ub-to-llvm --reconcile-unrealized-casts --omnimoe-verify-stage="stage=llvm"
// RUN: omni-opt %s --convert-omnimoe-to-vector --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=256" --canonicalize --cse | FileCheck %s --check-prefix=NARROW
// RUN: omni-opt %s --convert-omnimoe-to-vector %{to-llvm} -o /dev/null
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=128" %{to-llvm} -o /dev/null

// The example of the pass's documentation.

// CHECK-LABEL: func.func @example(
// CHECK:         scf.for %[[T:.*]] = %c0 to %{{.*}} step %c1 {
// CHECK:           scf.for %[[Q:.*]] = %c0 to %c16 step %c4 {
// CHECK:             vector.load
// CHECK:             vector.fma
// CHECK:             vector.reduction
func.func @example(%x: memref<?x512xf32>, %up: memref<4096x512xf32>, %e: memref<?x16xi32>, %s: memref<?x16xf32>) {
  omnimoe.grouped_matmul ins(%x, %up, %e : memref<?x512xf32>, memref<4096x512xf32>, memref<?x16xi32>)
                         outs(%s : memref<?x16xf32>)
  return
}

// Four expert vectors are streamed at a time against the token, then the two
// that are left of K = 10; the last 8 of 40 entries are masked.

// CHECK-LABEL: func.func @atomic(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x40xf32>, %[[W:[a-z0-9]+]]: memref<64x40xf32>, %[[E:[a-z0-9]+]]: memref<?x10xi32>, %[[S:[a-z0-9]+]]: memref<?x10xf32>)
// CHECK:         %[[T:.*]] = memref.dim %[[E]], %c0
// CHECK:         scf.for %[[TOKEN:.*]] = %c0 to %[[T]] step %c1 {
// CHECK:           scf.for %[[Q:.*]] = %c0 to %c8 step %c4 {
// CHECK:             %[[ID:.*]] = memref.load %[[E]][%[[TOKEN]], %[[Q]]]
//   A row that is no expert's reads row 0 and counts as zero.
// CHECK:             %[[VALID:.*]] = arith.cmpi ult, %[[ID]], %c64_i32
// CHECK:             %[[SAFE:.*]] = arith.select %[[VALID]], %[[ID]], %c0_i32
// CHECK:             %[[ROW:.*]] = arith.index_cast %[[SAFE]]
// CHECK:             %[[SUMS:.*]]:4 = scf.for %[[D:.*]] = %c0 to %c32 step %c16
// CHECK:               %[[XV:.*]] = vector.load %[[X]][%[[TOKEN]], %[[D]]] : memref<?x40xf32>, vector<16xf32>
// CHECK:               %[[WV:.*]] = vector.load %[[W]][%[[ROW]], %[[D]]]
// CHECK:               vector.fma %[[XV]], %[[WV]]
// CHECK-COUNT-3:       vector.fma %[[XV]]
// CHECK:             vector.maskedload %[[X]][%[[TOKEN]], %c32]
// CHECK:             %[[LAST:.*]] = vector.fma {{.*}} %[[SUMS]]#0
// CHECK:             %[[SUM:.*]] = vector.reduction <add>, %[[LAST]] fastmath<reassoc>
// CHECK:             %[[PRODUCT:.*]] = arith.select %[[VALID]], %[[SUM]], %cst
// CHECK:             memref.store %[[PRODUCT]], %[[S]][%[[TOKEN]], %[[Q]]]
// CHECK:           }
// CHECK:           scf.for {{.*}} iter_args({{.*}}) -> (vector<16xf32>, vector<16xf32>)
// CHECK:           memref.store {{.*}}, %[[S]][%[[TOKEN]], %c8]
// CHECK:           memref.store {{.*}}, %[[S]][%[[TOKEN]], %c9]
// CHECK-NOT:     omnimoe.
// NARROW-LABEL: func.func @atomic(
// NARROW:         scf.for %{{.*}} = %c0 to %c40 step %c8
// NARROW:           vector.load {{.*}} vector<8xf32>
// NARROW-NOT:     vector.maskedload
// NARROW:       return
func.func @atomic(%x: memref<?x40xf32>, %w: memref<64x40xf32>, %e: memref<?x10xi32>, %s: memref<?x10xf32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x40xf32>, memref<64x40xf32>, memref<?x10xi32>) outs(%s : memref<?x10xf32>)
  return
}

// Wide experts are rows [N * r, D], narrow types are widened on the way in, and
// the schedule token_centric is what an operation without one does.

// CHECK-LABEL: func.func @wide(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<4x32xf16, strided<[64, 1], offset: ?>>, %[[W:[a-z0-9]+]]: memref<64x2x32xbf16>
// CHECK-DAG:     %[[ROWS:.*]] = memref.collapse_shape %[[W]] {{\[}}[0, 1], [2]] : memref<64x2x32xbf16> into memref<128x32xbf16>
// CHECK-DAG:     %[[VALUES:.*]] = memref.collapse_shape %{{.*}} {{\[}}[0], [1, 2]] : memref<4x4x2xf32> into memref<4x8xf32>
//   Column q belongs to choice q / r and to vector q % r of its expert.
// CHECK:         arith.divui %{{.*}}, %c2
// CHECK:         %[[PART:.*]] = arith.remui %{{.*}}, %c2
// CHECK:         %[[FIRST:.*]] = arith.muli %{{.*}}, %c2
// CHECK:         %[[ROW:.*]] = arith.addi %[[FIRST]], %[[PART]]
// CHECK:         %[[XN:.*]] = vector.load %[[X]]{{.*}} vector<16xf16>
// CHECK:         arith.extf %[[XN]] : vector<16xf16> to vector<16xf32>
// CHECK:         %[[WN:.*]] = vector.load %[[ROWS]][%[[ROW]], {{.*}} vector<16xbf16>
// CHECK:         arith.extf %[[WN]] : vector<16xbf16> to vector<16xf32>
// CHECK:         memref.store {{.*}}, %[[VALUES]]
func.func @wide(%x: memref<4x32xf16, strided<[64, 1], offset: ?>>, %w: memref<64x2x32xbf16>, %e: memref<4x4xi32>, %s: memref<4x4x2xf32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<4x32xf16, strided<[64, 1], offset: ?>>, memref<64x2x32xbf16>, memref<4x4xi32>)
    outs(%s : memref<4x4x2xf32>) {schedule = #omnimoe.schedule<token_centric, token_tile = 4>}
  return
}
