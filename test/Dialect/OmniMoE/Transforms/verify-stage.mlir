// What a stage may leave passes; what it may not is named, each operation of it.
// RUN: split-file %s %t
// RUN: omni-opt %t/schedule.mlir --omnimoe-verify-stage="stage=schedule" -verify-diagnostics
// RUN: omni-opt %t/tile.mlir --omnimoe-verify-stage="stage=tile" -verify-diagnostics
// RUN: omni-opt %t/bufferize.mlir --omnimoe-verify-stage="stage=bufferize" -verify-diagnostics
// RUN: omni-opt %t/vector.mlir --omnimoe-verify-stage="stage=vector" -verify-diagnostics
// RUN: omni-opt %t/kernel.mlir --omnimoe-verify-stage="stage=kernel" -verify-diagnostics
// RUN: omni-opt %t/llvm.mlir --omnimoe-verify-stage="stage=llvm" -verify-diagnostics
// RUN: omni-opt %t/unknown.mlir --omnimoe-verify-stage="stage=reorder" -verify-diagnostics
// RUN: not omni-opt %t/unknown.mlir --omnimoe-verify-stage 2>&1 | FileCheck %s --check-prefix=NONE

// NONE: error: omnimoe-verify-stage: unknown stage '', expected schedule, tile, bufferize, vector, kernel or llvm

//--- schedule.mlir

// A sum to experts needs none, and what follows a dispatch has its order.
func.func @scheduled(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>, %o: tensor<65xi32>, %p: tensor<?xi32>)
    -> (tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xf32>) {
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%s : tensor<?x4xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<?x4xf32>
  %1 = omnimoe.combine to_tokens ins(%0, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    outs(%x : tensor<?x8xf32>) {schedule = #omnimoe.schedule<token_centric>} -> tensor<?x8xf32>
  %2 = omnimoe.combine to_experts ins(%0, %x, %e : tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x4xi32>)
    outs(%w : tensor<64x8xf32>) -> tensor<64x8xf32>
  %3 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>) outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1, %2, %3 : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xf32>
}

func.func @unscheduled(%x: tensor<?x8xf32>, %w: tensor<64x8xf32>, %e: tensor<?x4xi32>, %s: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // expected-error @below {{'omnimoe.grouped_matmul' op has no schedule (run omnimoe-select-schedule first)}}
  %0 = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x8xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%s : tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-error @below {{'omnimoe.combine' op has no schedule}}
  %1 = omnimoe.combine to_tokens ins(%0, %w, %e : tensor<?x4xf32>, tensor<64x8xf32>, tensor<?x4xi32>) outs(%x : tensor<?x8xf32>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

//--- tile.mlir

#id = affine_map<(d0, d1) -> (d0, d1)>
#second = affine_map<(d0, d1) -> (d1)>

// In a tile, a fill, without a parallel first loop, following a dispatch.
func.func @tiled(%x: tensor<64x8xf32>, %w: tensor<64x8xf32>, %e: tensor<64x4xi32>, %s: tensor<64x4xf32>, %c: tensor<8xf32>,
    %o: tensor<65xi32>, %p: tensor<?xi32>) -> (tensor<64x8xf32>, tensor<8xf32>, tensor<64x4xf32>) {
  %zero = arith.constant 0.0 : f32
  %f = linalg.fill ins(%zero : f32) outs(%x : tensor<64x8xf32>) -> tensor<64x8xf32>
  %y = scf.forall (%i) = (0) to (64) step (8) shared_outs(%yi = %f) -> tensor<64x8xf32> {
    %at = tensor.extract_slice %s[%i, 0] [8, 4] [1, 1] : tensor<64x4xf32> to tensor<8x4xf32>
    %et = tensor.extract_slice %e[%i, 0] [8, 4] [1, 1] : tensor<64x4xi32> to tensor<8x4xi32>
    %yt = tensor.extract_slice %yi[%i, 0] [8, 8] [1, 1] : tensor<64x8xf32> to tensor<8x8xf32>
    %t = omnimoe.combine to_tokens ins(%at, %w, %et : tensor<8x4xf32>, tensor<64x8xf32>, tensor<8x4xi32>) outs(%yt : tensor<8x8xf32>) -> tensor<8x8xf32>
    scf.forall.in_parallel {
      tensor.parallel_insert_slice %t into %yi[%i, 0] [8, 8] [1, 1] : tensor<8x8xf32> into tensor<64x8xf32>
    }
  }
  %n = linalg.generic {indexing_maps = [#id, #second], iterator_types = ["reduction", "parallel"]} ins(%x : tensor<64x8xf32>) outs(%c : tensor<8xf32>) {
  ^bb0(%a: f32, %b: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<8xf32>
  %d = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<64x8xf32>, tensor<64x8xf32>, tensor<64x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<65xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>) outs(%s : tensor<64x4xf32>) -> tensor<64x4xf32>
  return %y, %n, %d : tensor<64x8xf32>, tensor<8xf32>, tensor<64x4xf32>
}

func.func @untiled(%x: tensor<64x8xf32>, %s: tensor<64x4xf32>, %e: tensor<64x4xi32>) -> (tensor<64x4xf32>, tensor<64x8xf32>) {
  // expected-error @below {{'omnimoe.route' op was not put into a parallel tile}}
  %0:2 = omnimoe.route ins(%x, %x : tensor<64x8xf32>, tensor<64x8xf32>) outs(%s, %e : tensor<64x4xf32>, tensor<64x4xi32>)
    -> tensor<64x4xf32>, tensor<64x4xi32>
  // expected-error @below {{'linalg.generic' op was not put into a parallel tile}}
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%x : tensor<64x8xf32>) outs(%x : tensor<64x8xf32>) {
  ^bb0(%a: f32, %b: f32):
    %m = arith.addf %a, %a : f32
    linalg.yield %m : f32
  } -> tensor<64x8xf32>
  return %0#0, %1 : tensor<64x4xf32>, tensor<64x8xf32>
}

//--- bufferize.mlir

func.func @bufferized(%a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32>) {
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%y : memref<?x8xf32>)
  return
}

func.func @unbufferized(%n: index) -> index {
  %c0 = arith.constant 0 : index
  // expected-error @below {{'tensor.empty' op still works on tensors after bufferization}}
  %0 = tensor.empty(%n) : tensor<?xf32>
  // expected-error @below {{'tensor.dim' op still works on tensors after bufferization}}
  %1 = tensor.dim %0, %c0 : tensor<?xf32>
  return %1 : index
}

//--- vector.mlir

func.func @lowered(%x: memref<64xf32>) {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  scf.for %i = %c0 to %c64 step %c16 {
    %0 = vector.load %x[%i] : memref<64xf32>, vector<16xf32>
    %1 = math.exp %0 : vector<16xf32>
    vector.store %1, %x[%i] : memref<64xf32>, vector<16xf32>
  }
  return
}

// The payload of a linalg operation is part of it.
func.func @unlowered(%x: memref<64xf32>, %a: memref<?x4xf32>, %v: memref<64x8xf32>, %e: memref<?x4xi32>, %y: memref<?x8xf32>) {
  %zero = arith.constant 0.0 : f32
  // expected-error @below {{'linalg.fill' op was not lowered: nothing handles these operand types}}
  linalg.fill ins(%zero : f32) outs(%x : memref<64xf32>)
  // expected-error @below {{'omnimoe.combine' op was not lowered: nothing handles these operand types}}
  omnimoe.combine to_tokens ins(%a, %v, %e : memref<?x4xf32>, memref<64x8xf32>, memref<?x4xi32>) outs(%y : memref<?x8xf32>)
  return
}

//--- kernel.mlir

// Sizes, views and copies are the host's; other accesses are the kernels'.
func.func @lowered(%x: memref<?xf32>, %z: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = memref.dim %x, %c0 : memref<?xf32>
  %y = memref.subview %x[1] [1] [1] : memref<?xf32> to memref<1xf32, strided<[1], offset: 1>>
  gpu.launch blocks(%bx, %by, %bz) in (%gx = %n, %gy = %c1, %gz = %c1)
             threads(%tx, %ty, %tz) in (%sx = %c1, %sy = %c1, %sz = %c1) {
    %0 = memref.load %x[%bx] : memref<?xf32>
    memref.store %0, %y[%c0] : memref<1xf32, strided<[1], offset: 1>>
    gpu.terminator
  }
  memref.copy %x, %z : memref<?xf32> to memref<?xf32>
  return
}

func.func @unlowered(%x: memref<64xf32>) {
  %c0 = arith.constant 0 : index
  // expected-error @below {{'vector.load' op was not put into a kernel}}
  %0 = vector.load %x[%c0] : memref<64xf32>, vector<16xf32>
  return
}

//--- llvm.mlir

llvm.func @lowered(%x: i64) -> i64 {
  omp.parallel {
    omp.terminator
  }
  llvm.return %x : i64
}

// expected-error @below {{'func.func' op was not lowered to the LLVM dialect}}
func.func @unlowered(%x: index) -> index {
  // expected-error @below {{'arith.addi' op was not lowered to the LLVM dialect}}
  %0 = arith.addi %x, %x : index
  // expected-error @below {{'func.return' op was not lowered to the LLVM dialect}}
  return %0 : index
}

//--- unknown.mlir

// expected-error @below {{omnimoe-verify-stage: unknown stage 'reorder', expected schedule, tile, bufferize, vector, kernel or llvm}}
module {}
