// RUN: omni-opt %s --convert-linalg-to-vector --canonicalize --cse | FileCheck %s
// RUN: omni-opt %s --convert-linalg-to-vector="vector-bits=256" --canonicalize --cse | FileCheck %s --check-prefix=NARROW

#id = affine_map<(i, j) -> (i, j)>
#row = affine_map<(i, j) -> (i)>
#row1 = affine_map<(i, j) -> (i, 0)>
#column = affine_map<(i, j) -> (j)>
#swap = affine_map<(i, j) -> (j, i)>

// The payload works on vectors along the last loop, whose tail is masked. A
// value per row and values from outside are broadcast.

// CHECK-LABEL: func.func @gate(
// CHECK-SAME:    %[[S:[a-z0-9]+]]: memref<?x40xf32>, %[[G:[a-z0-9]+]]: memref<?xf32>, %[[B:[a-z0-9]+]]: memref<40xf32>, %[[F:[a-z0-9]+]]: f32, %[[OUT:[a-z0-9]+]]: memref<?x40xf32>)
// CHECK:         %[[T:.*]] = memref.dim %[[S]], %c0
// CHECK:         scf.for %[[I:.*]] = %c0 to %[[T]] step %c1 {
// CHECK:           scf.for %[[J:.*]] = %c0 to %c40 step %c16 {
// CHECK:             %[[REST:.*]] = arith.subi %c40, %[[J]]
// CHECK:             %[[MASK:.*]] = vector.create_mask %[[REST]] : vector<16xi1>
// CHECK:             %[[SV:.*]] = vector.maskedload %[[S]][%[[I]], %[[J]]], %[[MASK]]
// CHECK:             %[[GATE:.*]] = memref.load %[[G]][%[[I]]]
// CHECK:             %[[GV:.*]] = vector.broadcast %[[GATE]] : f32 to vector<16xf32>
// CHECK:             %[[BV:.*]] = vector.maskedload %[[B]][%[[J]]], %[[MASK]]
// CHECK:             %[[E:.*]] = math.exp %[[SV]] : vector<16xf32>
// CHECK:             %[[M:.*]] = arith.mulf %[[E]], %[[GV]]
// CHECK:             %[[A:.*]] = arith.addf %[[M]], %[[BV]]
// CHECK:             %[[FV:.*]] = vector.broadcast %[[F]] : f32 to vector<16xf32>
// CHECK:             %[[X:.*]] = arith.maximumf %[[A]], %[[FV]]
// CHECK:             vector.maskedstore %[[OUT]][%[[I]], %[[J]]], %[[MASK]], %[[X]]
// CHECK-NOT:     linalg.
// NARROW-LABEL: func.func @gate(
// NARROW:         scf.for {{.*}} step %c8
// NARROW:           math.exp {{.*}} : vector<8xf32>
func.func @gate(%s: memref<?x40xf32>, %g: memref<?xf32>, %b: memref<40xf32>, %f: f32, %out: memref<?x40xf32>) {
  linalg.generic {indexing_maps = [#id, #row, #column, #id], iterator_types = ["parallel", "parallel"]}
    ins(%s, %g, %b : memref<?x40xf32>, memref<?xf32>, memref<40xf32>) outs(%out : memref<?x40xf32>) {
  ^bb0(%p: f32, %q: f32, %r: f32, %o: f32):
    %e = math.exp %p : f32
    %m = arith.mulf %e, %q : f32
    %a = arith.addf %m, %r : f32
    %x = arith.maximumf %a, %f : f32
    linalg.yield %x : f32
  }
  return
}

// Constants become vectors, other types are converted lane by lane, attributes
// of the payload stay, and there may be several results.

// CHECK-LABEL: func.func @several(
// CHECK-DAG:     %[[TWO:.*]] = arith.constant dense<2.000000e+00> : vector<16xf32>
// CHECK:         vector.create_mask %{{.*}} : vector<16xi1>
// CHECK:         arith.extf %{{.*}} : vector<16xbf16> to vector<16xf32>
// CHECK:         %[[M:.*]] = arith.mulf %{{.*}}, %[[TWO]] fastmath<contract> : vector<16xf32>
// CHECK:         %[[P:.*]] = arith.cmpf ogt, %[[M]], %{{.*}} : vector<16xf32>
// CHECK:         %[[C:.*]] = arith.select %[[P]], {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK:         %[[N:.*]] = arith.truncf %[[C]] : vector<16xf32> to vector<16xbf16>
// CHECK:         vector.maskedstore %{{.*}}, %[[M]] :
// CHECK:         vector.maskedstore %{{.*}}, %[[N]] :
func.func @several(%x: memref<?xbf16>, %y: memref<?xf32>, %z: memref<?xbf16>) {
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
    ins(%x : memref<?xbf16>) outs(%y, %z : memref<?xf32>, memref<?xbf16>) {
  ^bb0(%p: bf16, %o: f32, %q: bf16):
    %two = arith.constant 2.0 : f32
    %one = arith.constant 1.0 : f32
    %e = arith.extf %p : bf16 to f32
    %m = arith.mulf %e, %two fastmath<contract> : f32
    %c = arith.cmpf ogt, %m, %one : f32
    %s = arith.select %c, %m, %one : f32
    %t = arith.truncf %s : f32 to bf16
    linalg.yield %m, %t : f32, bf16
  }
  return
}

// CHECK-LABEL: func.func @fill(
// CHECK-SAME:    %[[OUT:[a-z0-9]+]]: memref<?x40xi32, strided<[64, 1], offset: ?>>)
// CHECK-DAG:     %[[SEVEN:.*]] = arith.constant dense<7> : vector<16xi32>
// CHECK:         scf.for
// CHECK:           scf.for
// CHECK:             vector.maskedstore %[[OUT]]{{.*}}, %[[SEVEN]]
// CHECK-NOT:     linalg.
func.func @fill(%out: memref<?x40xi32, strided<[64, 1], offset: ?>>) {
  %seven = arith.constant 7 : i32
  linalg.fill ins(%seven : i32) outs(%out : memref<?x40xi32, strided<[64, 1], offset: ?>>)
  return
}

// A reduction along the last loop keeps a vector of partial results; lanes past
// the end keep theirs.

// CHECK-LABEL: func.func @row_maximum(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x40xf32>, %[[OUT:[a-z0-9]+]]: memref<?xf32>)
// CHECK-DAG:     %[[NEUTRAL:.*]] = arith.constant dense<{{.*}}> : vector<16xf32>
// CHECK:         scf.for %[[I:.*]] = %c0 to
// CHECK:           %[[PARTIAL:.*]] = scf.for %[[J:.*]] = %c0 to %c40 step %c16 iter_args(%[[CARRIED:.*]] = %{{.*}}) -> (vector<16xf32>) {
// CHECK:             %[[MASK:.*]] = vector.create_mask
// CHECK:             %[[V:.*]] = vector.maskedload %[[X]][%[[I]], %[[J]]], %[[MASK]]
// CHECK:             %[[NEXT:.*]] = arith.maximumf %{{.*}}, %{{.*}} : vector<16xf32>
// CHECK:             %[[KEPT:.*]] = arith.select %[[MASK]], %[[NEXT]], %[[CARRIED]]
// CHECK:             scf.yield %[[KEPT]]
// CHECK:           %[[START:.*]] = memref.load %[[OUT]][%[[I]]]
// CHECK:           %[[MAX:.*]] = vector.reduction <maximumf>, %[[PARTIAL]], %[[START]]
// CHECK:           memref.store %[[MAX]], %[[OUT]][%[[I]]]
func.func @row_maximum(%x: memref<?x40xf32>, %out: memref<?xf32>) {
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%x : memref<?x40xf32>) outs(%out : memref<?xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.maximumf %p, %o : f32
    linalg.yield %m : f32
  }
  return
}

// CHECK-LABEL: func.func @sum_of_squares(
// CHECK:         %[[SQUARE:.*]] = arith.mulf %[[V:.*]], %[[V]] : vector<16xf32>
// CHECK:         arith.addf %{{.*}} : vector<16xf32>
// CHECK:         vector.reduction <add>
func.func @sum_of_squares(%x: memref<?x40xf32>, %out: memref<?x1xf32>) {
  linalg.generic {indexing_maps = [#id, #row1], iterator_types = ["parallel", "reduction"]} ins(%x : memref<?x40xf32>) outs(%out : memref<?x1xf32>) {
  ^bb0(%p: f32, %o: f32):
    %q = arith.mulf %p, %p : f32
    %m = arith.addf %q, %o : f32
    linalg.yield %m : f32
  }
  return
}

// Left alone: a column-wise read, a column-wise reduction, a reduction whose order
// matters, a payload that is not element-wise, elements that no vector can hold,
// and tensors.

// CHECK-LABEL: func.func @left_alone(
// CHECK-COUNT-6: linalg.generic
func.func @left_alone(%a: memref<8x8xf32>, %b: memref<8x8xf32>, %c: memref<8xf32>, %i: memref<8x8xindex>, %z: memref<8x8xcomplex<f32>>, %z1: memref<8x8xcomplex<f32>>, %t: tensor<8x8xf32>) -> tensor<8x8xf32> {
  linalg.generic {indexing_maps = [#swap, #id], iterator_types = ["parallel", "parallel"]} ins(%a : memref<8x8xf32>) outs(%b : memref<8x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.mulf %p, %p : f32
    linalg.yield %m : f32
  }
  linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]} ins(%a : memref<8x8xf32>) outs(%c : memref<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.addf %p, %o : f32
    linalg.yield %m : f32
  }
  linalg.generic {indexing_maps = [#id], iterator_types = ["parallel", "parallel"]} outs(%i : memref<8x8xindex>) {
  ^bb0(%o: index):
    %m = linalg.index 1 : index
    linalg.yield %m : index
  }
  linalg.generic {indexing_maps = [#id, #row], iterator_types = ["parallel", "reduction"]} ins(%a : memref<8x8xf32>) outs(%c : memref<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.subf %p, %o : f32
    linalg.yield %m : f32
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%z : memref<8x8xcomplex<f32>>) outs(%z1 : memref<8x8xcomplex<f32>>) {
  ^bb0(%p: complex<f32>, %o: complex<f32>):
    linalg.yield %p : complex<f32>
  }
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%t : tensor<8x8xf32>) outs(%t : tensor<8x8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.mulf %p, %p : f32
    linalg.yield %m : f32
  } -> tensor<8x8xf32>
  return %0 : tensor<8x8xf32>
}
