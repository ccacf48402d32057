// RUN: omni-opt %s --omnimoe-accumulate-in-f32 | FileCheck %s

// The example of the pass's documentation.

// CHECK-LABEL: func.func @extended(
// CHECK-SAME:    {{.*}} %[[Y0:[a-z0-9]+]]: tensor<?x512xbf16>)
// CHECK:         %[[T:.*]] = tensor.dim %[[Y0]], %c0
// CHECK:         %[[EMPTY:.*]] = tensor.empty(%[[T]]) : tensor<?x512xf32>
// CHECK:         %[[F0:.*]] = linalg.generic {{.*}} ins(%[[Y0]] : tensor<?x512xbf16>) outs(%[[EMPTY]] : tensor<?x512xf32>)
// CHECK:           arith.extf %{{.*}} : bf16 to f32
// CHECK:         %[[F:.*]] = omnimoe.combine to_tokens ins({{.*}} : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
// CHECK-SAME:      outs(%[[F0]] : tensor<?x512xf32>) -> tensor<?x512xf32>
// CHECK:         %[[Y:.*]] = linalg.generic {{.*}} ins(%[[F]] : tensor<?x512xf32>) outs(%[[Y0]] : tensor<?x512xbf16>)
// CHECK:           arith.truncf %{{.*}} : f32 to bf16
// CHECK:         return %[[Y]] : tensor<?x512xbf16>
func.func @extended(%a: tensor<?x16xf32>, %v: tensor<4096x512xbf16>, %e: tensor<?x16xi32>, %y0: tensor<?x512xbf16>) -> tensor<?x512xbf16> {
  %y = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x16xf32>, tensor<4096x512xbf16>, tensor<?x16xi32>)
    outs(%y0 : tensor<?x512xbf16>) -> tensor<?x512xbf16>
  return %y : tensor<?x512xbf16>
}

// A sum that starts from a fill starts from a fill in f32. Dispatch, schedule
// and other attributes stay; so do wide experts.

// CHECK-LABEL: func.func @filled(
// CHECK-SAME:    {{.*}} %[[W:[a-z0-9]+]]: tensor<64x2x8xf16>, %[[O:[a-z0-9]+]]: tensor<17xi32>, %[[P:[a-z0-9]+]]: tensor<?xi32>)
// CHECK:         %[[EMPTY:.*]] = tensor.empty() : tensor<64x2x8xf32>
// CHECK:         %[[ZERO:.*]] = arith.extf %{{.*}} : f16 to f32
// CHECK:         %[[FILL:.*]] = linalg.fill ins(%[[ZERO]] : f32) outs(%[[EMPTY]] : tensor<64x2x8xf32>)
// CHECK:         %[[SUM:.*]] = omnimoe.combine to_experts {{.*}} dispatch(%[[O]], %[[P]], %[[P]], %[[P]] : {{.*}}) outs(%[[FILL]] : tensor<64x2x8xf32>)
// CHECK-SAME:      {note = "kept", schedule = #omnimoe.schedule<expert_centric, group_size = 4>} -> tensor<64x2x8xf32>
// CHECK:         linalg.generic {{.*}} ins(%[[SUM]] : tensor<64x2x8xf32>) outs(%{{.*}} : tensor<64x2x8xf16>)
// CHECK:           arith.truncf
func.func @filled(%a: tensor<?x4x2xf32>, %x: tensor<?x8xf16>, %e: tensor<?x4xi32>, %w: tensor<64x2x8xf16>, %o: tensor<17xi32>, %p: tensor<?xi32>)
    -> tensor<64x2x8xf16> {
  %zero = arith.constant 0.0 : f16
  %w0 = linalg.fill ins(%zero : f16) outs(%w : tensor<64x2x8xf16>) -> tensor<64x2x8xf16>
  %0 = omnimoe.combine to_experts ins(%a, %x, %e : tensor<?x4x2xf32>, tensor<?x8xf16>, tensor<?x4xi32>)
    dispatch(%o, %p, %p, %p : tensor<17xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
    outs(%w0 : tensor<64x2x8xf16>) {note = "kept", schedule = #omnimoe.schedule<expert_centric, group_size = 4>} -> tensor<64x2x8xf16>
  return %0 : tensor<64x2x8xf16>
}

// Sums in f32 are left alone, and so are those on memrefs: they have been
// bufferized without the tensor that this pass would need.

// CHECK-LABEL: func.func @left_alone(
// CHECK-NEXT:    omnimoe.combine to_tokens {{.*}} outs(%{{.*}} : tensor<?x8xf32>) -> tensor<?x8xf32>
// CHECK-NEXT:    omnimoe.combine to_tokens {{.*}} outs(%{{.*}} : memref<?x8xbf16>)
// CHECK-NEXT:    return
func.func @left_alone(%a: tensor<?x4xf32>, %v: tensor<64x8xbf16>, %e: tensor<?x4xi32>, %y: tensor<?x8xf32>, %ma: memref<?x4xf32>,
    %mv: memref<64x8xbf16>, %me: memref<?x4xi32>, %my: memref<?x8xbf16>) -> tensor<?x8xf32> {
  %0 = omnimoe.combine to_tokens ins(%a, %v, %e : tensor<?x4xf32>, tensor<64x8xbf16>, tensor<?x4xi32>)
    outs(%y : tensor<?x8xf32>) -> tensor<?x8xf32>
  omnimoe.combine to_tokens ins(%ma, %mv, %me : memref<?x4xf32>, memref<64x8xbf16>, memref<?x4xi32>) outs(%my : memref<?x8xbf16>)
  return %0 : tensor<?x8xf32>
}
