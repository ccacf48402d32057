// Every message of the verifier of omnimoe.dispatch.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @experts_rank(%e: memref<?xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op operand 'experts' must have the shape [T, K], got 'memref<?xi32>'}}
  omnimoe.dispatch ins(%e : memref<?xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @dynamic_top_k(%e: memref<?x?xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'experts' must have a static size in dimension 1, got 'memref<?x?xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x?xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @offsets_rank(%e: memref<?x2xi32>, %o: memref<5x1xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have the shape [G + 1], got 'memref<5x1xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<5x1xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @tokens_rank(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'tokens' must have the shape [P], got 'memref<?x2xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %e, %p, %p : memref<5xi32>, memref<?x2xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @starts_rank(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'starts' must have the shape [P + 1], got 'memref<?x2xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %e, %p : memref<5xi32>, memref<?xi32>, memref<?x2xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @pairs_rank(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'pairs' must have the shape [P], got 'memref<?x2xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %e : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?x2xi32>)
    num_experts = 4
  return
}

// -----

func.func @no_experts(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{num_experts and group_size must be at least 1, got 0 and 1}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 0
  return
}

// -----

func.func @negative_group(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{num_experts and group_size must be at least 1, got 4 and -2}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4 group_size = -2
  return
}

// -----

// 7 experts in groups of 4 are 2 groups.
func.func @offsets_size(%e: memref<?x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 3 entries, got 'memref<5xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 7 group_size = 4
  return
}

// -----

func.func @dynamic_offsets(%e: memref<?x2xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 5 entries, got 'memref<?xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%p, %p, %p, %p : memref<?xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @tokens_size(%e: memref<3x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'tokens' must have 6 entries, got 5}}
  omnimoe.dispatch ins(%e : memref<3x2xi32>) outs(%o, %o, %p, %p : memref<5xi32>, memref<5xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @starts_size(%e: memref<3x2xi32>, %o: memref<5xi32>, %p: memref<6xi32>) {
  // expected-error @below {{operand 'starts' must have 7 entries, got 6}}
  omnimoe.dispatch ins(%e : memref<3x2xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<6xi32>, memref<6xi32>, memref<6xi32>)
    num_experts = 4
  return
}

// -----

func.func @pairs_size(%e: memref<3x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'pairs' must have 6 entries, got 5}}
  omnimoe.dispatch ins(%e : memref<3x2xi32>) outs(%o, %p, %p, %o : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<5xi32>)
    num_experts = 4
  return
}

// -----

func.func @pairs_beyond_i32(%e: memref<1073741824x2xi32>, %o: memref<5xi32>, %p: memref<?xi32>) {
  // expected-error @below {{pairs are numbered in i32: tokens * top_k = 1073741824 * 2 is too large}}
  omnimoe.dispatch ins(%e : memref<1073741824x2xi32>) outs(%o, %p, %p, %p : memref<5xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 4
  return
}

// -----

func.func @result_type(%e: tensor<?x2xi32>, %o: tensor<5xi32>, %p: tensor<?xi32>) {
  // expected-error @below {{result type 'tensor<6xi32>' differs from that of its destination, 'tensor<?xi32>'}}
  %0:4 = omnimoe.dispatch ins(%e : tensor<?x2xi32>) outs(%o, %p, %p, %p : tensor<5xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    num_experts = 4 -> tensor<5xi32>, tensor<?xi32>, tensor<?xi32>, tensor<6xi32>
  return
}

// -----

func.func @part_of_a_grid(%e: memref<?x2xi32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op grid_columns must divide the 10 experts, got 4}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 10 group_size = 4 grid_columns = 4
  return
}

// -----

func.func @lines(%e: memref<?x2xi32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 11 entries, got 'memref<8xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    num_experts = 12 group_size = 3 grid_columns = 4
  return
}

// -----

func.func @carried_count(%e: memref<?x2xi32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op carries 2 values of pairs to 1 places}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%e, %e to %p : memref<?x2xi32>, memref<?x2xi32> to memref<?xi32>) num_experts = 7
  return
}

// -----

func.func @carried_top_k(%e: memref<?x2xi32>, %w: memref<?x3xi32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op disagrees on top_k: 'experts' has 2, 'carried' has 3}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %p : memref<?x3xi32> to memref<?xi32>) num_experts = 7
  return
}

// -----

func.func @carried_type(%e: memref<?x2xi32>, %w: memref<?x2xf32>, %o: memref<8xi32>, %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.dispatch' op carries 'memref<?x2xf32>' to 'memref<?xi32>'}}
  omnimoe.dispatch ins(%e : memref<?x2xi32>) outs(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    carry(%w to %p : memref<?x2xf32> to memref<?xi32>) num_experts = 7
  return
}
