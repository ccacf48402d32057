// Launches become calls of the runtime; kernels are counted in the order of
// their first launch.
// RUN: omni-opt %s --split-input-file --convert-gpu-launch-to-runtime --verify-diagnostics | FileCheck %s

// CHECK: module attributes {gpu.container_module, omnimoe.kernels = ["second", "first"]}
// CHECK: llvm.func @omnimoe_gpu_launch(!llvm.ptr, i32, i64, i64, i64, i64, i64, i64, i64, i32, !llvm.ptr)
module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @first(%x: memref<?x64xf32>) kernel { gpu.return }
    gpu.func @second(%x: memref<8xf32, strided<[2], offset: ?>>, %n: index, %f: f32) kernel { gpu.return }
  }

  // CHECK-LABEL: func.func @entry(
  // CHECK-SAME:    %[[X:.*]]: memref<?x64xf32>, %[[Y:.*]]: memref<8xf32, strided<[2], offset: ?>>, %[[QUEUE:.*]]: !llvm.ptr)
  // The buffers are as large as the largest list: 5 words of a memref and two scalars.
  // CHECK:         %[[SEVEN:.*]] = llvm.mlir.constant(7 : i64)
  // CHECK:         %[[WORDS:.*]] = llvm.alloca %[[SEVEN]] x i64
  // CHECK:         %[[PARAMETERS:.*]] = llvm.alloca %[[SEVEN]] x !llvm.ptr
  func.func @entry(%x: memref<?x64xf32>, %y: memref<8xf32, strided<[2], offset: ?>>) attributes {llvm.emit_c_interface} {
    %c1 = arith.constant 1 : index
    %c64 = arith.constant 64 : index
    %f = arith.constant 2.0 : f32
    %bytes = arith.constant 4096 : i32
    // CHECK:       %[[BASE:.*]] = memref.extract_aligned_pointer_as_index %[[Y]]
    // CHECK:       %[[POINTER:.*]] = arith.index_cast %[[BASE]] : index to i64
    // CHECK:       %{{.*}}, %[[OFFSET:.*]], %[[SIZE:.*]], %[[STRIDE:.*]] = memref.extract_strided_metadata %[[Y]]
    // CHECK:       %[[SLOT0:.*]] = llvm.getelementptr %[[WORDS]][0]
    // CHECK:       llvm.store %[[POINTER]], %[[SLOT0]]
    // CHECK:       %[[SLOT1:.*]] = llvm.getelementptr %[[WORDS]][1]
    // CHECK:       llvm.store %[[POINTER]], %[[SLOT1]]
    // CHECK:       %[[SLOT6:.*]] = llvm.getelementptr %[[WORDS]][6]
    // CHECK:       llvm.store %{{.*}}, %[[SLOT6]] : f32
    // CHECK:       %[[ZERO:.*]] = llvm.mlir.constant(0 : i32)
    // CHECK:       %[[SHARED:.*]] = arith.extui %{{.*}} : i32 to i64
    // CHECK:       %[[ALONE:.*]] = llvm.mlir.constant(0 : i32)
    // CHECK:       llvm.call @omnimoe_gpu_launch(%[[QUEUE]], %[[ZERO]], %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %[[SHARED]], %[[ALONE]], %[[PARAMETERS]])
    gpu.launch_func @kernels::@second blocks in (%c64, %c1, %c1) threads in (%c64, %c1, %c1)
      dynamic_shared_memory_size %bytes
      args(%y : memref<8xf32, strided<[2], offset: ?>>, %c64 : index, %f : f32)
    // CHECK:       %[[ONE:.*]] = llvm.mlir.constant(1 : i32)
    // CHECK:       %[[OVERLAPS:.*]] = llvm.mlir.constant(1 : i32)
    // CHECK:       llvm.call @omnimoe_gpu_launch(%[[QUEUE]], %[[ONE]], {{.*}}, %[[OVERLAPS]], %[[PARAMETERS]])
    gpu.launch_func @kernels::@first blocks in (%c1, %c1, %c1) threads in (%c64, %c1, %c1)
      args(%x : memref<?x64xf32>) {omnimoe.overlaps}
    // CHECK:       %[[AGAIN:.*]] = llvm.mlir.constant(0 : i32)
    // CHECK:       llvm.call @omnimoe_gpu_launch(%[[QUEUE]], %[[AGAIN]],
    gpu.launch_func @kernels::@second blocks in (%c64, %c1, %c1) threads in (%c64, %c1, %c1)
      args(%y : memref<8xf32, strided<[2], offset: ?>>, %c64 : index, %f : f32)
    // CHECK-NOT:   gpu.launch_func
    return
  }

  // A function that is not entered and launches nothing is left alone.
  // CHECK: func.func private @size(%{{[^,]*}}: index) -> index
  func.func private @size(%t: index) -> index { return %t : index }
}

// -----

// Contiguous copies are the runtime's.
// CHECK-LABEL: func.func @copy(
// CHECK-SAME:    %[[X:.*]]: memref<?x64xbf16>, %[[Y:.*]]: memref<?x64xbf16>, %[[QUEUE:.*]]: !llvm.ptr)
// CHECK:         %[[TWO:.*]] = arith.constant 2 : index
// CHECK:         %[[ROWS:.*]] = memref.dim %[[X]]
// CHECK:         arith.muli %[[TWO]], %[[ROWS]]
// CHECK:         llvm.call @omnimoe_gpu_copy(%[[QUEUE]], %{{.*}}, %{{.*}}, %{{.*}}) : (!llvm.ptr, !llvm.ptr, !llvm.ptr, i64) -> ()
// CHECK-NOT:     memref.copy
module {
  func.func @copy(%x: memref<?x64xbf16>, %y: memref<?x64xbf16>) attributes {llvm.emit_c_interface} {
    memref.copy %x, %y : memref<?x64xbf16> to memref<?x64xbf16>
    return
  }
}

// -----

module {
  func.func @strided(%x: memref<8xf32, strided<[2]>>, %y: memref<8xf32>) attributes {llvm.emit_c_interface} {
    // expected-error @+1 {{must have contiguous operands to become a copy on the device}}
    memref.copy %x, %y : memref<8xf32, strided<[2]>> to memref<8xf32>
    return
  }
}

// -----

// The entry has a queue even if it launches nothing.
// CHECK: module attributes {omnimoe.kernels = []}
// CHECK: func.func @nothing(%{{.*}}: !llvm.ptr)
module {
  func.func @nothing() attributes {llvm.emit_c_interface} { return }
}

// -----

// What has been converted is left alone.
// CHECK: module attributes {omnimoe.kernels = ["k"]}
// CHECK: func.func @done()
module attributes {omnimoe.kernels = ["k"]} {
  func.func @done() attributes {llvm.emit_c_interface} { return }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @k(%x: vector<4xf32>) kernel { gpu.return }
  }
  func.func @bad(%x: vector<4xf32>) {
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{has a parameter of type 'vector<4xf32>', which cannot be passed to a kernel}}
    gpu.launch_func @kernels::@k blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : vector<4xf32>)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @k() kernel { gpu.return }
  }
  func.func @async() {
    %c1 = arith.constant 1 : index
    // expected-error @+1 {{must not be asynchronous}}
    %t = gpu.launch_func async @kernels::@k blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    return
  }
}

// -----

module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @k() kernel { gpu.return }
  }
  func.func @outer() { call @inner() : () -> () return }
  // expected-error @+1 {{launches kernels and is called by the program itself}}
  func.func private @inner() {
    %c1 = arith.constant 1 : index
    gpu.launch_func @kernels::@k blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    return
  }
}

// -----

// Changes of streams are the runtime's as well.
// CHECK-DAG: llvm.func @omnimoe_gpu_fork(!llvm.ptr)
// CHECK-DAG: llvm.func @omnimoe_gpu_select_stream(!llvm.ptr, i32)
// CHECK-DAG: llvm.func @omnimoe_gpu_wait_for_stream(!llvm.ptr, i32)
// CHECK-NOT: func.func private
// CHECK-LABEL: func.func @streams(
// CHECK-SAME:    %[[QUEUE:.*]]: !llvm.ptr)
// CHECK: llvm.call @omnimoe_gpu_fork(%[[QUEUE]])
// CHECK: llvm.call @omnimoe_gpu_select_stream(%[[QUEUE]], %{{.*}})
// CHECK: llvm.call @omnimoe_gpu_launch
// CHECK: llvm.call @omnimoe_gpu_wait_for_stream(%[[QUEUE]], %{{.*}})
module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @first(%n: index) kernel { gpu.return }
  }
  func.func private @omnimoe_gpu_fork()
  func.func private @omnimoe_gpu_select_stream(i32)
  func.func private @omnimoe_gpu_wait_for_stream(i32)
  func.func @streams() attributes {llvm.emit_c_interface} {
    %c1 = arith.constant 1 : index
    %side = arith.constant 1 : i32
    call @omnimoe_gpu_fork() : () -> ()
    call @omnimoe_gpu_select_stream(%side) : (i32) -> ()
    gpu.launch_func @kernels::@first blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%c1 : index)
    call @omnimoe_gpu_wait_for_stream(%side) : (i32) -> ()
    return
  }
}
