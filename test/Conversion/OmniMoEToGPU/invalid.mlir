// RUN: omni-opt %s --convert-omnimoe-to-gpu --split-input-file --verify-diagnostics

func.func @large_tile(%a: memref<128x8xf32>, %b: memref<8x8xf32>, %c: memref<128x8xf32>) {
  scf.forall (%t) = (0) to (128) step (128) {
    // expected-error @below {{has a tile of more than 64 rows or columns}}
    linalg.matmul ins(%a, %b : memref<128x8xf32>, memref<8x8xf32>) outs(%c : memref<128x8xf32>)
  }
  return
}

// -----

func.func @columns_apart(%a: memref<8x8xf32, strided<[16, 2]>>, %b: memref<8x8xf32>, %c: memref<8x8xf32>) {
  scf.forall (%t) = (0) to (8) step (8) {
    // expected-error @below {{has no GPU lowering with these operands}}
    linalg.matmul ins(%a, %b : memref<8x8xf32, strided<[16, 2]>>, memref<8x8xf32>) outs(%c : memref<8x8xf32>)
  }
  return
}

// -----

func.func @diagonals(%a: memref<15x8xf32>, %c: memref<8x8xf32>) {
  scf.forall (%t) = (0) to (8) step (8) {
    // expected-error @below {{has no GPU lowering with these operands}}
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0 + d1, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]}
      ins(%a : memref<15x8xf32>) outs(%c : memref<8x8xf32>) {
    ^bb0(%in: f32, %out: f32):
      linalg.yield %in : f32
    }
  }
  return
}

// -----

func.func @dynamic_buffer(%n: index) {
  scf.forall (%t) = (0) to (8) step (1) {
    // expected-error @below {{needs a bounded shape to lie in shared memory}}
    %s = memref.alloc(%n) : memref<?xf32>
    %zero = arith.constant 0.0 : f32
    linalg.fill ins(%zero : f32) outs(%s : memref<?xf32>)
  }
  return
}

// -----

func.func @on_tensors(%a: tensor<8xf32>) -> tensor<8xf32> {
  // expected-error @below {{must work on memrefs, and have at most two loops around a product}}
  %b = scf.forall (%i) in (8) shared_outs(%o = %a) -> (tensor<8xf32>) {
    %t = tensor.extract_slice %a[%i] [1] [1] : tensor<8xf32> to tensor<1xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %t into %o[%i] [1] [1] : tensor<1xf32> into tensor<8xf32>
    }
  }
  return %b : tensor<8xf32>
}
