// RUN: omni-opt %s -allow-unregistered-dialect --omnimoe-plan-workspace -split-input-file -verify-diagnostics --canonicalize | FileCheck %s

// The example of the pass's documentation. Sizes are rounded up to 64 bytes,
// in the workspace and in the function that tells its size.

// CHECK-LABEL: func.func @omnimoe_workspace_size(
// CHECK-SAME:    %[[T:.*]]: index) -> index {
// CHECK-DAG:     %[[ROW:.*]] = arith.constant 64 : index
// CHECK:         %[[BYTES:.*]] = arith.muli %[[T]], %[[ROW]]
// CHECK:         %[[BLOCKS:.*]] = arith.ceildivui %[[BYTES]], %[[ROW]]
// CHECK:         %[[SIZE:.*]] = arith.muli %[[BLOCKS]], %[[ROW]]
// CHECK:         return %[[SIZE]] : index
// CHECK-LABEL: func.func @f(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x8xf32>, %[[WORKSPACE:[a-z0-9]+]]: memref<?xi8>) {
// CHECK:         %[[TOKENS:.*]] = memref.dim %[[X]], %c0
// CHECK:         %[[B:.*]] = memref.view %[[WORKSPACE]][%c0][%[[TOKENS]]] : memref<?xi8> to memref<?x16xf32>
// CHECK-NOT:     memref.alloc
// CHECK:         linalg.fill {{.*}} outs(%[[B]] : memref<?x16xf32>)
// CHECK-NOT:     memref.dealloc
// CHECK:         return
func.func @f(%x: memref<?x8xf32>) {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = memref.dim %x, %c0 : memref<?x8xf32>
  %b = memref.alloc(%T) : memref<?x16xf32>
  linalg.fill ins(%zero : f32) outs(%b : memref<?x16xf32>)
  memref.dealloc %b : memref<?x16xf32>
  return
}

// -----

// One buffer behind the other, in whatever block; sizes that are computed from
// T, and static ones: 13 * 2 bytes take 64.

// CHECK-LABEL: func.func @omnimoe_workspace_size(
// CHECK-SAME:    %[[T:.*]]: index) -> index {
// CHECK-DAG:     %[[FIXED:.*]] = arith.constant 64 : index
// CHECK:         %[[PAIRS:.*]] = affine.apply #{{.*}}()[%[[T]]]
// CHECK:         arith.muli %[[PAIRS]], %c4
// CHECK:         %[[SECOND:.*]] = arith.muli
// CHECK:         arith.addi %[[SECOND]], %[[FIXED]]
// CHECK-LABEL: func.func @several(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: memref<?x8xf32>, %[[C:[a-z0-9]+]]: i1, %[[WORKSPACE:[a-z0-9]+]]: memref<?xi8>)
// CHECK:         %[[A:.*]] = memref.view %[[WORKSPACE]][%c0][] : memref<?xi8> to memref<13xf16>
// CHECK:         %[[B:.*]] = memref.view %[[WORKSPACE]][%c64][%{{.*}}] : memref<?xi8> to memref<?xi32>
// CHECK:         scf.if %[[C]] {
// CHECK-NEXT:      "test.use"(%[[A]], %[[B]])
// CHECK-NEXT:    }
#pairs = affine_map<()[s0] -> (s0 * 16)>
func.func @several(%x: memref<?x8xf32>, %c: i1) {
  %c0 = arith.constant 0 : index
  scf.if %c {
    %T = memref.dim %x, %c0 : memref<?x8xf32>
    %pairs = affine.apply #pairs()[%T]
    %a = memref.alloc() : memref<13xf16>
    %b = memref.alloc(%pairs) : memref<?xi32>
    "test.use"(%a, %b) : (memref<13xf16>, memref<?xi32>) -> ()
    memref.dealloc %a : memref<13xf16>
    memref.dealloc %b : memref<?xi32>
  }
  return
}

// -----

// T is that of any argument: the first may be a table of static size.

// CHECK-LABEL: func.func @later_argument(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<64x8xf32>, %[[X:[a-z0-9]+]]: memref<?x8xf32>, %[[WORKSPACE:[a-z0-9]+]]: memref<?xi8>)
// CHECK:         %[[T:.*]] = memref.dim %[[X]], %c0
// CHECK:         memref.view %[[WORKSPACE]][%c0][%[[T]]]
func.func @later_argument(%w: memref<64x8xf32>, %x: memref<?x8xf32>) {
  %c0 = arith.constant 0 : index
  %T = memref.dim %x, %c0 : memref<?x8xf32>
  %b = memref.alloc(%T) : memref<?x4xf32>
  "test.use"(%b) : (memref<?x4xf32>) -> ()
  return
}

// -----

// Buffers of parallel tiles stay: there is one for each thread. A program
// without others still has the workspace, of size zero. Private functions and
// declarations are left alone.

// CHECK-LABEL: func.func @omnimoe_workspace_size(
// CHECK:         %[[ZERO:.*]] = arith.constant 0 : index
// CHECK:         return %[[ZERO]]
// CHECK-LABEL: func.func @in_tiles(
// CHECK-SAME:    memref<?x8xf32>, %{{[a-z0-9]+}}: memref<?xi8>)
// CHECK:         scf.forall
// CHECK:           memref.alloc
// CHECK:           memref.dealloc
// CHECK-LABEL: func.func private @helper(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<?x8xf32>) {
// CHECK:         memref.alloc
func.func @in_tiles(%x: memref<?x8xf32>) {
  scf.forall (%i) in (8) {
    %b = memref.alloc() : memref<64x16xf32>
    "test.use"(%b) : (memref<64x16xf32>) -> ()
    memref.dealloc %b : memref<64x16xf32>
  }
  return
}
func.func private @helper(%x: memref<?x8xf32>) {
  %b = memref.alloc() : memref<64xf32>
  "test.use"(%b) : (memref<64xf32>) -> ()
  return
}
func.func private @declared(memref<?x8xf32>)

// -----

// Branches on T share the workspace.

// CHECK-LABEL: func.func @omnimoe_workspace_size(
// CHECK-SAME:    %[[N:.*]]: index) -> index
// CHECK:         %[[FEW:.*]] = arith.cmpi slt, %[[N]], %c
// CHECK:         %[[FIRST:.*]] = arith.select %[[FEW]], %{{.*}}, %c0
// CHECK:         %[[SECOND:.*]] = arith.select %[[FEW]], %c0, %{{.*}}
// CHECK:         arith.addi
// CHECK-LABEL: func.func @branches(
// CHECK:         %[[OFFSET:.*]] = arith.select
// CHECK:         memref.view %{{.*}}[%[[OFFSET]]][%{{.*}}] : memref<?xi8> to memref<?x8xf32>
// CHECK:         scf.if
func.func @branches(%x: memref<?x8xf32>) {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %T = memref.dim %x, %c0 : memref<?x8xf32>
  %few = arith.cmpi slt, %T, %c128 : index
  scf.if %few {
    %a = memref.alloc(%T) : memref<?x1024xf32>
    "test.use"(%a) : (memref<?x1024xf32>) -> ()
  } else {
    %b = memref.alloc(%T) : memref<?x8xf32>
    "test.use"(%b) : (memref<?x8xf32>) -> ()
  }
  return
}

// -----

// A program is planned once.

// CHECK-LABEL: func.func @planned(
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<4xf32>) {
func.func @planned(%x: memref<4xf32>) {
  return
}
func.func @omnimoe_workspace_size(%T: index) -> index {
  return %T : index
}

// -----

func.func @size_of_a_value(%x: memref<?x8xf32>, %sizes: memref<4xindex>) {
  %c0 = arith.constant 0 : index
  %n = memref.load %sizes[%c0] : memref<4xindex>
  // expected-error @below {{'memref.alloc' op has a size that depends on more than the number of tokens}}
  %b = memref.alloc(%n) : memref<?xf32>
  "test.use"(%b) : (memref<?xf32>) -> ()
  return
}

// -----

func.func @size_of_an_argument(%x: memref<?x8xf32>, %n: index) {
  // expected-error @below {{'memref.alloc' op has a size that depends on more than the number of tokens}}
  %b = memref.alloc(%n) : memref<?xf32>
  "test.use"(%b) : (memref<?xf32>) -> ()
  return
}

// -----

func.func @first(%x: memref<4xf32>) {
  return
}
// expected-error @below {{'func.func' op is a second public function beside 'first'; a program has one entry point}}
func.func @second(%x: memref<4xf32>) {
  return
}
