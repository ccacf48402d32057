// Programs without an expert block go the same way: arithmetic on whole tensors
// with several results, a sum to experts, products that are a result, a scalar,
// no tokens at all.
// RUN: split-file %s %t
// RUN: omni-opt %t/elementwise.mlir --omnimoe-to-llvm="vector-bits=512" | FileCheck %t/elementwise.mlir
// RUN: omni-opt %t/gradient.mlir --omnimoe-to-llvm="threads=2 vector-bits=512" | FileCheck %t/gradient.mlir
// RUN: omni-opt %t/products.mlir --omnimoe-to-llvm="vector-bits=512" | FileCheck %t/products.mlir
// RUN: omni-opt %t/sum.mlir --omnimoe-to-llvm="vector-bits=512" | FileCheck %t/sum.mlir
// RUN: omni-opt %t/no-tokens.mlir --omnimoe-to-llvm="schedule=dense" | FileCheck %t/no-tokens.mlir

//--- elementwise.mlir

// CHECK: llvm.func @_mlir_ciface_f(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr)
func.func @f(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xbf16>) {
  %0 = math.tanh %x : tensor<?x8xf32>
  %1 = arith.addf %0, %x : tensor<?x8xf32>
  %2 = arith.truncf %1 : tensor<?x8xf32> to tensor<?x8xbf16>
  return %1, %2 : tensor<?x8xf32>, tensor<?x8xbf16>
}

//--- gradient.mlir

// CHECK: llvm.func @f(
// CHECK:   omp.parallel
// CHECK:   llvm.intr.masked.store
func.func @f(%a: tensor<?x4xf32>, %x: tensor<?x100xf32>, %e: tensor<?x4xi32>) -> tensor<64x100xf32> {
  %zero = arith.constant 0.0 : f32
  %dw = tensor.empty() : tensor<64x100xf32>
  %dw0 = linalg.fill ins(%zero : f32) outs(%dw : tensor<64x100xf32>) -> tensor<64x100xf32>
  %0 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4xf32>, tensor<?x100xf32>, tensor<?x4xi32>)
    outs(%dw0 : tensor<64x100xf32>) -> tensor<64x100xf32>
  return %0 : tensor<64x100xf32>
}

//--- products.mlir

// CHECK: llvm.func @f(
// CHECK:   llvm.intr.fmuladd
func.func @f(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

//--- sum.mlir

// CHECK: llvm.func @f(
// CHECK:   llvm.intr.vector.reduce.fadd
func.func @f(%x: tensor<?xf32>) -> tensor<f32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %0 = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>], iterator_types = ["reduction"]} ins(%x : tensor<?xf32>) outs(%zero : tensor<f32>) {
  ^bb0(%p: f32, %o: f32):
    %m = arith.addf %p, %o : f32
    linalg.yield %m : f32
  } -> tensor<f32>
  return %0 : tensor<f32>
}

//--- no-tokens.mlir

// CHECK: llvm.func @omnimoe_entry(
func.func @f(%x: tensor<0x8xf32>, %w: tensor<16x8xf32>, %s: tensor<0x4xf32>, %e: tensor<0x4xi32>) -> tensor<0x8xf32> {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<0x8xf32>, tensor<16x8xf32>, tensor<0x4xi32>) outs(%s : tensor<0x4xf32>) -> tensor<0x4xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %w, %e : tensor<0x4xf32>, tensor<16x8xf32>, tensor<0x4xi32>) outs(%x : tensor<0x8xf32>) -> tensor<0x8xf32>
  return %1 : tensor<0x8xf32>
}
