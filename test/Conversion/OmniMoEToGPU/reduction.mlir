// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A warp takes a row. The last tile may have fewer: its buffers are those of a
// whole one.

// CHECK-LABEL: func.func @rows
// CHECK: gpu.launch
// CHECK-SAME: workgroup(%[[S:.*]] : memref<4xf32, #gpu.address_space<workgroup>>)
// CHECK: memref.subview %[[S]][0] [%{{.*}}] [1]
// CHECK: arith.constant 0xFF800000 : f32
// CHECK: scf.for {{.*}} step %c32
// CHECK: arith.maximumf
// CHECK-COUNT-5: gpu.shuffle xor
// CHECK: scf.if
// CHECK: memref.store
// CHECK: gpu.barrier
func.func @rows(%a: memref<?x100xf32>, %b: memref<?x100xf32>) {
  %c0 = arith.constant 0 : index
  %low = arith.constant 0xFF800000 : f32
  %T = memref.dim %a, %c0 : memref<?x100xf32>
  scf.forall (%t) = (0) to (%T) step (4) {
    %n = affine.min affine_map<(d0)[s0] -> (4, -d0 + s0)>(%t)[%T]
    %at = memref.subview %a[%t, 0] [%n, 100] [1, 1] : memref<?x100xf32> to memref<?x100xf32, strided<[100, 1], offset: ?>>
    %bt = memref.subview %b[%t, 0] [%n, 100] [1, 1] : memref<?x100xf32> to memref<?x100xf32, strided<[100, 1], offset: ?>>
    %m = memref.alloc(%n) : memref<?xf32>
    linalg.fill ins(%low : f32) outs(%m : memref<?xf32>)
    linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]}
        ins(%at : memref<?x100xf32, strided<[100, 1], offset: ?>>) outs(%m : memref<?xf32>) {
    ^bb0(%in: f32, %out: f32):
      %r = arith.maximumf %in, %out : f32
      linalg.yield %r : f32
    }
    linalg.generic {indexing_maps = [#id, #row, #id], iterator_types = ["parallel", "parallel"]}
        ins(%at, %m : memref<?x100xf32, strided<[100, 1], offset: ?>>, memref<?xf32>) outs(%bt : memref<?x100xf32, strided<[100, 1], offset: ?>>) {
    ^bb0(%in: f32, %top: f32, %out: f32):
      %r = arith.subf %in, %top : f32
      linalg.yield %r : f32
    }
    memref.dealloc %m : memref<?xf32>
  }
  return
}

// -----

// A sum over another loop than the last, or one that no single operation
// combines, has a thread for each element; what is in no tile is one.

// CHECK-LABEL: func.func @columns
// CHECK: gpu.launch
// CHECK-NOT: gpu.shuffle
// CHECK: arith.remui
// CHECK: scf.for
// CHECK: memref.load
// CHECK: arith.addf
// CHECK: memref.store
func.func @columns(%a: memref<?x100xf32>, %s: memref<100xf32>) {
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
      ins(%a : memref<?x100xf32>) outs(%s : memref<100xf32>) {
  ^bb0(%in: f32, %out: f32):
    %e = math.exp %in : f32
    %r = arith.addf %e, %out : f32
    %q = arith.mulf %r, %r : f32
    linalg.yield %q : f32
  }
  return
}

// -----

// Values that are not neighbours are read one at a time, and copies are
// element-wise too.

// CHECK-LABEL: func.func @strided
// CHECK: gpu.launch
// CHECK: memref.load %{{.*}} : memref<8x16xf32, strided<[32, 2]>>
// CHECK: memref.store
// CHECK: gpu.barrier
// CHECK-NOT: memref.copy
func.func @strided(%a: memref<8x16xf32, strided<[32, 2]>>, %b: memref<8x16xf32>) {
  memref.copy %a, %b : memref<8x16xf32, strided<[32, 2]>> to memref<8x16xf32>
  return
}

// -----

// The gradient of the router: rows of sums over the same values, picked by
// position. A thread for each element keeps its sum in a register.

// CHECK-LABEL: func.func @picked
// CHECK: gpu.launch
// CHECK-NOT: gpu.shuffle
// CHECK: %[[T:.*]] = arith.divui
// CHECK: %[[START:.*]] = memref.load
// CHECK: %[[SUM:.*]] = scf.for {{.*}} iter_args(%{{.*}} = %[[START]])
// CHECK:   memref.load
// CHECK:   arith.cmpi eq
// CHECK:   arith.select
// CHECK-NOT: memref.store
// CHECK: }
// CHECK: memref.store %[[SUM]]
// CHECK-NOT: linalg.index
func.func @picked(%d: memref<4x16xf32>, %p: memref<4x16xi32>, %s: memref<4x64xf32>) {
  linalg.generic {indexing_maps = [affine_map<(t, i, k) -> (t, k)>, affine_map<(t, i, k) -> (t, k)>, affine_map<(t, i, k) -> (t, i)>],
                  iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%d, %p : memref<4x16xf32>, memref<4x16xi32>) outs(%s : memref<4x64xf32>) {
  ^bb0(%in: f32, %position: i32, %out: f32):
    %zero = arith.constant 0.0 : f32
    %i = linalg.index 1 : index
    %here = arith.index_cast %i : index to i32
    %is = arith.cmpi eq, %position, %here : i32
    %term = arith.select %is, %in, %zero : f32
    %sum = arith.addf %out, %term : f32
    linalg.yield %sum : f32
  }
  return
}

// -----

// What an element is may depend on where it is.

// CHECK-LABEL: func.func @numbers
// CHECK: gpu.launch
// CHECK: scf.for %[[I:.*]] =
// CHECK: arith.index_cast %[[I]] : index to i32
// CHECK-NOT: linalg.index
func.func @numbers(%a: memref<100xi32>) {
  linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%a : memref<100xi32>) {
  ^bb0(%out: i32):
    %i = linalg.index 0 : index
    %n = arith.index_cast %i : index to i32
    linalg.yield %n : i32
  }
  return
}
