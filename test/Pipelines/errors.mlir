// Programs that verify but cannot be lowered end with an error that names the
// operation and its place, whatever stage notices.
// RUN: omni-opt %s --omnimoe-to-llvm -split-input-file -verify-diagnostics -o /dev/null

// An operation that nothing lowers.
func.func @softmax(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @below {{'linalg.softmax' op was not put into a parallel tile}}
  %0 = linalg.softmax dimension(1) ins(%x : tensor<?x8xf32>) outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// expected-error @below {{'func.func' op result 0 must be a ranked tensor, got 'f32'}}
func.func @scalar(%x: tensor<?x8xf32>) -> f32 {
  %zero = arith.constant 0.0 : f32
  return %zero : f32
}

// -----

func.func @first(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = linalg.abs ins(%x : tensor<?x8xf32>) outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
// expected-error @below {{'func.func' op is a second public function beside 'first'; a program has one entry point}}
func.func @second(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = linalg.abs ins(%x : tensor<?x8xf32>) outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// expected-error @below {{'func.func' op must have one block to be an entry point}}
func.func @branches(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>, %c: i1) -> tensor<?x8xf32> {
  cf.cond_br %c, ^a, ^b
^a:
  return %x : tensor<?x8xf32>
^b:
  return %y : tensor<?x8xf32>
}

// -----

// A size that is read from memory cannot be planned: the values of this column
// sum are a buffer between two loops.
#id = affine_map<(i, j) -> (i, j)>
#column = affine_map<(i, j) -> (j)>
func.func @size_from_data(%n: tensor<1xindex>, %sum: tensor<8xf32>) -> tensor<8xf32> {
  %c0 = arith.constant 0 : index
  %one = arith.constant 1.0 : f32
  %size = tensor.extract %n[%c0] : tensor<1xindex>
  // expected-error @below {{'memref.alloc' op has a size that depends on more than the number of tokens}}
  %a = tensor.empty(%size) : tensor<?x8xf32>
  %f = linalg.fill ins(%one : f32) outs(%a : tensor<?x8xf32>) -> tensor<?x8xf32>
  %0 = linalg.generic {indexing_maps = [#id, #column], iterator_types = ["reduction", "parallel"]} ins(%f : tensor<?x8xf32>) outs(%sum : tensor<8xf32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.addf %p, %o : f32
    linalg.yield %m : f32
  } -> tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

// Operations on memrefs come as they are: the sum in bf16 has no lowering.
func.func @narrow_memrefs(%a: memref<?x4xf32>, %v: memref<64x8xbf16>, %e: memref<?x4xi32>, %y: memref<?x8xbf16>) {
  // expected-error @below {{'omnimoe.combine' op operand 'out' must be of f32 to be lowered to vectors, got 'memref<?x8xbf16>': run omnimoe-accumulate-in-f32 first}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xbf16>, memref<?x4xi32>)
    outs(%y : memref<?x8xbf16>) {schedule = #omnimoe.schedule<token_centric>}
  return
}

// -----

// A loop that carries a tensor through another one has no buffer of its own.
func.func @loop(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c4 = arith.constant 4 : index
  %r = scf.for %i = %c0 to %c4 step %c1 iter_args(%a = %x) -> tensor<?x8xf32> {
    %0 = linalg.add ins(%a, %y : tensor<?x8xf32>, tensor<?x8xf32>) outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
    // expected-error @below {{Yield operand #0 is not equivalent to the corresponding iter bbArg}}
    scf.yield %0 : tensor<?x8xf32>
  }
  return %r : tensor<?x8xf32>
}

// -----

// expected-error @below {{has no function with the attribute 'llvm.emit_c_interface' to enter through}}
module {
  func.func private @helper(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    return %x : tensor<?x8xf32>
  }
}
