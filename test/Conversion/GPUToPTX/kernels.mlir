// RUN: omni-opt %s --omnimoe-kernels-to-ptx --split-input-file --verify-diagnostics | FileCheck %s

// Kernels are compiled apart; what they share is declared once.
// CHECK-LABEL: gpu.binary @kernels [#gpu.object<#nvvm.target<{{.*}}chip = "sm_90a"
// CHECK-SAME:  .version
// CHECK-NOT:   .version
// CHECK-SAME:  .extern .shared .align 16 .b8 tile[];
// CHECK-NOT:   .extern
// CHECK-SAME:  .visible .entry first(
// CHECK-NOT:   .extern
// CHECK-SAME:  .reg .pred p;{{.*}}.reg .pred p;
// CHECK-NOT:   .extern
// CHECK-SAME:  .visible .entry second(
// CHECK-NOT:   gpu.module
gpu.module @kernels [#nvvm.target<O = 3, chip = "sm_90a", features = "+ptx86">] {
  llvm.mlir.global external @tile() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i32>
  llvm.func @first(%value: i32) attributes {gpu.kernel, nvvm.kernel} {
    %tile = llvm.mlir.addressof @tile : !llvm.ptr<3>
    llvm.store volatile %value, %tile : i32, !llvm.ptr<3>
    llvm.inline_asm has_side_effects "{\0A.reg .pred p;\0A}", "" : () -> ()
    llvm.inline_asm has_side_effects "{\0A.reg .pred p;\0A}", "" : () -> ()
    llvm.return
  }
  llvm.func @second(%value: i32) attributes {gpu.kernel, nvvm.kernel} {
    %tile = llvm.mlir.addressof @tile : !llvm.ptr<3>
    llvm.store volatile %value, %tile : i32, !llvm.ptr<3>
    llvm.return
  }
}

// -----

// With a function beside them they stay together.
// CHECK-LABEL: gpu.binary @shared
// CHECK-SAME:  .func helper(
// CHECK-NOT:   .version
// CHECK-SAME:  .visible .entry first(
// CHECK-SAME:  .visible .entry second(
gpu.module @shared [#nvvm.target<O = 3, chip = "sm_90a", features = "+ptx86">] {
  llvm.func @helper() attributes {passthrough = ["noinline"]} {
    llvm.inline_asm has_side_effects "// nothing", "" : () -> ()
    llvm.return
  }
  llvm.func @first() attributes {gpu.kernel, nvvm.kernel} {
    llvm.call @helper() : () -> ()
    llvm.return
  }
  llvm.func @second() attributes {gpu.kernel, nvvm.kernel} {
    llvm.call @helper() : () -> ()
    llvm.return
  }
}

// -----

// expected-error@+1 {{must have one target, which is NVVM's}}
gpu.module @nowhere {
}
