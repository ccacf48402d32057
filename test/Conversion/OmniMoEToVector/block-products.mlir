// Blocks of experts against blocks of tokens: the dense schedule, and any other
// after a dispatch.
// DEFINE: %{to-llvm} = --convert-linalg-to-vector --convert-vector-to-scf --convert-scf-to-cf \
// DEFINE:   --expand-strided-metadata --lower-affine --convert-vector-to-llvm --convert-math-to-llvm \
// DEFINE:   --convert-arith-to-llvm --finalize-memref-to-llvm --convert-func-to-llvm \
// DEFINE:   --convert-cf-to-llvm --convert-ub-to-llvm --reconcile-unrealized-casts --omnimoe-verify-stage="stage=llvm"
// RUN: omni-opt %s --convert-omnimoe-to-vector --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-omnimoe-to-vector %{to-llvm} -o /dev/null
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=128" --convert-linalg-to-vector="vector-bits=128" %{to-llvm} -o /dev/null

//===----------------------------------------------------------------------===//
// Dense: the tokens of the tile, all of them
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @dense_products(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x32xf32>, %[[W:[a-z0-9]+]]: memref<256x32xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[S:[a-z0-9]+]]: memref<?x4xf32>)
// CHECK-DAG:     %[[GATHERED:.*]] = memref.alloc() {alignment = 64 : i64} : memref<64x32xf32>
// CHECK-DAG:     %[[XT:.*]] = memref.alloc() {alignment = 64 : i64} : memref<32x64xf32>
// CHECK-DAG:     %[[PRODUCTS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<128x64xf32>
//   A pair that is no expert's is picked from no block: it stays zero.
// CHECK:         linalg.fill ins(%cst{{.*}} : f32) outs(%[[S]] : memref<?x4xf32>)
// CHECK:         %[[T:.*]] = memref.dim %[[E]], %c0
// CHECK:         scf.for %[[FIRST:.*]] = %c0 to %[[T]] step %c64 {
// CHECK:           %[[COUNT:.*]] = arith.minsi %{{.*}}, %c64
//   The block of tokens, transposed.
// CHECK:           scf.for %[[I:.*]] = %c0 to %[[COUNT]] step %c1 {
// CHECK:             %[[TOKEN:.*]] = arith.addi %[[FIRST]], %[[I]]
// CHECK:             vector.load %[[X]][%[[TOKEN]],
// CHECK:             vector.store %{{.*}}, %[[GATHERED]][%[[I]],
// CHECK:           %[[XT_BLOCK:.*]] = memref.subview %[[XT]][0, 0] [32, %[[COUNT]]] [1, 1]
// CHECK:           linalg.transpose {{.*}} outs(%[[XT_BLOCK]] : {{.*}}) permutation = [1, 0]
//   Blocks of 128 experts, read in place.
// CHECK:           scf.for %[[BLOCK:.*]] = %c0 to %c2 step %c1 {
// CHECK:             %[[BASE:.*]] = arith.muli %[[BLOCK]], %c128
// CHECK:             %[[ROWS:.*]] = memref.subview %[[W]][%{{.*}}, 0] [128, 32] [1, 1]
// CHECK:             linalg.matmul ins(%[[ROWS]], %[[XT_BLOCK]] :
//   The products of pairs whose expert is in the block.
// CHECK:             scf.for %[[AT:.*]] = %c0 to %[[COUNT]] step %c1 {
// CHECK:               scf.for %[[CHOICE:.*]] = %c0 to %c4 step %c1 {
// CHECK:                 %[[ID:.*]] = memref.load %[[E]][%{{.*}}, %[[CHOICE]]]
// CHECK-DAG:             arith.cmpi uge
// CHECK-DAG:             arith.cmpi ult
// CHECK:                 scf.if
// CHECK:                   %[[PRODUCT:.*]] = memref.load %{{.*}}[%{{.*}}, %[[AT]]]
// CHECK:                   memref.store %[[PRODUCT]], %[[S]][%{{.*}}, %[[CHOICE]]]
// CHECK-DAG:     memref.dealloc %[[GATHERED]]
// CHECK-DAG:     memref.dealloc %[[XT]]
// CHECK-DAG:     memref.dealloc %[[PRODUCTS]]
// CHECK-NOT:     omnimoe.
func.func @dense_products(%x: memref<?x32xf32>, %w: memref<256x32xf32>, %e: memref<?x4xi32>, %s: memref<?x4xf32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x32xf32>, memref<256x32xf32>, memref<?x4xi32>)
    outs(%s : memref<?x4xf32>) {schedule = #omnimoe.schedule<dense, group_size = 128, token_tile = 64>}
  return
}

// Coefficients of a block of experts, zero where not chosen, times the vectors:
// straight onto the tokens.

// CHECK-LABEL: func.func @dense_sum(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x4xf32>, %[[V:[a-z0-9]+]]: memref<256x32xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[Y:[a-z0-9]+]]: memref<?x32xf32>)
// CHECK:         %[[C:.*]] = memref.alloc() {alignment = 64 : i64} : memref<64x256xf32>
// CHECK:         scf.for %[[FIRST:.*]] = %c0 to %{{.*}} step %c64 {
// CHECK:           linalg.fill
// CHECK:           scf.if
//   A token may choose an expert twice.
// CHECK:             %[[BEFORE:.*]] = memref.load %[[C]]
// CHECK:             %[[MORE:.*]] = memref.load %[[A]]
// CHECK:             %[[SUM:.*]] = arith.addf %[[BEFORE]], %[[MORE]]
// CHECK:             memref.store %[[SUM]], %[[C]]
// CHECK:           %[[TOKENS:.*]] = memref.subview %[[Y]][%[[FIRST]], 0]
// CHECK:           linalg.matmul ins(%{{.*}}, %{{.*}} : {{.*}}) outs(%[[TOKENS]] :
// CHECK:         memref.dealloc %[[C]]
func.func @dense_sum(%a: memref<?x4xf32>, %v: memref<256x32xf32>, %e: memref<?x4xi32>, %y: memref<?x32xf32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<256x32xf32>, memref<?x4xi32>)
    outs(%y : memref<?x32xf32>) {schedule = #omnimoe.schedule<dense, group_size = 256>}
  return
}

// The last block of 100 experts in blocks of 48 starts early enough to be
// whole: ids [96, 100) lie in the rows from 52.

// CHECK-LABEL: func.func @ragged(
// CHECK:         scf.for %[[BLOCK:.*]] = %c0 to %c3 step %c1 {
// CHECK:           %[[FIRST:.*]] = arith.muli %[[BLOCK]], %c48
// CHECK:           %[[NEXT:.*]] = arith.addi %[[FIRST]], %c48
// CHECK:           %[[END:.*]] = arith.minsi %[[NEXT]], %c100
// CHECK:           %[[BASE:.*]] = arith.minsi %[[FIRST]], %c52
// CHECK:           %[[ROW:.*]] = arith.muli %[[BASE]], %c2
// CHECK:           memref.subview %{{.*}}[%[[ROW]], 0] [96, 32] [1, 1] : memref<200x32xbf16>
// CHECK-DAG:       arith.cmpi uge, %{{.*}}, %[[FIRST]]
// CHECK-DAG:       arith.cmpi ult, %{{.*}}, %[[END]]
func.func @ragged(%x: memref<?x32xbf16>, %w: memref<100x2x32xbf16>, %e: memref<?x4xi32>, %s: memref<?x4x2xf32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x32xbf16>, memref<100x2x32xbf16>, memref<?x4xi32>)
    outs(%s : memref<?x4x2xf32>) {schedule = #omnimoe.schedule<dense, group_size = 48>}
  return
}

//===----------------------------------------------------------------------===//
// Expert-centric: the slots of a group
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @dispatched_products(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x32xf32>, %[[W:[a-z0-9]+]]: memref<256x32xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[S:[a-z0-9]+]]: memref<?x4xf32>,
// CHECK-SAME:    %[[O:[a-z0-9]+]]: memref<17xi32>, %[[T:[a-z0-9]+]]: memref<?xi32>, %[[B:[a-z0-9]+]]: memref<?xi32>, %[[P:[a-z0-9]+]]: memref<?xi32>)
// CHECK:         scf.for %[[GROUP:.*]] = %c0 to %c16 step %c1 {
//   The slots of the group.
// CHECK:           memref.load %[[O]][%[[GROUP]]]
// CHECK:           memref.load %[[O]]
// CHECK:           scf.for %[[FIRST:.*]] = %{{.*}} to %{{.*}} step %c64 {
//   Their tokens, gathered and transposed.
// CHECK:             memref.load %[[T]]
// CHECK:             vector.load %[[X]]
// CHECK:             linalg.transpose
// CHECK:             linalg.matmul ins(%{{.*}}, %{{.*}} : memref<16x32xf32, {{.*}}>, memref<32x?xf32, {{.*}}>)
//   The pairs of the slots: k of pair t * 4 + k.
// CHECK:             memref.load %[[B]]
// CHECK:             memref.load %[[B]]
// CHECK:             %[[PAIR:.*]] = memref.load %[[P]]
// CHECK:             memref.store %{{.*}}, %[[S]]
// CHECK-NOT:     omnimoe.
func.func @dispatched_products(%x: memref<?x32xf32>, %w: memref<256x32xf32>, %e: memref<?x4xi32>, %s: memref<?x4xf32>,
    %o: memref<17xi32>, %t: memref<?xi32>, %b: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x32xf32>, memref<256x32xf32>, memref<?x4xi32>)
    dispatch(%o, %t, %b, %p : memref<17xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%s : memref<?x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
  return
}

// Sums of a group's slots, padded to whole rows of the product, are added to
// their tokens one by one: two groups may share a token.

// CHECK-LABEL: func.func @dispatched_sum(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x4xf32>, %[[V:[a-z0-9]+]]: memref<256x32xf32>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[Y:[a-z0-9]+]]: memref<?x32xf32>,
// CHECK-DAG:     %[[C:.*]] = memref.alloc() {alignment = 64 : i64} : memref<64x16xf32>
// CHECK-DAG:     %[[SUMS:.*]] = memref.alloc() {alignment = 64 : i64} : memref<64x32xf32>
// CHECK:         %[[BLOCKS:.*]] = arith.ceildivui %[[COUNT:.*]], %c8
// CHECK:         %[[PADDED:.*]] = arith.muli %[[BLOCKS]], %c8
// CHECK:         memref.subview %[[C]][0, 0] [%[[PADDED]], 16]
// CHECK:         %[[OUT:.*]] = memref.subview %[[SUMS]][0, 0] [%[[PADDED]], 32]
// CHECK:         linalg.matmul {{.*}} outs(%[[OUT]] :
// CHECK:         scf.for %[[I:.*]] = %c0 to %[[COUNT]] step %c1 {
// CHECK-DAG:       vector.load %[[Y]]
// CHECK-DAG:       vector.load %[[SUMS]][%[[I]],
// CHECK:           arith.addf
// CHECK:           vector.store %{{.*}}, %[[Y]]
func.func @dispatched_sum(%a: memref<?x4xf32>, %v: memref<256x32xf32>, %e: memref<?x4xi32>, %y: memref<?x32xf32>,
    %o: memref<17xi32>, %t: memref<?xi32>, %b: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<256x32xf32>, memref<?x4xi32>)
    dispatch(%o, %t, %b, %p : memref<17xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%y : memref<?x32xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
  return
}
