// What cannot be lowered is refused with the reason, and nothing is rewritten.
// RUN: omni-opt %s --convert-omnimoe-to-vector -split-input-file -verify-diagnostics

func.func @narrow_sum(%a: memref<?x4xf32>, %v: memref<64x8xbf16>, %e: memref<?x4xi32>, %y: memref<?x8xbf16>) {
  // expected-error @below {{'omnimoe.combine' op operand 'out' must be of f32 to be lowered to vectors, got 'memref<?x8xbf16>': run omnimoe-accumulate-in-f32 first}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xbf16>, memref<?x4xi32>) outs(%y : memref<?x8xbf16>)
  return
}

// -----

func.func @no_dispatch(%a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{'omnimoe.grouped_matmul' op has the schedule expert_centric but no dispatch: run omnimoe-expert-centric-reorder first}}
  omnimoe.grouped_matmul ins(%y, %v, %e : memref<?x8xf32>, memref<64x8xf32>, memref<?x4xi32>)
    outs(%a : memref<?x4xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 16>}
  // expected-error @below {{'omnimoe.combine' op has the schedule hybrid: run omnimoe-partition-pairs first}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>)
    outs(%y : memref<?x8xf32>) {schedule = #omnimoe.schedule<hybrid, group_size = 16, min_pairs = 2>}
  return
}

// -----

func.func @columns_of_x(%x: memref<?x8xf32, strided<[1, 64]>>, %w: memref<64x8xf32>, %e: memref<?x4xi32>, %s: memref<?x4xf32>) {
  // expected-error @below {{operand 'x' must be contiguous along its last dimension to be lowered to vectors, got 'memref<?x8xf32, strided<[1, 64]>>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32, strided<[1, 64]>>, memref<64x8xf32>, memref<?x4xi32>) outs(%s : memref<?x4xf32>)
  return
}

// -----

func.func @steps_of_weights(%x: memref<?x8xf32>, %w: memref<64x8xf32, strided<[16, 2]>>, %e: memref<?x4xi32>, %s: memref<?x4xf32>) {
  // expected-error @below {{operand 'weights' must be contiguous along its last dimension}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<64x8xf32, strided<[16, 2]>>, memref<?x4xi32>) outs(%s : memref<?x4xf32>)
  return
}

// -----

func.func @gap_in_experts(%x: memref<?x8xf32>, %w: memref<64x2x8xf32, strided<[32, 8, 1]>>, %e: memref<?x4xi32>, %s: memref<?x4x2xf32>) {
  // expected-error @below {{operand 'weights' must be contiguous in dimensions 0 and 1 to be lowered to vectors, got 'memref<64x2x8xf32, strided<[32, 8, 1]>>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<64x2x8xf32, strided<[32, 8, 1]>>, memref<?x4xi32>) outs(%s : memref<?x4x2xf32>)
  return
}

// -----

func.func @gap_in_products(%x: memref<?x8xf32>, %w: memref<64x2x8xf32>, %e: memref<?x4xi32>, %s: memref<?x4x2xf32, strided<[?, 4, 1]>>) {
  // expected-error @below {{operand 'products' must be contiguous in dimensions 1 and 2}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<64x2x8xf32>, memref<?x4xi32>) outs(%s : memref<?x4x2xf32, strided<[?, 4, 1]>>)
  return
}

// -----

func.func @dynamic_stride_of_sum(%a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32, strided<[?, ?], offset: ?>>) {
  // expected-error @below {{operand 'out' must be contiguous along its last dimension}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>)
    outs(%y : memref<?x8xf32, strided<[?, ?], offset: ?>>)
  return
}

// -----

func.func @gap_in_coefficients(%a: memref<?x4x2xf32, strided<[32, 8, 2]>>, %x: memref<?x8xf32>, %e: memref<?x4xi32>, %dw: memref<64x2x8xf32>) {
  // expected-error @below {{operand 'coefficients' must be contiguous in dimensions 1 and 2}}
  omnimoe.combine to_experts ins(%a, %x, %e : memref<?x4x2xf32, strided<[32, 8, 2]>>, memref<?x8xf32>, memref<?x4xi32>)
    outs(%dw : memref<64x2x8xf32>)
  return
}

// -----

#blocked = affine_map<(i, j) -> (i floordiv 4, j, i mod 4)>
func.func @layout_without_strides(%r: memref<8x8xf32, #blocked>, %c: memref<8x8xf32>, %s: memref<8x4xf32>, %e: memref<8x4xi32>) {
  // expected-error @below {{'omnimoe.route' op operand 'row_logits' must be contiguous along its last dimension}}
  omnimoe.route ins(%r, %c : memref<8x8xf32, #blocked>, memref<8x8xf32>) outs(%s, %e : memref<8x4xf32>, memref<8x4xi32>)
  return
}

// -----

func.func @grid_too_large(%r: memref<?x40000xf32>, %c: memref<?x40000xf32>, %s: memref<?x40000xf32>, %e: memref<?x40000xi32>) {
  // expected-error @below {{'omnimoe.route' op chooses among too many rows and columns: the numbers of min(top_k, rows) rows and min(top_k, columns) columns must fit into 31 bits, got top_k 40000 of 40000 x 40000}}
  omnimoe.route ins(%r, %c : memref<?x40000xf32>, memref<?x40000xf32>) outs(%s, %e : memref<?x40000xf32>, memref<?x40000xi32>)
  return
}

// -----

// Tensors are left for bufferization.
func.func @tensors(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s : tensor<?x4xf32>) {schedule = #omnimoe.schedule<hybrid, group_size = 8, min_pairs = 2>} -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

func.func @lines(%x: memref<?x8xf32>, %w: memref<12x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.grouped_matmul' op has groups of a grid's lines (grid_columns = 4), which only the kernel of a GPU takes}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<12x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%s : memref<?x2xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 4, grid_columns = 4>}
  return
}
