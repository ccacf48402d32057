// RUN: omni-opt %s --convert-linalg-to-vector --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-linalg-to-vector="vector-bits=256" --canonicalize --cse | FileCheck %s --check-prefix=NARROW

#mk = affine_map<(m, n, k) -> (m, k)>
#km = affine_map<(m, n, k) -> (k, m)>
#kn = affine_map<(m, n, k) -> (k, n)>
#nk = affine_map<(m, n, k) -> (n, k)>
#mn = affine_map<(m, n, k) -> (m, n)>

// The example of the pass's documentation: blocks of rows and of two vectors of
// columns, whose sums stay in registers; the tail of the columns is masked. What
// the blocks leave of the rows follows as one block.

// CHECK-LABEL: func.func @example(
// CHECK-SAME:    %[[W:[a-z0-9]+]]: memref<2048x512xf32>, %[[X:[a-z0-9]+]]: memref<512x?xf32>, %[[H:[a-z0-9]+]]: memref<2048x?xf32>)
// CHECK:         %[[N:.*]] = memref.dim %[[H]], %c1
// CHECK:         scf.for %[[ROW:.*]] = %c0 to %{{.*}} step %{{.*}} {
// CHECK:           scf.for %[[COL:.*]] = %c0 to %[[N]] step %c32 {
// CHECK:             %[[REST:.*]] = arith.subi %[[N]], %[[COL]]
// CHECK:             %[[MASK0:.*]] = vector.create_mask %[[REST]] : vector<16xi1>
// CHECK:             %[[REST1:.*]] = arith.subi %[[REST]], %c16
// CHECK:             %[[MASK1:.*]] = vector.create_mask %[[REST1]] : vector<16xi1>
// CHECK:             %[[COL1:.*]] = arith.addi %[[COL]], %c16
// CHECK:             %[[ACC0:.*]] = vector.maskedload %[[H]][%[[ROW]], %[[COL]]], %[[MASK0]]
// CHECK:             %[[ACC1:.*]] = vector.maskedload %[[H]][%[[ROW]], %[[COL1]]], %[[MASK1]]
// CHECK:             %[[SUMS:[0-9]+]]:{{[0-9]+}} = scf.for %[[K:.*]] = %c0 to %c512 step %c1 iter_args(%[[S0:.*]] = %[[ACC0]], %[[S1:.*]] = %[[ACC1]],
// CHECK:               %[[B0:.*]] = vector.maskedload %[[X]][%[[K]], %[[COL]]], %[[MASK0]]
// CHECK:               %[[B1:.*]] = vector.maskedload %[[X]][%[[K]], %[[COL1]]], %[[MASK1]]
// CHECK:               %[[A:.*]] = memref.load %[[W]][%[[ROW]], %[[K]]]
// CHECK:               %[[AS:.*]] = vector.broadcast %[[A]] : f32 to vector<16xf32>
// CHECK:               vector.fma %[[AS]], %[[B0]], %[[S0]]
// CHECK:               vector.fma %[[AS]], %[[B1]], %[[S1]]
// CHECK:             vector.maskedstore %[[H]][%[[ROW]], %[[COL]]], %[[MASK0]], %[[SUMS]]#0
// CHECK:             vector.maskedstore %[[H]][%[[ROW]], %[[COL1]]], %[[MASK1]], %[[SUMS]]#1
// CHECK-NOT:     linalg.
// NARROW-LABEL: func.func @example(
// NARROW:         scf.for {{.*}} step %c16
// NARROW:           vector.create_mask {{.*}} : vector<8xi1>
// NARROW:           vector.fma {{.*}} : vector<8xf32>
// NARROW-LABEL: func.func @few_rows(
func.func @example(%w: memref<2048x512xf32>, %xt: memref<512x?xf32>, %ht: memref<2048x?xf32>) {
  linalg.matmul ins(%w, %xt : memref<2048x512xf32>, memref<512x?xf32>) outs(%ht : memref<2048x?xf32>)
  return
}

// Few rows are one block: three of them, with two vectors each.

// CHECK-LABEL: func.func @few_rows(
// CHECK:         scf.for %{{.*}} = %c0 to %c100 step %c32
// CHECK:           %{{.*}}:6 = scf.for %{{.*}} = %c0 to %c7 step %c1
// CHECK-COUNT-6:     vector.fma
// CHECK-NOT:         vector.fma
// CHECK:         return
func.func @few_rows(%a: memref<3x7xf32>, %b: memref<7x100xf32>, %c: memref<3x100xf32>) {
  linalg.matmul ins(%a, %b : memref<3x7xf32>, memref<7x100xf32>) outs(%c : memref<3x100xf32>)
  return
}

// Rows whose number is not known: whole blocks, then row by row.

// CHECK-LABEL: func.func @dynamic_rows(
// CHECK-SAME:    %{{.*}}, %[[C:[a-z0-9]+]]: memref<?x64xf32>)
// CHECK:         %[[M:.*]] = memref.dim %[[C]], %c0
// CHECK:         %[[BLOCKS:.*]] = arith.divsi %[[M]], %[[ROWS:c[0-9]+]]
// CHECK:         %[[WHOLE:.*]] = arith.muli %[[BLOCKS]], %[[ROWS]]
// CHECK:         scf.for %{{.*}} = %c0 to %[[WHOLE]] step %[[ROWS]]
// CHECK:         scf.for %{{.*}} = %[[WHOLE]] to %[[M]] step %c1
// CHECK-NOT:     linalg.
func.func @dynamic_rows(%a: memref<?x?xf32>, %b: memref<?x64xf32>, %c: memref<?x64xf32>) {
  linalg.matmul ins(%a, %b : memref<?x?xf32>, memref<?x64xf32>) outs(%c : memref<?x64xf32>)
  return
}

// The left side may lie transposed, and rows may lie apart.

// CHECK-LABEL: func.func @left_transposed(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<8x4xf32, strided<[32, 1], offset: ?>>
// CHECK:         scf.for %[[K:.*]] = %c0 to %c8 step %c1
// CHECK:           memref.load %[[A]][%[[K]], %c0]
// CHECK:           memref.load %[[A]][%[[K]], %c1]
// CHECK-NOT:     linalg.
func.func @left_transposed(%a: memref<8x4xf32, strided<[32, 1], offset: ?>>, %b: memref<8x64xf32, strided<[128, 1]>>, %c: memref<4x64xf32>) {
  linalg.matmul indexing_maps = [#km, #kn, #mn]
    ins(%a, %b : memref<8x4xf32, strided<[32, 1], offset: ?>>, memref<8x64xf32, strided<[128, 1]>>) outs(%c : memref<4x64xf32>)
  return
}

// Narrow types: the left side is widened once, a block of rows at a time; the
// right side as it is loaded. Sums are in f32.

// CHECK-LABEL: func.func @narrow(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<4x40xbf16>, %[[B:[a-z0-9]+]]: memref<40x64xbf16>, %[[C:[a-z0-9]+]]: memref<4x64xf32>)
// CHECK:         %[[SCRATCH:.*]] = memref.alloc() {alignment = 64 : i64} : memref<4x40xf32>
// CHECK:         scf.for %[[K:.*]] = %c0 to %c40 step %c16 {
// CHECK:           %[[MASK:.*]] = vector.create_mask
// CHECK:           %[[LEFT:.*]] = vector.maskedload %[[A]][%c0, %[[K]]], %[[MASK]]
// CHECK:           %[[WIDE:.*]] = arith.extf %[[LEFT]] : vector<16xbf16> to vector<16xf32>
// CHECK:           vector.maskedstore %[[SCRATCH]][%c0, %[[K]]], %[[MASK]], %[[WIDE]]
// CHECK:         scf.for
// CHECK:           vector.maskedload %[[C]]
// CHECK:           scf.for
// CHECK:             %[[RIGHT:.*]] = vector.maskedload %[[B]]
// CHECK:             arith.extf %[[RIGHT]]
// CHECK:             memref.load %[[SCRATCH]]
// CHECK:         memref.dealloc %[[SCRATCH]]
// CHECK-NOT:     linalg.
func.func @narrow(%a: memref<4x40xbf16>, %b: memref<40x64xbf16>, %c: memref<4x64xf32>) {
  linalg.matmul ins(%a, %b : memref<4x40xbf16>, memref<40x64xbf16>) outs(%c : memref<4x64xf32>)
  return
}

// Where both sides lie along the sum, each result is a row sum of products.

// CHECK-LABEL: func.func @dot_products(
// CHECK:         scf.for %{{.*}} = %c0 to %c4 step %c1
// CHECK:           scf.for %{{.*}} = %c0 to %c64 step %c1
// CHECK:             arith.mulf {{.*}} : vector<16xf32>
// CHECK:             vector.reduction <add>
// CHECK-NOT:     linalg.
func.func @dot_products(%a: memref<4x8xf32>, %bt: memref<64x8xf32>, %c: memref<4x64xf32>) {
  linalg.matmul indexing_maps = [#mk, #nk, #mn] ins(%a, %bt : memref<4x8xf32>, memref<64x8xf32>) outs(%c : memref<4x64xf32>)
  return
}

// Left alone: a right side or a result that is not contiguous along the columns,
// sums that are not in f32, integers, and tensors.

// CHECK-LABEL: func.func @left_alone(
// CHECK-COUNT-5: linalg.matmul
func.func @left_alone(%a: memref<4x8xf32>, %b: memref<8x64xf32>, %bs: memref<8x64xf32, strided<[1, 8]>>, %c: memref<4x64xf32>,
    %cs: memref<4x64xf32, strided<[128, 2]>>, %h: memref<4x64xf16>, %i: memref<4x8xi32>, %j: memref<8x64xi32>, %k: memref<4x64xi32>,
    %ta: tensor<4x8xf32>, %tb: tensor<8x64xf32>, %tc: tensor<4x64xf32>) -> tensor<4x64xf32> {
  linalg.matmul ins(%a, %bs : memref<4x8xf32>, memref<8x64xf32, strided<[1, 8]>>) outs(%c : memref<4x64xf32>)
  linalg.matmul ins(%a, %b : memref<4x8xf32>, memref<8x64xf32>) outs(%cs : memref<4x64xf32, strided<[128, 2]>>)
  linalg.matmul ins(%a, %b : memref<4x8xf32>, memref<8x64xf32>) outs(%h : memref<4x64xf16>)
  linalg.matmul ins(%i, %j : memref<4x8xi32>, memref<8x64xi32>) outs(%k : memref<4x64xi32>)
  %0 = linalg.matmul ins(%ta, %tb : tensor<4x8xf32>, tensor<8x64xf32>) outs(%tc : tensor<4x64xf32>) -> tensor<4x64xf32>
  return %0 : tensor<4x64xf32>
}

// -----

// No rows: nothing is computed. Integers are left to others.

// CHECK-LABEL: func.func @empty_and_integer
// CHECK: linalg.matmul ins(%{{.*}} : memref<8x8xi8>, memref<8x8xi8>)
// CHECK-NOT: linalg.matmul
func.func @empty_and_integer(%a: memref<0x8xf32>, %b: memref<8x4xf32>, %c: memref<0x4xf32>, %i: memref<8x8xi8>, %o: memref<8x8xi8>) {
  linalg.matmul ins(%i, %i : memref<8x8xi8>, memref<8x8xi8>) outs(%o : memref<8x8xi8>)
  linalg.matmul ins(%a, %b : memref<0x8xf32>, memref<8x4xf32>) outs(%c : memref<0x4xf32>)
  return
}
