// Every message of the verifier of omnimoe.grouped_matmul.
// RUN: omni-opt %s -split-input-file -verify-diagnostics

func.func @x_rank(%x: memref<?x1x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{'omnimoe.grouped_matmul' op operand 'x' must have the shape [T, D], got 'memref<?x1x8xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x1x8xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @x_dynamic(%x: memref<?x?xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'x' must have a static size in dimension 1, got 'memref<?x?xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x?xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @products_rank(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?xf32>) {
  // expected-error @below {{operand 'products' must have the shape [T, K] or [T, K, r], got 'memref<?xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%s : memref<?xf32>)
  return
}

// -----

func.func @products_dynamic(%x: memref<?x8xf32>, %w: memref<6x3x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2x?xf32>) {
  // expected-error @below {{operand 'products' must have a static size in dimension 2, got 'memref<?x2x?xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x3x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2x?xf32>)
  return
}

// -----

func.func @ids_rank(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'experts' must have the shape [T, K], got 'memref<?xi32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @ids_dynamic(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x?xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'experts' must have a static size in dimension 1, got 'memref<?x?xi32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x?xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @weights_rank(%x: memref<?x8xf32>, %w: memref<8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'weights' must have the shape [N, D] or [N, r, D], got 'memref<8xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @experts_dynamic(%x: memref<?x8xf32>, %w: memref<?x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'weights' must have a static size in dimension 0, got 'memref<?x8xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<?x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @no_experts(%x: memref<?x8xf32>, %w: memref<0x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand 'weights' must not be empty in dimension 0, got 'memref<0x8xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<0x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @tokens_of_products(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<4x2xi32>, %s: memref<3x2xf32>) {
  // expected-error @below {{disagrees on the number of tokens: 'products' has 3, 'experts' has 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<4x2xi32>) outs(%s : memref<3x2xf32>)
  return
}

// -----

func.func @tokens_of_x(%x: memref<3x8xf32>, %w: memref<6x8xf32>, %e: memref<4x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{disagrees on the number of tokens: 'x' has 3, 'experts' has 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<3x8xf32>, memref<6x8xf32>, memref<4x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @top_k(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x3xf32>) {
  // expected-error @below {{disagrees on top_k: 'products' has 3, 'experts' has 2}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>) outs(%s : memref<?x3xf32>)
  return
}

// -----

func.func @half_wide(%x: memref<?x8xf32>, %w: memref<6x3x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{wide experts need both 'products' and 'weights' of rank 3, got 'memref<?x2xf32>' and 'memref<6x3x8xf32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x3x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @width(%x: memref<?x8xf32>, %w: memref<6x3x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2x4xf32>) {
  // expected-error @below {{disagrees on the width of an expert: 'products' has 4, 'weights' has 3}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x3x8xf32>, memref<?x2xi32>) outs(%s : memref<?x2x4xf32>)
  return
}

// -----

func.func @hidden_size(%x: memref<?x8xf32>, %w: memref<6x16xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{disagrees on the hidden size: 'x' has 8, 'weights' has 16}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x16xf32>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @hidden_size_wide(%x: memref<?x8xf32>, %w: memref<6x3x16xf32>, %e: memref<?x2xi32>, %s: memref<?x2x3xf32>) {
  // expected-error @below {{disagrees on the hidden size: 'x' has 8, 'weights' has 16}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x3x16xf32>, memref<?x2xi32>) outs(%s : memref<?x2x3xf32>)
  return
}

// -----

func.func @partial_dispatch(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<7xi32>, %p: memref<?xi32>) {
  // expected-error @below {{dispatch takes 4 operands (offsets, tokens, starts, pairs), got 2}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p : memref<7xi32>, memref<?xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @dispatch_rank(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<7xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'starts' must have the shape [n], got 'memref<?x2xi32>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p, %e, %p : memref<7xi32>, memref<?xi32>, memref<?x2xi32>, memref<?xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

// Without a schedule every expert is a group.
func.func @dispatch_groups(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<4xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 7 entries (6 experts in groups of 1), got 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @dispatch_schedule(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<4xi32>, %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 3 entries (6 experts in groups of 4), got 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>) outs(%s : memref<?x2xf32>)
    {schedule = #omnimoe.schedule<expert_centric, group_size = 4>}
  return
}

// -----

func.func @narrow_products(%x: memref<?x8xbf16>, %w: memref<6x8xbf16>, %e: memref<?x2xi32>, %s: memref<?x2xbf16>) {
  // expected-error @below {{must be tensor or memref of f32, but got 'memref<?x2xbf16>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xbf16>, memref<6x8xbf16>, memref<?x2xi32>) outs(%s : memref<?x2xbf16>)
  return
}

// -----

func.func @double_vectors(%x: memref<?x8xf64>, %w: memref<6x8xf64>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{operand #0 must be tensor or memref of f32, f16 or bf16, but got 'memref<?x8xf64>'}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xf64>, memref<6x8xf64>, memref<?x2xi32>) outs(%s : memref<?x2xf32>)
  return
}

// -----

func.func @mixed(%x: tensor<?x8xf32>, %w: memref<6x8xf32>, %e: tensor<?x2xi32>, %s: tensor<?x2xf32>) {
  // expected-error @below {{operands must be all tensors or all memrefs}}
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, memref<6x8xf32>, tensor<?x2xi32>) outs(%s : tensor<?x2xf32>)
    -> tensor<?x2xf32>
  return
}

// -----

func.func @schedule_type(%x: memref<?x8xf32>, %w: memref<6x8xf32>, %e: memref<?x2xi32>, %s: memref<?x2xf32>) {
  // expected-error @below {{Invalid attribute `schedule` in property conversion: "dense"}}
  "omnimoe.grouped_matmul"(%x, %w, %e, %s) <{schedule = "dense"}> : (memref<?x8xf32>, memref<6x8xf32>, memref<?x2xi32>, memref<?x2xf32>) -> ()
  return
}

// -----

func.func @part_of_a_grid(%x: memref<?x8xbf16>, %w: memref<10x8xbf16>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<8xi32>,
    %p: memref<?xi32>) {
  // expected-error @below {{'omnimoe.grouped_matmul' op grid_columns must divide the 10 experts, got 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xbf16>, memref<10x8xbf16>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<8xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%s : memref<?x2xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 4, grid_columns = 4>}
  return
}

// -----

func.func @lines(%x: memref<?x8xbf16>, %w: memref<12x8xbf16>, %e: memref<?x2xi32>, %s: memref<?x2xf32>, %o: memref<4xi32>,
    %p: memref<?xi32>) {
  // expected-error @below {{operand 'offsets' must have groups + 1 = 8 entries (12 experts in groups of 4 of a grid's lines), got 4}}
  omnimoe.grouped_matmul ins(%x, %w, %e : memref<?x8xbf16>, memref<12x8xbf16>, memref<?x2xi32>)
    dispatch(%o, %p, %p, %p : memref<4xi32>, memref<?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%s : memref<?x2xf32>) {schedule = #omnimoe.schedule<expert_centric, group_size = 4, grid_columns = 4>}
  return
}
