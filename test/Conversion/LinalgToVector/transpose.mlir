// RUN: omni-opt %s --convert-linalg-to-vector="vector-bits=128" --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-linalg-to-vector --canonicalize --cse | FileCheck %s --check-prefix=WIDE

// Blocks of lanes x lanes in registers. Past the end, rows repeat the last one
// and their lanes are masked; columns have an empty mask.

// CHECK-LABEL: func.func @blocks(
// CHECK-SAME:    %[[IN:[a-z0-9]+]]: memref<?x6xf32>, %[[OUT:[a-z0-9]+]]: memref<6x?xf32>)
// CHECK:         %[[ROWS:.*]] = memref.dim %[[IN]], %c0
// CHECK:         %[[LAST:.*]] = arith.subi %[[ROWS]], %c1
// CHECK:         scf.for %[[I:.*]] = %c0 to %[[ROWS]] step %c4 {
// CHECK:           %[[ROWS_LEFT:.*]] = arith.subi %[[ROWS]], %[[I]]
// CHECK:           %[[ROW_MASK:.*]] = vector.create_mask %[[ROWS_LEFT]] : vector<4xi1>
// CHECK:           scf.for %[[J:.*]] = %c0 to %c6 step %c4 {
// CHECK:             %[[COLUMNS_LEFT:.*]] = arith.subi %c6, %[[J]]
// CHECK:             %[[COLUMN_MASK:.*]] = vector.create_mask %[[COLUMNS_LEFT]] : vector<4xi1>
// CHECK:             %[[SOURCE:.*]] = arith.minsi %[[I]], %[[LAST]]
// CHECK:             %[[R0:.*]] = vector.maskedload %[[IN]][%[[SOURCE]], %[[J]]], %[[COLUMN_MASK]]
// CHECK:             %[[R1:.*]] = vector.maskedload %[[IN]]
// CHECK:             %[[R2:.*]] = vector.maskedload %[[IN]]
// CHECK:             %[[R3:.*]] = vector.maskedload %[[IN]]
//   Squares of one lane change places, then squares of two.
// CHECK-DAG:         %[[A:.*]] = vector.shuffle %[[R0]], %[[R1]] [0, 4, 2, 6]
// CHECK-DAG:         %[[B:.*]] = vector.shuffle %[[R0]], %[[R1]] [1, 5, 3, 7]
// CHECK-DAG:         %[[C:.*]] = vector.shuffle %[[R2]], %[[R3]] [0, 4, 2, 6]
// CHECK-DAG:         %[[D:.*]] = vector.shuffle %[[R2]], %[[R3]] [1, 5, 3, 7]
// CHECK-DAG:         %[[C0:.*]] = vector.shuffle %[[A]], %[[C]] [0, 1, 4, 5]
// CHECK-DAG:         %[[C2:.*]] = vector.shuffle %[[A]], %[[C]] [2, 3, 6, 7]
// CHECK-DAG:         %[[C1:.*]] = vector.shuffle %[[B]], %[[D]] [0, 1, 4, 5]
// CHECK-DAG:         %[[C3:.*]] = vector.shuffle %[[B]], %[[D]] [2, 3, 6, 7]
// CHECK:             %[[INSIDE:.*]] = arith.cmpi sle, %[[J]], %c5
// CHECK:             %[[ALL:.*]] = vector.broadcast %[[INSIDE]]
// CHECK:             %[[MASK:.*]] = arith.andi %[[ROW_MASK]], %[[ALL]]
// CHECK:             %[[TARGET:.*]] = arith.minsi %[[J]], %c5
// CHECK:             vector.maskedstore %[[OUT]][%[[TARGET]], %[[I]]], %[[MASK]], %[[C0]]
// CHECK:             vector.maskedstore {{.*}}, %[[C1]] :
// CHECK:             vector.maskedstore {{.*}}, %[[C2]] :
// CHECK:             vector.maskedstore {{.*}}, %[[C3]] :
// CHECK-NOT:     linalg.
func.func @blocks(%in: memref<?x6xf32>, %out: memref<6x?xf32>) {
  linalg.transpose ins(%in : memref<?x6xf32>) outs(%out : memref<6x?xf32>) permutation = [1, 0]
  return
}

// Four rounds of sixteen shuffles at 512 bits, which no canonicalization takes
// apart into lanes.

// WIDE-LABEL: func.func @wide(
// WIDE-COUNT-64: vector.shuffle {{.*}} : vector<16xf32>, vector<16xf32>
// WIDE-NOT:      vector.shuffle
// WIDE-LABEL: func.func @narrow(
func.func @wide(%in: memref<?x512xf32>, %out: memref<512x?xf32>) {
  linalg.transpose ins(%in : memref<?x512xf32>) outs(%out : memref<512x?xf32>) permutation = [1, 0]
  return
}

// Narrow floats are shuffled as f32, wide ones as they are; rows may lie apart.

// CHECK-LABEL: func.func @narrow(
// CHECK:         vector.maskedload {{.*}} into vector<4xbf16>
// CHECK:         arith.extf {{.*}} : vector<4xbf16> to vector<4xf32>
// CHECK:         vector.shuffle {{.*}} : vector<4xf32>, vector<4xf32>
// CHECK:         arith.truncf {{.*}} : vector<4xf32> to vector<4xbf16>
// CHECK-NOT:     linalg.
func.func @narrow(%in: memref<8x8xbf16, strided<[16, 1]>>, %out: memref<8x8xbf16>) {
  linalg.transpose ins(%in : memref<8x8xbf16, strided<[16, 1]>>) outs(%out : memref<8x8xbf16>) permutation = [1, 0]
  return
}

// CHECK-LABEL: func.func @double(
// CHECK:         vector.shuffle {{.*}} : vector<4xf64>, vector<4xf64>
// CHECK-NOT:     linalg.
func.func @double(%in: memref<8x8xf64>, %out: memref<8x8xf64>) {
  linalg.transpose ins(%in : memref<8x8xf64>) outs(%out : memref<8x8xf64>) permutation = [1, 0]
  return
}

// Left alone: integers, more than two dimensions, and what is not contiguous. A
// transpose that changes nothing is a copy, which the element-wise lowering takes.

// CHECK-LABEL: func.func @left_alone(
// CHECK-COUNT-2: linalg.transpose
// CHECK-NOT:     linalg.transpose
// CHECK:         vector.maskedstore
func.func @left_alone(%a: memref<2x8x8xf32>, %b: memref<8x2x8xf32, strided<[1, 8, 16]>>, %c: memref<8x8xf32, strided<[1, 8]>>, %d: memref<8x8xf32>,
    %e: memref<8x8xf32>) {
  linalg.transpose ins(%a : memref<2x8x8xf32>) outs(%b : memref<8x2x8xf32, strided<[1, 8, 16]>>) permutation = [1, 0, 2]
  linalg.transpose ins(%c : memref<8x8xf32, strided<[1, 8]>>) outs(%c : memref<8x8xf32, strided<[1, 8]>>) permutation = [1, 0]
  linalg.transpose ins(%d : memref<8x8xf32>) outs(%e : memref<8x8xf32>) permutation = [0, 1]
  return
}
