// DEFINE: %{to-llvm} = --convert-linalg-to-vector --convert-vector-to-scf --convert-scf-to-cf \
// DEFINE:   --expand-strided-metadata --lower-affine --convert-vector-to-llvm --convert-math-to-llvm \
// DEFINE:   --convert-arith-to-llvm --finalize-memref-to-llvm --convert-func-to-llvm \
// DEFINE:   --convert-cf-to-llvm --convert-ub-to-llvm --reconcile-unrealized-casts --omnimoe-verify-stage="stage=llvm"
// RUN: omni-opt %s --convert-omnimoe-to-vector --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=256" --canonicalize --cse | FileCheck %s --check-prefix=NARROW
// RUN: omni-opt %s --convert-omnimoe-to-vector %{to-llvm} -o /dev/null
// RUN: omni-opt %s --convert-omnimoe-to-vector="vector-bits=128" %{to-llvm} -o /dev/null

// Four expert vectors at a time are added to the token's row.

// CHECK-LABEL: func.func @to_tokens(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x5xf32>, %[[V:[a-z0-9]+]]: memref<64x40xf32>, %[[E:[a-z0-9]+]]: memref<?x5xi32>, %[[Y:[a-z0-9]+]]: memref<?x40xf32>)
// CHECK:         %[[T:.*]] = memref.dim %[[E]], %c0
// CHECK:         scf.for %[[TOKEN:.*]] = %c0 to %[[T]] step %c1 {
//   A pair that is no expert's has the factor zero and reads nothing.
// CHECK:           %[[VALID:.*]] = arith.cmpi ult, %{{.*}}, %c64_i32
// CHECK:           %[[READS:.*]] = vector.broadcast %[[VALID]] : i1 to vector<16xi1>
// CHECK:           %[[COEFFICIENT:.*]] = memref.load %[[A]][%[[TOKEN]],
// CHECK:           %[[FACTOR:.*]] = arith.select %[[VALID]], %[[COEFFICIENT]], %cst
// CHECK:           %[[FACTORS:.*]] = vector.broadcast %[[FACTOR]] : f32 to vector<16xf32>
// CHECK:           scf.for %[[D:.*]] = %c0 to %c32 step %c16 {
// CHECK:             %[[BEFORE:.*]] = vector.load %[[Y]][%[[TOKEN]], %[[D]]]
// CHECK:             %[[ROW:.*]] = vector.maskedload %[[V]][%{{.*}}, %[[D]]], %[[READS]]
// CHECK:             %[[SUM:.*]] = vector.fma %[[FACTORS]], %[[ROW]], %[[BEFORE]]
// CHECK-COUNT-3:     vector.fma
// CHECK:             vector.store %{{.*}}, %[[Y]][%[[TOKEN]], %[[D]]]
// CHECK:           vector.maskedstore %[[Y]][%[[TOKEN]], %c32]
// CHECK-NOT:     omnimoe.
// NARROW-LABEL: func.func @to_tokens(
// NARROW:         scf.for %{{.*}} = %c0 to %c40 step %c8
// NARROW-NOT:     vector.maskedstore
// NARROW:       return
func.func @to_tokens(%a: memref<?x5xf32>, %v: memref<64x40xf32>, %e: memref<?x5xi32>, %y: memref<?x40xf32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x5xf32>, memref<64x40xf32>, memref<?x5xi32>) outs(%y : memref<?x40xf32>)
  return
}

// CHECK-LABEL: func.func @to_tokens_wide(
// CHECK-DAG:     %[[ROWS:.*]] = memref.collapse_shape %{{.*}} : memref<64x3x32xf16> into memref<192x32xf16>
// CHECK-DAG:     %[[VALUES:.*]] = memref.collapse_shape %{{.*}} : memref<?x2x3xf32> into memref<?x6xf32>
// CHECK:         memref.load %[[VALUES]]
// CHECK:         %[[ROW:.*]] = vector.maskedload %[[ROWS]]{{.*}} into vector<16xf16>
// CHECK:         arith.extf %[[ROW]]
func.func @to_tokens_wide(%a: memref<?x2x3xf32>, %v: memref<64x3x32xf16>, %e: memref<?x2xi32>, %y: memref<?x32xf32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2x3xf32>, memref<64x3x32xf16>, memref<?x2xi32>)
    outs(%y : memref<?x32xf32>) {schedule = #omnimoe.schedule<token_centric>}
  return
}

// A sum to experts works on columns of its own, however many: pairs add their
// token's vector to the row of their expert, if they have one.

// CHECK-LABEL: func.func @to_experts(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x5xf32>, %[[X:[a-z0-9]+]]: memref<?x24xf32, strided<[40, 1], offset: ?>>, %[[E:[a-z0-9]+]]: memref<?x5xi32>,
// CHECK-SAME:    %[[DW:[a-z0-9]+]]: memref<64x24xf32, strided<[40, 1], offset: ?>>)
// CHECK:         scf.for %[[TOKEN:.*]] = %c0 to
// CHECK:           scf.for %[[CHOICE:.*]] = %c0 to %c5
// CHECK:             %[[ID:.*]] = memref.load %[[E]][%[[TOKEN]], %[[CHOICE]]]
// CHECK:             %[[VALID:.*]] = arith.cmpi ult, %[[ID]], %c64_i32
// CHECK:             scf.if %[[VALID]] {
// CHECK:               memref.load %[[A]][%[[TOKEN]], %[[CHOICE]]]
// CHECK:               scf.for %[[D:.*]] = %c0 to %c24 step %c16 {
// CHECK:                 %[[MASK:.*]] = vector.create_mask
// CHECK:                 %[[XV:.*]] = vector.maskedload %[[X]][%[[TOKEN]], %[[D]]], %[[MASK]]
// CHECK:                 %[[BEFORE:.*]] = vector.maskedload %[[DW]]
// CHECK:                 %[[SUM:.*]] = vector.fma %{{.*}}, %[[XV]], %[[BEFORE]]
// CHECK:                 vector.maskedstore %[[DW]]{{.*}}, %[[MASK]], %[[SUM]]
func.func @to_experts(%a: memref<?x5xf32>, %x: memref<?x24xf32, strided<[40, 1], offset: ?>>, %e: memref<?x5xi32>,
    %dw: memref<64x24xf32, strided<[40, 1], offset: ?>>) {
  omnimoe.combine to_experts ins(%a, %x, %e : memref<?x5xf32>, memref<?x24xf32, strided<[40, 1], offset: ?>>, memref<?x5xi32>)
    outs(%dw : memref<64x24xf32, strided<[40, 1], offset: ?>>)
  return
}

// After a dispatch the pairs come expert by expert, and those without an expert
// are not among them: offsets[G] slots end at starts[offsets[G]].

// CHECK-LABEL: func.func @to_experts_dispatched(
// CHECK-SAME:    %[[O:[a-z0-9]+]]: memref<17xi32>, %[[T:[a-z0-9]+]]: memref<?xi32>, %[[B:[a-z0-9]+]]: memref<?xi32>, %[[P:[a-z0-9]+]]: memref<?xi32>)
// CHECK-DAG:     %[[DW:.*]] = memref.collapse_shape %{{.*}} {{\[}}[0, 1], [2]]
// CHECK-DAG:     %[[SLOTS:.*]] = memref.load %[[O]][%c16]
// CHECK:         %[[LAST:.*]] = arith.index_cast %[[SLOTS]]
// CHECK:         %[[PAIRS:.*]] = memref.load %[[B]][%[[LAST]]]
// CHECK:         %[[END:.*]] = arith.index_cast %[[PAIRS]]
// CHECK:         scf.for %[[AT:.*]] = %c0 to %[[END]] step %c1 {
// CHECK:           memref.load %[[P]][%[[AT]]]
// CHECK:           %[[TOKEN:.*]] = arith.divui %{{.*}}, %c4
// CHECK:           %[[CHOICE:.*]] = arith.remui %{{.*}}, %c4
// CHECK:           vector.maskedload %{{.*}}[%[[TOKEN]],
// CHECK:           vector.maskedstore %[[DW]]
func.func @to_experts_dispatched(%a: memref<?x4x2xf32>, %x: memref<?x32xbf16>, %e: memref<?x4xi32>, %dw: memref<64x2x32xf32>,
    %o: memref<17xi32>, %t: memref<?xi32>, %b: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4x2xf32>, memref<?x32xbf16>, memref<?x4xi32>)
    dispatch(%o, %t, %b, %p : memref<17xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%dw : memref<64x2x32xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 4>}
  return
}

// Expert by expert: a row is summed up in registers over the pairs that the
// dispatch found for it.

// CHECK-LABEL: func.func @by_expert(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x4x2xf32>, %[[X:[a-z0-9]+]]: memref<?x24xbf16>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[DW:[a-z0-9]+]]: memref<?x2x24xf32>,
// CHECK-SAME:    %[[O:[a-z0-9]+]]: memref<?xi32>, %[[T:[a-z0-9]+]]: memref<?xi32>, %[[S:[a-z0-9]+]]: memref<?xi32>, %[[P:[a-z0-9]+]]: memref<?xi32>)
// CHECK:         %[[ROWS:.*]] = memref.collapse_shape %[[DW]]
// CHECK:         scf.for
// CHECK:           memref.load %[[O]]
// CHECK:           memref.load %[[S]]
// CHECK:           scf.if
// CHECK:             scf.for
// CHECK:               %[[SUMS:.*]]:2 = scf.for {{.*}} iter_args(
// CHECK:                 memref.load %[[P]]
// CHECK:                 arith.divui
// CHECK-COUNT-2:         vector.fma
// CHECK:               vector.store %[[SUMS]]#0, %[[ROWS]]
// CHECK:               vector.maskedstore %[[ROWS]]{{.*}}, %{{.*}}, %[[SUMS]]#1
func.func @by_expert(%a: memref<?x4x2xf32>, %x: memref<?x24xbf16>, %e: memref<?x4xi32>, %dw: memref<?x2x24xf32>,
    %o: memref<?xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4x2xf32>, memref<?x24xbf16>, memref<?x4xi32>)
    dispatch(%o, %t, %s, %p : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%dw : memref<?x2x24xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
  return
}
