// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file --verify-diagnostics

func.func @product(%a: memref<8x8xf32>, %b: memref<8x8xf32>, %c: memref<8x8xf32>) {
  scf.forall (%t) = (0) to (8) step (8) {
    // expected-error @below {{has no GPU lowering with these operands}}
    linalg.matmul ins(%a, %b : memref<8x8xf32>, memref<8x8xf32>) outs(%c : memref<8x8xf32>)
  }
  return
}

// -----

func.func @dynamic_buffer(%n: index) {
  scf.forall (%t) = (0) to (8) step (1) {
    // expected-error @below {{needs a static shape to lie in shared memory}}
    %s = memref.alloc(%n) : memref<?xf32>
    %zero = arith.constant 0.0 : f32
    linalg.fill ins(%zero : f32) outs(%s : memref<?xf32>)
  }
  return
}

// -----

func.func @two_loops(%a: memref<8x8xf32>) {
  // expected-error @below {{must have one loop and work on memrefs}}
  scf.forall (%i, %j) in (8, 8) {
    %zero = arith.constant 0.0 : f32
    memref.store %zero, %a[%i, %j] : memref<8x8xf32>
  }
  return
}
