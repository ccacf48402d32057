// Every operation reads back what it prints, in both forms.
// RUN: omni-opt %s | omni-opt | FileCheck %s
// RUN: omni-opt %s --mlir-print-op-generic | omni-opt | FileCheck %s
// RUN: omni-opt %s --mlir-print-op-generic | FileCheck %s --check-prefix=GENERIC
// RUN: omni-opt %s --emit-bytecode | omni-opt | FileCheck %s

//===----------------------------------------------------------------------===//
// route
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @route(
// CHECK-SAME:    %[[ROWS:.*]]: tensor<?x64xf32>, %[[COLS:.*]]: tensor<?x48xf32>, %[[S:.*]]: tensor<?x16xf32>, %[[E:.*]]: tensor<?x16xi32>)
// CHECK:         %[[R:.*]]:2 = omnimoe.route ins(%[[ROWS]], %[[COLS]] : tensor<?x64xf32>, tensor<?x48xf32>)
// CHECK-SAME:      outs(%[[S]], %[[E]] : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
// CHECK:         return %[[R]]#0, %[[R]]#1
// GENERIC:       "omnimoe.route"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x16xf32>, tensor<?x16xi32>) -> (tensor<?x16xf32>, tensor<?x16xi32>)
func.func @route(%rows: tensor<?x64xf32>, %cols: tensor<?x48xf32>, %s: tensor<?x16xf32>, %e: tensor<?x16xi32>)
    -> (tensor<?x16xf32>, tensor<?x16xi32>) {
  %0:2 = omnimoe.route ins(%rows, %cols : tensor<?x64xf32>, tensor<?x48xf32>)
    outs(%s, %e : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
  return %0#0, %0#1 : tensor<?x16xf32>, tensor<?x16xi32>
}

// The whole grid may be chosen, and T may be static.
// CHECK-LABEL: func.func @route_all_on_memrefs(
// CHECK:         omnimoe.route ins(%{{.*}}, %{{.*}} : memref<5x2xf32>, memref<5x3xf32>)
// CHECK-SAME:      outs(%{{.*}}, %{{.*}} : memref<5x6xf32>, memref<5x6xi32>){{$}}
func.func @route_all_on_memrefs(%rows: memref<5x2xf32>, %cols: memref<5x3xf32>, %s: memref<5x6xf32>, %e: memref<5x6xi32>) {
  omnimoe.route ins(%rows, %cols : memref<5x2xf32>, memref<5x3xf32>)
    outs(%s, %e : memref<5x6xf32>, memref<5x6xi32>)
  return
}

//===----------------------------------------------------------------------===//
// partition
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @partition(
// CHECK-SAME:    %[[E:.*]]: tensor<?x16xi32>, %[[C:.*]]: tensor<?x16xi32>, %[[R:.*]]: tensor<?x16xi32>)
// CHECK:         %{{.*}}:2 = omnimoe.partition ins(%[[E]] : tensor<?x16xi32>)
// CHECK-SAME:      outs(%[[C]], %[[R]] : tensor<?x16xi32>, tensor<?x16xi32>)
// CHECK-SAME:      num_experts = 4096 group_size = 64 min_pairs = 2 -> tensor<?x16xi32>, tensor<?x16xi32>
func.func @partition(%e: tensor<?x16xi32>, %c: tensor<?x16xi32>, %r: tensor<?x16xi32>) -> (tensor<?x16xi32>, tensor<?x16xi32>) {
  %0:2 = omnimoe.partition ins(%e : tensor<?x16xi32>) outs(%c, %r : tensor<?x16xi32>, tensor<?x16xi32>)
    num_experts = 4096 group_size = 64 min_pairs = 2 -> tensor<?x16xi32>, tensor<?x16xi32>
  return %0#0, %0#1 : tensor<?x16xi32>, tensor<?x16xi32>
}

// CHECK-LABEL: func.func @partition_memrefs(
// CHECK:         omnimoe.partition ins(%{{.*}} : memref<5x4xi32>) outs(%{{.*}}, %{{.*}} : memref<5x4xi32>, memref<5x4xi32>)
// CHECK-SAME:      num_experts = 7 group_size = 3 min_pairs = 1{{$}}
func.func @partition_memrefs(%e: memref<5x4xi32>, %c: memref<5x4xi32>, %r: memref<5x4xi32>) {
  omnimoe.partition ins(%e : memref<5x4xi32>) outs(%c, %r : memref<5x4xi32>, memref<5x4xi32>)
    num_experts = 7 group_size = 3 min_pairs = 1
  return
}

//===----------------------------------------------------------------------===//
// dispatch
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @dispatch(
// CHECK:         omnimoe.dispatch ins(%{{.*}} : tensor<?x16xi32>)
// CHECK-SAME:      outs(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
// CHECK-SAME:      num_experts = 4096 group_size = 64 -> tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
// GENERIC:       "omnimoe.dispatch"(%{{.*}}) <{grid_columns = 0 : i64, group_size = 64 : i64, num_experts = 4096 : i64, operandSegmentSizes = array<i32: 1, 0, 1, 1, 1, 1, 0>}>
func.func @dispatch(%e: tensor<?x16xi32>, %o: tensor<65xi32>, %t: tensor<?xi32>, %s: tensor<?xi32>, %p: tensor<?xi32>)
    -> (tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>) {
  %0:4 = omnimoe.dispatch ins(%e : tensor<?x16xi32>)
    outs(%o, %t, %s, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    num_experts = 4096 group_size = 64 -> tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  return %0#0, %0#1, %0#2, %0#3 : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
}

// Groups that are lines of a grid, and values that travel with the pairs.
// CHECK-LABEL: func.func @dispatch_by_lines(
// CHECK:         omnimoe.dispatch ins(%{{.*}} : tensor<?x16xi32>)
// CHECK-SAME:      outs(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<101xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
// CHECK-SAME:      num_experts = 2400 group_size = 60 grid_columns = 60 -> tensor<101xi32>
// CHECK:         omnimoe.dispatch ins(%{{.*}} : memref<?x16xi32>)
// CHECK-SAME:      carry(%{{.*}}, %{{.*}} to %{{.*}}, %{{.*}} : memref<?x16xi32>, memref<?x16xf32> to memref<?xi32>, memref<?xf32>)
// CHECK-SAME:      num_experts = 2400 group_size = 30 grid_columns = 60
func.func @dispatch_by_lines(%e: tensor<?x16xi32>, %o: tensor<101xi32>, %t: tensor<?xi32>, %s: tensor<?xi32>,
    %p: tensor<?xi32>, %me: memref<?x16xi32>, %mw: memref<?x16xf32>, %mo: memref<201xi32>, %ml: memref<?xi32>, %mf: memref<?xf32>)
    -> tensor<101xi32> {
  %0:4 = omnimoe.dispatch ins(%e : tensor<?x16xi32>)
    outs(%o, %t, %s, %p : tensor<101xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    num_experts = 2400 group_size = 60 grid_columns = 60 -> tensor<101xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
  omnimoe.dispatch ins(%me : memref<?x16xi32>) outs(%mo, %ml, %ml, %ml : memref<201xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%me, %mw to %ml, %mf : memref<?x16xi32>, memref<?x16xf32> to memref<?xi32>, memref<?xf32>)
    num_experts = 2400 group_size = 30 grid_columns = 60
  return %0#0 : tensor<101xi32>
}

// The group size is 1 unless said; the last group may be smaller.
// CHECK-LABEL: func.func @dispatch_on_memrefs(
// CHECK:         omnimoe.dispatch {{.*}} num_experts = 7{{$}}
// CHECK:         omnimoe.dispatch {{.*}} num_experts = 7 group_size = 4{{$}}
func.func @dispatch_on_memrefs(%e: memref<3x2xi32>, %o: memref<8xi32>, %g: memref<3xi32>, %t: memref<6xi32>, %s: memref<7xi32>,
                               %p: memref<6xi32>) {
  omnimoe.dispatch ins(%e : memref<3x2xi32>)
    outs(%o, %t, %s, %p : memref<8xi32>, memref<6xi32>, memref<7xi32>, memref<6xi32>) num_experts = 7
  omnimoe.dispatch ins(%e : memref<3x2xi32>)
    outs(%g, %t, %s, %p : memref<3xi32>, memref<6xi32>, memref<7xi32>, memref<6xi32>) num_experts = 7 group_size = 4
  return
}

//===----------------------------------------------------------------------===//
// grouped_matmul
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @grouped_matmul(
// CHECK-SAME:    %[[X:.*]]: tensor<?x512xf32>, %[[W:.*]]: tensor<4096x512xf32>, %[[E:.*]]: tensor<?x16xi32>, %[[S:.*]]: tensor<?x16xf32>)
// CHECK:         %[[R:.*]] = omnimoe.grouped_matmul ins(%[[X]], %[[W]], %[[E]] : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
// CHECK-SAME:      outs(%[[S]] : tensor<?x16xf32>) -> tensor<?x16xf32>
// GENERIC:       "omnimoe.grouped_matmul"(%{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}) : (tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>, tensor<?x16xf32>) -> tensor<?x16xf32>
func.func @grouped_matmul(%x: tensor<?x512xf32>, %w: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s: tensor<?x16xf32>)
    -> tensor<?x16xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%s : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %0 : tensor<?x16xf32>
}

// CHECK-LABEL: func.func @grouped_matmul_dispatched(
// CHECK-SAME:    %[[O:[a-z0-9]+]]: tensor<65xi32>, %[[T:[a-z0-9]+]]: tensor<?xi32>, %[[B:[a-z0-9]+]]: tensor<?xi32>, %[[P:[a-z0-9]+]]: tensor<?xi32>
// CHECK:         omnimoe.grouped_matmul
// CHECK-SAME:      dispatch(%[[O]], %[[T]], %[[B]], %[[P]] : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
// CHECK-SAME:      outs(%{{.*}} : tensor<?x16xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x16xf32>
// GENERIC:       "omnimoe.grouped_matmul"
// GENERIC-SAME:    <{schedule = #omnimoe.schedule<expert_centric, group_size = 64>
func.func @grouped_matmul_dispatched(%o: tensor<65xi32>, %t: tensor<?xi32>, %b: tensor<?xi32>, %p: tensor<?xi32>,
    %x: tensor<?x512xf32>, %w: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %s: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x512xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    dispatch(%o, %t, %b, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%s : tensor<?x16xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 64>} -> tensor<?x16xf32>
  return %0 : tensor<?x16xf32>
}

// Wide experts, and every type of vectors; x and weights need not agree.
// CHECK-LABEL: func.func @grouped_matmul_wide_on_memrefs(
// CHECK:         omnimoe.grouped_matmul ins({{.*}} : memref<?x8xf32>, memref<6x3x8xf32>, memref<?x2xi32>) outs(%{{.*}} : memref<?x2x3xf32>){{$}}
// CHECK:         omnimoe.grouped_matmul ins({{.*}} : memref<?x8xf16>, memref<6x3x8xf16>, memref<?x2xi32>) outs(%{{.*}} : memref<?x2x3xf32>)
// CHECK:         omnimoe.grouped_matmul ins({{.*}} : memref<?x8xf32>, memref<6x3x8xbf16>, memref<?x2xi32>) outs(%{{.*}} : memref<?x2x3xf32>)
// CHECK-SAME:      {schedule = #omnimoe.schedule<dense, group_size = 6, token_tile = 32>}
func.func @grouped_matmul_wide_on_memrefs(%x: memref<?x8xf32>, %h: memref<?x8xf16>, %wf: memref<6x3x8xf32>, %wh: memref<6x3x8xf16>,
                                          %wb: memref<6x3x8xbf16>, %e: memref<?x2xi32>, %s: memref<?x2x3xf32>) {
  omnimoe.grouped_matmul ins(%x, %wf, %e : memref<?x8xf32>, memref<6x3x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2x3xf32>)
  omnimoe.grouped_matmul ins(%h, %wh, %e : memref<?x8xf16>, memref<6x3x8xf16>, memref<?x2xi32>) outs(%s : memref<?x2x3xf32>)
  omnimoe.grouped_matmul ins(%x, %wb, %e : memref<?x8xf32>, memref<6x3x8xbf16>, memref<?x2xi32>) outs(%s : memref<?x2x3xf32>)
    {schedule = #omnimoe.schedule<dense, group_size = 6, token_tile = 32>}
  return
}

//===----------------------------------------------------------------------===//
// combine
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @combine(
// CHECK-SAME:    %[[A:.*]]: tensor<?x16xf32>, %[[V:.*]]: tensor<4096x512xf32>, %[[E:.*]]: tensor<?x16xi32>, %[[Y:.*]]: tensor<?x512xf32>, %[[DW:.*]]: tensor<4096x512xf32>)
// CHECK:         %[[SUM:.*]] = omnimoe.combine to_tokens ins(%[[A]], %[[V]], %[[E]] : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
// CHECK-SAME:      outs(%[[Y]] : tensor<?x512xf32>) -> tensor<?x512xf32>
// CHECK:         omnimoe.combine to_experts ins(%[[A]], %[[SUM]], %[[E]] : tensor<?x16xf32>, tensor<?x512xf32>, tensor<?x16xi32>)
// CHECK-SAME:      outs(%[[DW]] : tensor<4096x512xf32>) -> tensor<4096x512xf32>
// GENERIC:       "omnimoe.combine"
// GENERIC-SAME:    <{kind = #omnimoe<combine_kind to_tokens>}>
// GENERIC:       "omnimoe.combine"
// GENERIC-SAME:    <{kind = #omnimoe<combine_kind to_experts>}>
func.func @combine(%a: tensor<?x16xf32>, %v: tensor<4096x512xf32>, %e: tensor<?x16xi32>, %y: tensor<?x512xf32>, %dw: tensor<4096x512xf32>)
    -> tensor<4096x512xf32> {
  %0 = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xf32>, tensor<?x16xi32>)
    outs(%y : tensor<?x512xf32>) -> tensor<?x512xf32>
  %1 = omnimoe.combine to_experts ins(%a, %0, %e : tensor<?x16xf32>, tensor<?x512xf32>, tensor<?x16xi32>)
    outs(%dw : tensor<4096x512xf32>) -> tensor<4096x512xf32>
  return %1 : tensor<4096x512xf32>
}

// CHECK-LABEL: func.func @combine_dispatched(
// CHECK:         omnimoe.combine to_tokens ins(%{{.*}} : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>)
// CHECK-SAME:      dispatch(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
// CHECK-SAME:      outs(%{{.*}} : memref<?x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
// CHECK:         omnimoe.combine to_experts
// CHECK-SAME:      dispatch(
// CHECK-SAME:      outs(%{{.*}} : memref<6x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
func.func @combine_dispatched(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>, %dw: memref<6x8xf32>,
    %o: memref<4xi32>, %t: memref<?xi32>, %b: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %t, %b, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%y : memref<?x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
  omnimoe.combine to_experts ins(%a, %y, %e : memref<?x2xf32>, memref<?x8xf32>, memref<?x2xi32>)
    dispatch(%o, %t, %b, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%dw : memref<6x8xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 2>}
  return
}

// Wide experts; the destination may be of a narrow type too.
// CHECK-LABEL: func.func @combine_wide(
// CHECK:         omnimoe.combine to_tokens ins(%{{.*}} : tensor<?x2x3xf32>, tensor<6x3x8xbf16>, tensor<?x2xi32>) outs(%{{.*}} : tensor<?x8xbf16>) -> tensor<?x8xbf16>
// CHECK:         omnimoe.combine to_experts ins(%{{.*}} : tensor<?x2x3xf32>, tensor<?x8xbf16>, tensor<?x2xi32>) outs(%{{.*}} : tensor<6x3x8xf16>) -> tensor<6x3x8xf16>
func.func @combine_wide(%a: tensor<?x2x3xf32>, %v: tensor<6x3x8xbf16>, %e: tensor<?x2xi32>, %y: tensor<?x8xbf16>, %dw: tensor<6x3x8xf16>)
    -> tensor<6x3x8xf16> {
  %0 = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x2x3xf32>, tensor<6x3x8xbf16>, tensor<?x2xi32>)
    outs(%y : tensor<?x8xbf16>) -> tensor<?x8xbf16>
  %1 = omnimoe.combine to_experts ins(%a, %0, %e : tensor<?x2x3xf32>, tensor<?x8xbf16>, tensor<?x2xi32>)
    outs(%dw : tensor<6x3x8xf16>) -> tensor<6x3x8xf16>
  return %1 : tensor<6x3x8xf16>
}

// No tokens at all, strided memory, and other attributes are kept.
// CHECK-LABEL: func.func @edges(
// CHECK:         omnimoe.combine to_tokens ins(%{{.*}} : tensor<0x2xf32>, tensor<6x8xf32>, tensor<0x2xi32>) outs(%{{.*}} : tensor<0x8xf32>) {note = "kept"}
// CHECK:         omnimoe.grouped_matmul ins(%{{.*}} : memref<?x8xf32, strided<[16, 1], offset: ?>>, memref<6x8xf32>, memref<?x2xi32>)
func.func @edges(%a: tensor<0x2xf32>, %v: tensor<6x8xf32>, %e: tensor<0x2xi32>, %y: tensor<0x8xf32>,
    %x: memref<?x8xf32, strided<[16, 1], offset: ?>>, %w: memref<6x8xf32>, %i: memref<?x2xi32>, %s: memref<?x2xf32>) -> tensor<0x8xf32> {
  %0 = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<0x2xf32>, tensor<6x8xf32>, tensor<0x2xi32>)
    outs(%y : tensor<0x8xf32>) {note = "kept"} -> tensor<0x8xf32>
  omnimoe.grouped_matmul ins(%x, %w, %i : memref<?x8xf32, strided<[16, 1], offset: ?>>, memref<6x8xf32>, memref<?x2xi32>)
    outs(%s : memref<?x2xf32>)
  return %0 : tensor<0x8xf32>
}
