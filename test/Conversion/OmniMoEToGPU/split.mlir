// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

// Tiles of two loops are blocks in a row. The down vectors are asked for before
// the products, all of them at once, and a sum that starts at zero neither
// writes nor reads the zeros.

// CHECK-LABEL: func.func @part
// CHECK:         %[[BLOCKS:.*]] = arith.muli
// CHECK:         gpu.launch blocks(%[[B:.*]], %{{.*}}, %{{.*}}) in (%{{.*}} = %[[BLOCKS]],
// CHECK-DAG:     %[[K:.*]] = arith.remui %[[B]]
// CHECK-DAG:     %[[T:.*]] = arith.divui %[[B]]
// CHECK-COUNT-4: vector.load %arg2
// CHECK:         vector.load {{.*}} memref<1x1024xbf16
// CHECK:         vector.load %arg1
// CHECK:         gpu.shuffle xor
// CHECK:         gpu.barrier
// CHECK-NOT:     vector.load %arg2
// CHECK-NOT:     linalg.fill
// CHECK:         vector.fma
// CHECK:         vector.store {{.*}} vector<8xf32>
func.func @part(%x: memref<?x1024xbf16>, %up: memref<4096x1024xbf16>, %down: memref<4096x1024xbf16>, %e: memref<?x16xi32>, %p: memref<?x4x1024xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = memref.dim %x, %c0 : memref<?x1024xbf16>
  scf.forall (%t, %k) = (0, 0) to (%T, 16) step (1, 4) {
    %part = affine.apply affine_map<(d0) -> (d0 floordiv 4)>(%k)
    %xt = memref.subview %x[%t, 0] [1, 1024] [1, 1] : memref<?x1024xbf16> to memref<1x1024xbf16, strided<[1024, 1], offset: ?>>
    %et = memref.subview %e[%t, %k] [1, 4] [1, 1] : memref<?x16xi32> to memref<1x4xi32, strided<[16, 1], offset: ?>>
    %s = memref.alloc() : memref<1x4xf32>
    omnimoe.grouped_matmul ins(%xt, %up, %et : memref<1x1024xbf16, strided<[1024, 1], offset: ?>>, memref<4096x1024xbf16>, memref<1x4xi32, strided<[16, 1], offset: ?>>) outs(%s : memref<1x4xf32>)
    %pt = memref.subview %p[%t, %part, 0] [1, 1, 1024] [1, 1, 1] : memref<?x4x1024xf32> to memref<1x1024xf32, strided<[4096, 1], offset: ?>>
    linalg.fill ins(%zero : f32) outs(%pt : memref<1x1024xf32, strided<[4096, 1], offset: ?>>)
    omnimoe.combine to_tokens ins(%s, %down, %et : memref<1x4xf32>, memref<4096x1024xbf16>, memref<1x4xi32, strided<[16, 1], offset: ?>>) outs(%pt : memref<1x1024xf32, strided<[4096, 1], offset: ?>>)
    memref.dealloc %s : memref<1x4xf32>
  }
  return
}

// -----

// The parts of a sum: 6 parts are two for each of the four rows of a warp, the
// last of which have only one.

// CHECK-LABEL: func.func @sum
// CHECK:         gpu.launch
// CHECK:         %[[A:.*]] = vector.load {{.*}} {alignment = 16 : i64} : memref<1x6x128xf32, strided<[768, 128, 1], offset: ?>>, vector<4xf32>
// CHECK:         %[[B:.*]] = vector.load {{.*}} {alignment = 16 : i64} : memref<1x6x128xf32, strided<[768, 128, 1], offset: ?>>, vector<4xf32>
// CHECK:         arith.select
// CHECK:         arith.addf {{.*}} : vector<4xf32>
// CHECK-COUNT-8: gpu.shuffle xor
// CHECK:         vector.store
func.func @sum(%p: memref<?x6x128xf32>, %y: memref<?x128xf32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %p, %c0 : memref<?x6x128xf32>
  scf.forall (%t) = (0) to (%T) step (1) {
    %pt = memref.subview %p[%t, 0, 0] [1, 6, 128] [1, 1, 1] : memref<?x6x128xf32> to memref<1x6x128xf32, strided<[768, 128, 1], offset: ?>>
    %yt = memref.subview %y[%t, 0] [1, 128] [1, 1] : memref<?x128xf32> to memref<1x128xf32, strided<[128, 1], offset: ?>>
    linalg.reduce ins(%pt : memref<1x6x128xf32, strided<[768, 128, 1], offset: ?>>) outs(%yt : memref<1x128xf32, strided<[128, 1], offset: ?>>) dimensions = [1]
      (%in: f32, %sum: f32) {
        %0 = arith.addf %in, %sum : f32
        linalg.yield %0 : f32
      }
  }
  return
}
