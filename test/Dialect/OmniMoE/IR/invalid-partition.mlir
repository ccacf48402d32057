// Every message of the verifier of omnimoe.partition.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @ids_rank(%e: memref<?xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{'omnimoe.partition' op operand 'experts' must have the shape [T, K], got 'memref<?xi32>'}}
  omnimoe.partition ins(%e : memref<?xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 8 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @dynamic_choices(%e: memref<?x?xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{operand 'experts' must have a static size in dimension 1, got 'memref<?x?xi32>'}}
  omnimoe.partition ins(%e : memref<?x?xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 8 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @crowded_rank(%e: memref<?x4xi32>, %c: memref<4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{operand 'crowded' must have the shape [T, K], got 'memref<4xi32>'}}
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<4xi32>, memref<?x4xi32>) num_experts = 8 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @tokens(%e: memref<3x4xi32>, %c: memref<?x4xi32>, %r: memref<2x4xi32>) {
  // expected-error @below {{disagrees on the number of tokens: 'experts' has 3, 'rest' has 2}}
  omnimoe.partition ins(%e : memref<3x4xi32>) outs(%c, %r : memref<?x4xi32>, memref<2x4xi32>) num_experts = 8 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @choices(%e: memref<?x4xi32>, %c: memref<?x5xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{disagrees on top_k: 'experts' has 4, 'crowded' has 5}}
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<?x5xi32>, memref<?x4xi32>) num_experts = 8 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @experts(%e: memref<?x4xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{num_experts must be at least 1, got 0}}
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 0 group_size = 4 min_pairs = 2
  return
}

// -----

func.func @groups(%e: memref<?x4xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{group_size must be at least 1, got -1}}
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 8 group_size = -1 min_pairs = 2
  return
}

// -----

func.func @pairs(%e: memref<?x4xi32>, %c: memref<?x4xi32>, %r: memref<?x4xi32>) {
  // expected-error @below {{min_pairs must be at least 1, got 0}}
  omnimoe.partition ins(%e : memref<?x4xi32>) outs(%c, %r : memref<?x4xi32>, memref<?x4xi32>) num_experts = 8 group_size = 4 min_pairs = 0
  return
}

// -----

func.func @result_type(%e: tensor<?x4xi32>) -> (tensor<?x4xi32>, tensor<2x4xi32>) {
  // expected-error @below {{result type 'tensor<2x4xi32>' differs from that of its destination, 'tensor<?x4xi32>'}}
  %0:2 = omnimoe.partition ins(%e : tensor<?x4xi32>) outs(%e, %e : tensor<?x4xi32>, tensor<?x4xi32>)
    num_experts = 8 group_size = 4 min_pairs = 2 -> tensor<?x4xi32>, tensor<2x4xi32>
  return %0#0, %0#1 : tensor<?x4xi32>, tensor<2x4xi32>
}
