// RUN: omni-opt %s --omnimoe-finish-kernels --split-input-file --verify-diagnostics | FileCheck %s

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, 3>, swizzle = swizzle_128b, l2promo = l2promo_256b, oob = zero, interleave = none>

// A tensor map becomes a pointer in the kernel and on the host; argument 0 is
// seven arguments of the lowered kernel. The number of threads is exact where
// registers change hands.

// CHECK-LABEL: func.func @launch
// CHECK: %[[M:.*]] = nvgpu.tma.create.descriptor
// CHECK: %[[P:.*]] = builtin.unrealized_conversion_cast %[[M]] : !nvgpu.tensormap.descriptor<{{.*}}> to !llvm.ptr
// CHECK: gpu.launch_func @kernels::@copy {{.*}} args(%{{.*}} : memref<?x64xbf16>, %[[P]] : !llvm.ptr)
// CHECK: gpu.func @copy(%{{.*}}: memref<?x64xbf16>, %[[Q:.*]]: !llvm.ptr) kernel
// CHECK-NOT: known_block_size
// CHECK-SAME: nvvm.reqntid = array<i32: 384, 1, 1>
// CHECK-SAME: omnimoe.tensor_maps = array<i64: 7>
// CHECK-NOT: unrealized_conversion_cast
// CHECK: nvvm.prefetch tensormap, %[[Q]]
// CHECK: gpu.func @other() kernel attributes {known_block_size = array<i32: 128, 1, 1>}
module attributes {gpu.container_module} {
  func.func @launch(%x: memref<?x64xbf16>) {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %c128 = arith.constant 128 : index
    %c384 = arith.constant 384 : index
    %u = memref.cast %x : memref<?x64xbf16> to memref<*xbf16>
    %m = nvgpu.tma.create.descriptor %u box[%c128, %c64] : memref<*xbf16> -> !map
    gpu.launch_func @kernels::@copy blocks in (%c1, %c1, %c1) threads in (%c384, %c1, %c1) args(%x : memref<?x64xbf16>, %m : !map)
    return
  }
  gpu.module @kernels {
    gpu.func @copy(%x: memref<?x64xbf16>, %m: !map) kernel attributes {known_block_size = array<i32: 384, 1, 1>} {
      %p = builtin.unrealized_conversion_cast %m : !map to !llvm.ptr
      nvvm.setmaxregister decrease 24
      nvvm.prefetch tensormap, %p : !llvm.ptr
      gpu.return
    }
    gpu.func @other() kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
      gpu.return
    }
  }
}

// -----

// The assembler may use all registers where it cannot see what limits the number
// of blocks; blocks that meet are a cluster along the grid's last dimension.

// CHECK-LABEL: func.func @launch_cluster
// CHECK: gpu.func @meet() kernel
// CHECK-SAME: nvvm.cluster_dim = array<i32: 1, 1, 4>, nvvm.minctasm = 1 : i32
module attributes {gpu.container_module} {
  func.func @launch_cluster() {
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c128 = arith.constant 128 : index
    %bytes = arith.constant 1024 : i32
    gpu.launch_func @kernels::@meet blocks in (%c128, %c1, %c4) threads in (%c128, %c1, %c1) dynamic_shared_memory_size %bytes
    return
  }
  gpu.module @kernels {
    gpu.func @meet() kernel {
      %ring = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
      nvvm.cluster.arrive {aligned}
      nvvm.cluster.wait {aligned}
      gpu.return
    }
  }
}

// -----

module attributes {gpu.container_module} {
  func.func @any_cluster(%n: index) {
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{must have a constant number of blocks along the last dimension, which are a cluster}}
    gpu.launch_func @kernels::@meet blocks in (%c1, %c1, %n) threads in (%c1, %c1, %c1)
    return
  }
  gpu.module @kernels {
    gpu.func @meet() kernel {
      nvvm.cluster.arrive {aligned}
      gpu.return
    }
  }
}

// -----

// The second run, on kernels in the LLVM dialect.

// CHECK: llvm.mlir.global external @dynamic() {{.*}} : !llvm.array<0 x i8>
// CHECK: llvm.mlir.global internal @static() {{.*}} : !llvm.array<4 x i8>
// CHECK: llvm.func @copy(%{{.*}}: i64, %{{.*}}: !llvm.ptr {llvm.align = 64 : i32, llvm.byval = !llvm.array<16 x i64>, nvvm.grid_constant})
// CHECK-NOT: omnimoe.tensor_maps
gpu.module @kernels {
  llvm.mlir.global internal @dynamic() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
  llvm.mlir.global internal @static() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<4 x i8>
  llvm.func @copy(%n: i64, %p: !llvm.ptr) attributes {gpu.kernel, nvvm.kernel, omnimoe.tensor_maps = array<i64: 1>} {
    llvm.return
  }
}

// -----

!map = !nvgpu.tensormap.descriptor<tensor = memref<128x64xbf16, 3>, swizzle = swizzle_128b, l2promo = l2promo_256b, oob = zero, interleave = none>
gpu.module @kernels {
  gpu.func @prefetch(%m: !map) kernel {
    // expected-error @below {{cannot use a tensor map of a kernel}}
    nvgpu.tma.prefetch.descriptor %m : !map
    gpu.return
  }
}
