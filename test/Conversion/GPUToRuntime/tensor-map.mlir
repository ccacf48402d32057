// A tensor map is made on the stack before each launch that takes it, and passed
// by value: its place in the list of parameters points to it, for this launch.
// RUN: omni-opt %s --split-input-file --convert-gpu-launch-to-runtime --verify-diagnostics | FileCheck %s

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, 3>, swizzle = swizzle_128b, l2promo = l2promo_256b, oob = zero, interleave = none>

// CHECK: llvm.func @omnimoe_gpu_tensor_map(!llvm.ptr, !llvm.ptr, !llvm.ptr, i32, i32, !llvm.ptr, !llvm.ptr, !llvm.ptr, i32, i32)
// CHECK-LABEL: func.func @entry(
// CHECK-SAME:    %[[X:.*]]: memref<?x1024xbf16>, %[[QUEUE:.*]]: !llvm.ptr)
// CHECK:         %[[MAP:.*]] = llvm.alloca %{{.*}} x i64 {alignment = 64 : i64}
// CHECK:         %[[PARAMETERS:.*]] = llvm.alloca %{{.*}} x !llvm.ptr
// CHECK:         memref.extract_strided_metadata %[[X]]
// CHECK:         %[[TYPE:.*]] = llvm.mlir.constant(2 : i32)
// CHECK:         %[[RANK:.*]] = llvm.mlir.constant(2 : i32)
// CHECK:         %[[SWIZZLE:.*]] = llvm.mlir.constant(128 : i32)
// CHECK:         %[[PROMOTION:.*]] = llvm.mlir.constant(256 : i32)
// CHECK:         llvm.call @omnimoe_gpu_tensor_map(%[[QUEUE]], %[[MAP]], %{{.*}}, %[[TYPE]], %[[RANK]], %{{.*}}, %{{.*}}, %{{.*}}, %[[SWIZZLE]], %[[PROMOTION]])
// CHECK:         %[[SLOT:.*]] = llvm.getelementptr %[[PARAMETERS]][7]
// CHECK:         llvm.store %[[MAP]], %[[SLOT]]
// CHECK:         llvm.call @omnimoe_gpu_launch
// CHECK:         llvm.store
// CHECK-NOT:     nvgpu
module attributes {gpu.container_module} {
  func.func @entry(%x: memref<?x1024xbf16>) attributes {llvm.emit_c_interface} {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %c128 = arith.constant 128 : index
    %u = memref.cast %x : memref<?x1024xbf16> to memref<*xbf16>
    %m = nvgpu.tma.create.descriptor %u box[%c128, %c64] : memref<*xbf16> -> !map
    %p = builtin.unrealized_conversion_cast %m : !map to !llvm.ptr
    gpu.launch_func @kernels::@copy blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1) args(%x : memref<?x1024xbf16>, %p : !llvm.ptr)
    return
  }
  gpu.module @kernels {
    gpu.func @copy(%x: memref<?x1024xbf16>, %p: !llvm.ptr) kernel { gpu.return }
  }
}

// -----

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, 3>, swizzle = swizzle_128b, l2promo = l2promo_256b, oob = zero, interleave = none>
module attributes {gpu.container_module} {
  func.func @entry(%u: memref<*xbf16>) attributes {llvm.emit_c_interface} {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %c128 = arith.constant 128 : index
    // expected-error @below {{must describe a cast of a ranked memref}}
    %m = nvgpu.tma.create.descriptor %u box[%c128, %c64] : memref<*xbf16> -> !map
    %p = builtin.unrealized_conversion_cast %m : !map to !llvm.ptr
    gpu.launch_func @kernels::@copy blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1) args(%p : !llvm.ptr)
    return
  }
  gpu.module @kernels {
    gpu.func @copy(%p: !llvm.ptr) kernel { gpu.return }
  }
}
