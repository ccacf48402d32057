// RUN: omni-opt %s --omnimoe-emit-entry -split-input-file -verify-diagnostics | FileCheck %s

// The example of the pass's documentation: the arguments are read from an array
// of pointers, in order.

// CHECK-LABEL: llvm.func @omnimoe_entry(
// CHECK-SAME:    %[[ARGUMENTS:.*]]: !llvm.ptr) {
// CHECK:         %[[SLOT0:.*]] = llvm.getelementptr %[[ARGUMENTS]][0] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr
// CHECK:         %[[X:.*]] = llvm.load %[[SLOT0]] : !llvm.ptr -> !llvm.ptr
// CHECK:         %[[SLOT1:.*]] = llvm.getelementptr %[[ARGUMENTS]][1] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr
// CHECK:         %[[OUT:.*]] = llvm.load %[[SLOT1]] : !llvm.ptr -> !llvm.ptr
// CHECK:         llvm.call @_mlir_ciface_f(%[[X]], %[[OUT]]) : (!llvm.ptr, !llvm.ptr) -> ()
// CHECK-NEXT:    llvm.return
llvm.func @_mlir_ciface_f(%x: !llvm.ptr, %out: !llvm.ptr) {
  llvm.return
}

// -----

// Declarations of other functions' interfaces are no entry points, and neither
// is a function without one.

// CHECK:       llvm.func @omnimoe_entry(
// CHECK:         llvm.call @_mlir_ciface_g()
llvm.func @_mlir_ciface_malloc(!llvm.ptr)
llvm.func @_mlir_ciface_g() {
  llvm.return
}
llvm.func @omnimoe_workspace_size(%T: i64) -> i64 {
  llvm.return %T : i64
}

// -----

// An entry is added once.

// CHECK:     llvm.func @omnimoe_entry
// CHECK-NOT: llvm.func @omnimoe_entry
llvm.func @_mlir_ciface_h() {
  llvm.return
}
llvm.func @omnimoe_entry(%arguments: !llvm.ptr) {
  llvm.return
}

// -----

// expected-error @below {{has no function with the attribute 'llvm.emit_c_interface' to enter through}}
module {
  llvm.func @f(%x: !llvm.ptr) {
    llvm.return
  }
}

// -----

llvm.func @_mlir_ciface_first() {
  llvm.return
}
// expected-error @below {{'llvm.func' op is a second entry point beside '_mlir_ciface_first'; a program has one}}
llvm.func @_mlir_ciface_second() {
  llvm.return
}
