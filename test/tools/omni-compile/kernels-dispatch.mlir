// The kernels of a dispatch with more groups than one digit tells apart.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS
// RUN: FileCheck %s --input-file=%t.ptx

// CHECK: .visible .entry groups_dispatch0_count0(
// CHECK: atom.shared.add.u32
// CHECK: .visible .entry groups_dispatch0_scatter0(
// CHECK: vote.sync.ballot.b32
// CHECK: st.global.v2.b32
// CHECK: .visible .entry groups_dispatch0_scatter1(
// CHECK: .visible .entry groups_dispatch0_offsets(

// PTXAS-NOT: warning
// PTXAS-DAG: Compiling entry function 'groups_dispatch0_scatter1' for 'sm_90a'
// PTXAS-NOT: {{[1-9][0-9]*}} bytes spill

!ids = tensor<?x33xi32>
!offsets = tensor<102401xi32>
!list = tensor<?xi32>

func.func @groups(%e: !ids) -> (!offsets, !list, !list, !list) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c33 = arith.constant 33 : index
  %T = tensor.dim %e, %c0 : !ids
  %P = arith.muli %T, %c33 : index
  %P1 = arith.addi %P, %c1 : index
  %o = tensor.empty() : !offsets
  %l = tensor.empty(%P) : !list
  %s = tensor.empty(%P1) : !list
  %r:4 = omnimoe.dispatch ins(%e : !ids) outs(%o, %l, %s, %l : !offsets, !list, !list, !list)
    num_experts = 102400 -> !offsets, !list, !list, !list
  return %r#0, %r#1, %r#2, %r#3 : !offsets, !list, !list, !list
}
