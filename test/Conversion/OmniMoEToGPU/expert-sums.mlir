// RUN: omni-opt %s --convert-omnimoe-to-gpu | FileCheck %s

// A block owns an expert, a thread columns of its row: pairs add up in the
// order that the dispatch has them in, four at a time, past the end with weight
// zero. Zeros that a fill would write are where the sum starts.

// CHECK-LABEL: func.func @by_expert(
// CHECK-SAME:    %[[A:[a-z0-9]+]]: memref<?x4xf32>, %[[X:[a-z0-9]+]]: memref<?x1024xbf16>, %[[E:[a-z0-9]+]]: memref<?x4xi32>, %[[DW:[a-z0-9]+]]: memref<4096x1024xf32>,
// CHECK-SAME:    %[[O:[a-z0-9]+]]: memref<4097xi32>, %[[T:[a-z0-9]+]]: memref<?xi32>, %[[S:[a-z0-9]+]]: memref<?xi32>, %[[P:[a-z0-9]+]]: memref<?xi32>)
// CHECK:         gpu.launch
// CHECK-NOT:       linalg.fill
// CHECK:           memref.load %[[S]]
// CHECK:           memref.load %[[S]]
// CHECK:           %[[SUM:.*]] = scf.for {{.*}} iter_args(
// CHECK-COUNT-4:     vector.load %[[X]]{{.*}} {alignment = 16 : i64} : memref<?x1024xbf16>, vector<8xbf16>
// CHECK:           vector.store %[[SUM]], {{.*}} {alignment = 16 : i64}
// CHECK-NOT:     omnimoe.combine
func.func @by_expert(%a: memref<?x4xf32>, %x: memref<?x1024xbf16>, %e: memref<?x4xi32>, %dw: memref<4096x1024xf32>,
    %o: memref<4097xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  %zero = arith.constant 0.0 : f32
  scf.forall (%i) in (4096) {
    %row = memref.subview %dw[%i, 0] [1, 1024] [1, 1] : memref<4096x1024xf32> to memref<1x1024xf32, strided<[1024, 1], offset: ?>>
    %offsets = memref.subview %o[%i] [2] [1] : memref<4097xi32> to memref<2xi32, strided<[1], offset: ?>>
    linalg.fill ins(%zero : f32) outs(%row : memref<1x1024xf32, strided<[1024, 1], offset: ?>>)
    omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4xf32>, memref<?x1024xbf16>, memref<?x4xi32>)
      dispatch(%offsets, %t, %s, %p : memref<2xi32, strided<[1], offset: ?>>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
      outs(%row : memref<1x1024xf32, strided<[1024, 1], offset: ?>>)
      {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
  }
  return
}

// Products by the same dispatch of the same tokens join the tiles of the sum: a
// token's piece is loaded once for both. Parts of the products are added over a
// warp, four at a time, and over the warps once in 32 pairs.

// CHECK-LABEL: func.func @products_in_passing(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x1024xbf16>
// CHECK:         gpu.launch
// CHECK:           scf.for
// CHECK:             vector.load {{.*}} : memref<1x1024xbf16
// CHECK:             scf.for
// CHECK-COUNT-4:       vector.load %[[X]]
// CHECK-COUNT-6:       gpu.shuffle xor
// CHECK:             gpu.barrier
// CHECK:             gpu.barrier
// CHECK-NOT:     omnimoe.grouped_matmul
// CHECK-NOT:     gpu.launch
func.func @products_in_passing(%a: memref<?x4xf32>, %x: memref<?x1024xbf16>, %e: memref<?x4xi32>, %w: memref<4096x1024xbf16>, %m: memref<?x4xf32>,
    %dw: memref<4096x1024xf32>, %o: memref<4097xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x1024xbf16>, memref<4096x1024xbf16>, memref<?x4xi32>)
    dispatch(%o, %t, %s, %p : memref<4097xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%m : memref<?x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
  scf.forall (%i) in (4096) {
    %row = memref.subview %dw[%i, 0] [1, 1024] [1, 1] : memref<4096x1024xf32> to memref<1x1024xf32, strided<[1024, 1], offset: ?>>
    %offsets = memref.subview %o[%i] [2] [1] : memref<4097xi32> to memref<2xi32, strided<[1], offset: ?>>
    omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4xf32>, memref<?x1024xbf16>, memref<?x4xi32>)
      dispatch(%offsets, %t, %s, %p : memref<2xi32, strided<[1], offset: ?>>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
      outs(%row : memref<1x1024xf32, strided<[1024, 1], offset: ?>>)
      {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
  }
  return
}

// Products without such a sum have tiles of their own.

// CHECK-LABEL: func.func @products_alone(
// CHECK:         arith.constant 4096
// CHECK:         gpu.launch
// CHECK-COUNT-6:   gpu.shuffle xor
// CHECK-NOT:     omnimoe.grouped_matmul
func.func @products_alone(%x: memref<?x1024xbf16>, %e: memref<?x4xi32>, %w: memref<4096x1024xbf16>, %m: memref<?x4xf32>,
    %o: memref<4097xi32>, %t: memref<?xi32>, %s: memref<?xi32>, %p: memref<?xi32>) {
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x1024xbf16>, memref<4096x1024xbf16>, memref<?x4xi32>)
    dispatch(%o, %t, %s, %p : memref<4097xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%m : memref<?x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 1>}
  return
}
