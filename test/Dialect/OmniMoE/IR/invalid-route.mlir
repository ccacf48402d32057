// Every message of the verifier of omnimoe.route.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @rows_rank(%r: memref<8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{'omnimoe.route' op operand 'row_logits' must have the shape [T, R], got 'memref<8xf32>'}}
  omnimoe.route ins(%r, %c : memref<8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @cols_rank(%r: memref<?x8xf32>, %c: memref<?x8x1xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'col_logits' must have the shape [T, C], got 'memref<?x8x1xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8x1xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @scores_rank(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'scores' must have the shape [T, K], got 'memref<?xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @ids_rank(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?xi32>) {
  // expected-error @below {{operand 'experts' must have the shape [T, K], got 'memref<?xi32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?xi32>)
  return
}

// -----

func.func @dynamic_rows(%r: memref<?x?xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'row_logits' must have a static size in dimension 1, got 'memref<?x?xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x?xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @dynamic_columns(%r: memref<?x8xf32>, %c: memref<?x?xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'col_logits' must have a static size in dimension 1, got 'memref<?x?xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x?xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @dynamic_top_k(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x?xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'scores' must have a static size in dimension 1, got 'memref<?x?xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x?xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @dynamic_ids(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x?xi32>) {
  // expected-error @below {{operand 'experts' must have a static size in dimension 1, got 'memref<?x?xi32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x?xi32>)
  return
}

// -----

func.func @no_columns(%r: memref<?x8xf32>, %c: memref<?x0xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand 'col_logits' must not be empty in dimension 1, got 'memref<?x0xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x0xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @top_k_of_zero(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x0xf32>, %e: memref<?x0xi32>) {
  // expected-error @below {{operand 'scores' must not be empty in dimension 1, got 'memref<?x0xf32>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x0xf32>, memref<?x0xi32>)
  return
}

// -----

func.func @top_k_disagrees(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x5xi32>) {
  // expected-error @below {{disagrees on top_k: 'scores' has 4, 'experts' has 5}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x5xi32>)
  return
}

// -----

func.func @tokens_of_columns(%r: memref<3x8xf32>, %c: memref<4x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{disagrees on the number of tokens: 'row_logits' has 3, 'col_logits' has 4}}
  omnimoe.route ins(%r, %c : memref<3x8xf32>, memref<4x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @tokens_of_scores(%r: memref<3x8xf32>, %c: memref<?x8xf32>, %s: memref<4x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{disagrees on the number of tokens: 'row_logits' has 3, 'scores' has 4}}
  omnimoe.route ins(%r, %c : memref<3x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<4x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @tokens_of_ids(%r: memref<3x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<4x4xi32>) {
  // expected-error @below {{disagrees on the number of tokens: 'row_logits' has 3, 'experts' has 4}}
  omnimoe.route ins(%r, %c : memref<3x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<4x4xi32>)
  return
}

// -----

func.func @top_k_beyond_grid(%r: memref<?x2xf32>, %c: memref<?x3xf32>, %s: memref<?x7xf32>, %e: memref<?x7xi32>) {
  // expected-error @below {{top_k must lie between 1 and rows * columns = 2 * 3 = 6, got 7}}
  omnimoe.route ins(%r, %c : memref<?x2xf32>, memref<?x3xf32>) outs(%s, %e : memref<?x7xf32>, memref<?x7xi32>)
  return
}

// -----

func.func @grid_beyond_i32(%r: memref<?x65536xf32>, %c: memref<?x32768xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{expert ids are i32: rows * columns = 65536 * 32768 is too large}}
  omnimoe.route ins(%r, %c : memref<?x65536xf32>, memref<?x32768xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @grid_beyond_i64(%r: memref<?x8589934592xf32>, %c: memref<?x8589934592xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{expert ids are i32: rows * columns = 8589934592 * 8589934592 is too large}}
  omnimoe.route ins(%r, %c : memref<?x8589934592xf32>, memref<?x8589934592xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @narrow_logits(%r: memref<?x8xbf16>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand #0 must be tensor or memref of f32, but got 'memref<?x8xbf16>'}}
  omnimoe.route ins(%r, %c : memref<?x8xbf16>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @wide_ids(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi64>) {
  // expected-error @below {{operand #3 must be tensor or memref of i32, but got 'memref<?x4xi64>'}}
  omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi64>)
  return
}

// -----

func.func @unranked(%r: memref<*xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operand #0 must be tensor or memref of f32, but got 'memref<*xf32>'}}
  omnimoe.route ins(%r, %c : memref<*xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @mixed(%r: tensor<?x8xf32>, %c: tensor<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{operands must be all tensors or all memrefs}}
  omnimoe.route ins(%r, %c : tensor<?x8xf32>, tensor<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
  return
}

// -----

func.func @results_of_memrefs(%r: memref<?x8xf32>, %c: memref<?x8xf32>, %s: memref<?x4xf32>, %e: memref<?x4xi32>) {
  // expected-error @below {{expected 0 results, got 2}}
  %0:2 = omnimoe.route ins(%r, %c : memref<?x8xf32>, memref<?x8xf32>) outs(%s, %e : memref<?x4xf32>, memref<?x4xi32>)
    -> tensor<?x4xf32>, tensor<?x4xi32>
  return
}

// -----

func.func @missing_result(%r: tensor<?x8xf32>, %c: tensor<?x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>) {
  // expected-error @below {{expected 2 results, got 1}}
  %0 = omnimoe.route ins(%r, %c : tensor<?x8xf32>, tensor<?x8xf32>) outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>)
    -> tensor<?x4xf32>
  return
}

// -----

func.func @result_type(%r: tensor<?x8xf32>, %c: tensor<?x8xf32>, %s: tensor<?x4xf32>, %e: tensor<?x4xi32>) {
  // expected-error @below {{result type 'tensor<6x4xf32>' differs from that of its destination, 'tensor<?x4xf32>'}}
  %0:2 = omnimoe.route ins(%r, %c : tensor<?x8xf32>, tensor<?x8xf32>) outs(%s, %e : tensor<?x4xf32>, tensor<?x4xi32>)
    -> tensor<6x4xf32>, tensor<?x4xi32>
  return
}
