// Every message of the verifier of omnimoe.combine.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @tokens_out_rank(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?xf32>) {
  // expected-error @below {{'omnimoe.combine' op operand 'out' must have the shape [T, D], got 'memref<?xf32>'}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%y : memref<?xf32>)
  return
}

// -----

func.func @experts_vectors_rank(%a: memref<?x2xf32>, %v: memref<6x1x8xf32>, %e: memref<?x2xi32>, %y: memref<6x8xf32>) {
  // expected-error @below {{operand 'vectors' must have the shape [T, D], got 'memref<6x1x8xf32>'}}
  omnimoe.combine to_experts ins(%a, %v, %e : memref<?x2xf32>, memref<6x1x8xf32>, memref<?x2xi32>) outs(%y : memref<6x8xf32>)
  return
}

// -----

func.func @out_dynamic(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x?xf32>) {
  // expected-error @below {{operand 'out' must have a static size in dimension 1, got 'memref<?x?xf32>'}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%y : memref<?x?xf32>)
  return
}

// -----

func.func @experts_dynamic(%a: memref<?x2xf32>, %v: memref<?x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{operand 'vectors' must have a static size in dimension 0, got 'memref<?x8xf32>'}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<?x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @out_experts_dynamic(%a: memref<?x2xf32>, %v: memref<?x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{operand 'out' must have a static size in dimension 0, got 'memref<?x8xf32>'}}
  omnimoe.combine to_experts ins(%a, %v, %e : memref<?x2xf32>, memref<?x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @coefficients_rank(%a: memref<2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{operand 'coefficients' must have the shape [T, K] or [T, K, r], got 'memref<2xf32>'}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<2xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @top_k(%a: memref<?x3xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{disagrees on top_k: 'coefficients' has 3, 'experts' has 2}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x3xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @tokens_of_coefficients(%a: memref<3x2xf32>, %v: memref<6x8xf32>, %e: memref<4x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{disagrees on the number of tokens: 'coefficients' has 3, 'experts' has 4}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<3x2xf32>, memref<6x8xf32>, memref<4x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @tokens_of_out(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<4x2xi32>, %y: memref<3x8xf32>) {
  // expected-error @below {{disagrees on the number of tokens: 'out' has 3, 'experts' has 4}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<4x2xi32>) outs(%y : memref<3x8xf32>)
  return
}

// -----

func.func @tokens_of_vectors(%a: memref<?x2xf32>, %v: memref<3x8xf32>, %e: memref<4x2xi32>, %y: memref<6x8xf32>) {
  // expected-error @below {{disagrees on the number of tokens: 'vectors' has 3, 'experts' has 4}}
  omnimoe.combine to_experts ins(%a, %v, %e : memref<?x2xf32>, memref<3x8xf32>, memref<4x2xi32>) outs(%y : memref<6x8xf32>)
  return
}

// -----

func.func @hidden_size(%a: memref<?x2xf32>, %v: memref<6x16xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{disagrees on the hidden size: 'out' has 8, 'vectors' has 16}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x16xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @half_wide(%a: memref<?x2x3xf32>, %v: memref<?x8xf32>, %e: memref<?x2xi32>, %y: memref<6x8xf32>) {
  // expected-error @below {{wide experts need both 'coefficients' and 'out' of rank 3, got 'memref<?x2x3xf32>' and 'memref<6x8xf32>'}}
  omnimoe.combine to_experts ins(%a, %v, %e : memref<?x2x3xf32>, memref<?x8xf32>, memref<?x2xi32>) outs(%y : memref<6x8xf32>)
  return
}

// -----

func.func @width(%a: memref<?x2x3xf32>, %v: memref<6x4x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @below {{disagrees on the width of an expert: 'coefficients' has 3, 'vectors' has 4}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2x3xf32>, memref<6x4x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}

// -----

func.func @dispatch_groups(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>, %o: memref<4xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 7 entries (6 experts in groups of 1), got 4}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>) outs(%y : memref<?x8xf32>)
    {schedule = #omnimoe.schedule<token_centric>}
  return
}

// -----

func.func @missing_result(%a: tensor<?x2xf32>, %v: tensor<6x8xf32>, %e: tensor<?x2xi32>, %y: tensor<?x8xf32>) {
  // expected-error @below {{expected 1 results, got 0}}
  omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x2xf32>, tensor<6x8xf32>, tensor<?x2xi32>) outs(%y : tensor<?x8xf32>)
  return
}

// -----

func.func @unknown_kind(%a: memref<?x2xf32>, %v: memref<6x8xf32>, %e: memref<?x2xi32>, %y: memref<?x8xf32>) {
  // expected-error @+2 {{to be one of: to_tokens, to_experts}}
  // expected-error @+1 {{failed to parse}}
  omnimoe.combine to_rows ins(%a, %v, %e : memref<?x2xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%y : memref<?x8xf32>)
  return
}
