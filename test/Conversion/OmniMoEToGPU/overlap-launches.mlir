// RUN: omni-opt %s --omnimoe-overlap-launches --split-input-file | FileCheck %s

// Every kernel waits for the one before it, and lets the next be set up. One
// that is launched twice waits once.

// CHECK-LABEL: func.func @chain
// CHECK: gpu.launch_func @kernels::@first {{.*}} {omnimoe.overlaps}
// CHECK: scf.if
// CHECK:   gpu.launch_func @kernels::@second {{.*}} {omnimoe.overlaps}
// CHECK: gpu.launch_func @kernels::@first {{.*}} {omnimoe.overlaps}
// CHECK: gpu.func @first(%{{.*}}: memref<8xf32>) kernel attributes {omnimoe.overlaps} {
// CHECK-NEXT: llvm.inline_asm has_side_effects {{.*}} "griddepcontrol.wait;", "~{memory}"
// CHECK-NEXT: llvm.inline_asm has_side_effects {{.*}} "griddepcontrol.launch_dependents;", "~{memory}"
// CHECK-NEXT: %[[C0:.*]] = arith.constant
// CHECK-NEXT: memref.load
// CHECK: gpu.func @second() kernel attributes {omnimoe.overlaps} {
// CHECK-NEXT: llvm.inline_asm {{.*}} "griddepcontrol.wait;"
// CHECK-NEXT: llvm.inline_asm {{.*}} "griddepcontrol.launch_dependents;"
// CHECK-NEXT: gpu.return
module attributes {gpu.container_module} {
  func.func @chain(%x: memref<8xf32>, %some: i1) {
    %c1 = arith.constant 1 : index
    gpu.launch_func @kernels::@first blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<8xf32>)
    scf.if %some {
      gpu.launch_func @kernels::@second blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    }
    gpu.launch_func @kernels::@first blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1) args(%x : memref<8xf32>)
    return
  }
  gpu.module @kernels {
    gpu.func @first(%x: memref<8xf32>) kernel {
      %c0 = arith.constant 0 : index
      %v = memref.load %x[%c0] : memref<8xf32>
      memref.store %v, %x[%c0] : memref<8xf32>
      gpu.return
    }
    gpu.func @second() kernel {
      gpu.return
    }
  }
}

// -----

// A kernel alone has nothing to overlap with.

// CHECK-LABEL: func.func @alone
// CHECK-NOT: omnimoe.overlaps
// CHECK-NOT: griddepcontrol
module attributes {gpu.container_module} {
  func.func @alone() {
    %c1 = arith.constant 1 : index
    gpu.launch_func @kernels::@only blocks in (%c1, %c1, %c1) threads in (%c1, %c1, %c1)
    return
  }
  gpu.module @kernels {
    gpu.func @only() kernel {
      gpu.return
    }
  }
}
