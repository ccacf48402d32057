// Routers of several shapes: by warps, with all candidates sorted, with a
// threshold, with odd axes, and as large as they can be; by blocks, in shared
// memory and in the results. All must assemble without spills.
// REQUIRES: ptxas
// RUN: omni-compile %s --target=sm_90a -o %t.ptx
// RUN: FileCheck %s --input-file=%t.ptx
// RUN: ptxas -v -arch=sm_90a %t.ptx -o %t.cubin 2>&1 | FileCheck %s --check-prefix=PTXAS

// CHECK-NOT: .extern
// CHECK-NOT: __nv_
// CHECK-COUNT-9: .visible .entry routes_
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning
// PTXAS: 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
// PTXAS-NOT: warning

func.func @routes(%r0: tensor<?x64xf32>, %c0: tensor<?x64xf32>, %r1: tensor<?x128xf32>, %c1: tensor<?x128xf32>, %r2: tensor<?x1xf32>, %c2: tensor<?x9xf32>, %r3: tensor<?x7xf32>, %c3: tensor<?x1000xf32>, %r4: tensor<?x130xf32>, %c4: tensor<?x130xf32>, %r5: tensor<?x33xf32>, %c5: tensor<?x65xf32>, %r6: tensor<?x256xf32>, %c6: tensor<?x256xf32>, %r7: tensor<?x320xf32>, %c7: tensor<?x320xf32>, %r8: tensor<?x512xf32>, %c8: tensor<?x512xf32>)
    -> (tensor<?x16xf32>, tensor<?x16xi32>, tensor<?x64xf32>, tensor<?x64xi32>, tensor<?x9xf32>, tensor<?x9xi32>, tensor<?x700xf32>, tensor<?x700xi32>, tensor<?x16900xf32>, tensor<?x16900xi32>, tensor<?x40xf32>, tensor<?x40xi32>, tensor<?x32xf32>, tensor<?x32xi32>, tensor<?x512xf32>, tensor<?x512xi32>, tensor<?x512xf32>, tensor<?x512xi32>) {
  %zero = arith.constant 0 : index
  %T = tensor.dim %r0, %zero : tensor<?x64xf32>
  %s0_0 = tensor.empty(%T) : tensor<?x16xf32>
  %e0_0 = tensor.empty(%T) : tensor<?x16xi32>
  %s0, %e0 = omnimoe.route ins(%r0, %c0 : tensor<?x64xf32>, tensor<?x64xf32>) outs(%s0_0, %e0_0 : tensor<?x16xf32>, tensor<?x16xi32>) -> tensor<?x16xf32>, tensor<?x16xi32>
  %s1_0 = tensor.empty(%T) : tensor<?x64xf32>
  %e1_0 = tensor.empty(%T) : tensor<?x64xi32>
  %s1, %e1 = omnimoe.route ins(%r1, %c1 : tensor<?x128xf32>, tensor<?x128xf32>) outs(%s1_0, %e1_0 : tensor<?x64xf32>, tensor<?x64xi32>) -> tensor<?x64xf32>, tensor<?x64xi32>
  %s2_0 = tensor.empty(%T) : tensor<?x9xf32>
  %e2_0 = tensor.empty(%T) : tensor<?x9xi32>
  %s2, %e2 = omnimoe.route ins(%r2, %c2 : tensor<?x1xf32>, tensor<?x9xf32>) outs(%s2_0, %e2_0 : tensor<?x9xf32>, tensor<?x9xi32>) -> tensor<?x9xf32>, tensor<?x9xi32>
  %s3_0 = tensor.empty(%T) : tensor<?x700xf32>
  %e3_0 = tensor.empty(%T) : tensor<?x700xi32>
  %s3, %e3 = omnimoe.route ins(%r3, %c3 : tensor<?x7xf32>, tensor<?x1000xf32>) outs(%s3_0, %e3_0 : tensor<?x700xf32>, tensor<?x700xi32>) -> tensor<?x700xf32>, tensor<?x700xi32>
  %s4_0 = tensor.empty(%T) : tensor<?x16900xf32>
  %e4_0 = tensor.empty(%T) : tensor<?x16900xi32>
  %s4, %e4 = omnimoe.route ins(%r4, %c4 : tensor<?x130xf32>, tensor<?x130xf32>) outs(%s4_0, %e4_0 : tensor<?x16900xf32>, tensor<?x16900xi32>) -> tensor<?x16900xf32>, tensor<?x16900xi32>
  %s5_0 = tensor.empty(%T) : tensor<?x40xf32>
  %e5_0 = tensor.empty(%T) : tensor<?x40xi32>
  %s5, %e5 = omnimoe.route ins(%r5, %c5 : tensor<?x33xf32>, tensor<?x65xf32>) outs(%s5_0, %e5_0 : tensor<?x40xf32>, tensor<?x40xi32>) -> tensor<?x40xf32>, tensor<?x40xi32>
  %s6_0 = tensor.empty(%T) : tensor<?x32xf32>
  %e6_0 = tensor.empty(%T) : tensor<?x32xi32>
  %s6, %e6 = omnimoe.route ins(%r6, %c6 : tensor<?x256xf32>, tensor<?x256xf32>) outs(%s6_0, %e6_0 : tensor<?x32xf32>, tensor<?x32xi32>) -> tensor<?x32xf32>, tensor<?x32xi32>
  %s7_0 = tensor.empty(%T) : tensor<?x512xf32>
  %e7_0 = tensor.empty(%T) : tensor<?x512xi32>
  %s7, %e7 = omnimoe.route ins(%r7, %c7 : tensor<?x320xf32>, tensor<?x320xf32>) outs(%s7_0, %e7_0 : tensor<?x512xf32>, tensor<?x512xi32>) -> tensor<?x512xf32>, tensor<?x512xi32>
  %s8_0 = tensor.empty(%T) : tensor<?x512xf32>
  %e8_0 = tensor.empty(%T) : tensor<?x512xi32>
  %s8, %e8 = omnimoe.route ins(%r8, %c8 : tensor<?x512xf32>, tensor<?x512xf32>) outs(%s8_0, %e8_0 : tensor<?x512xf32>, tensor<?x512xi32>) -> tensor<?x512xf32>, tensor<?x512xi32>
  return %s0, %e0, %s1, %e1, %s2, %e2, %s3, %e3, %s4, %e4, %s5, %e5, %s6, %e6, %s7, %e7, %s8, %e8 : tensor<?x16xf32>, tensor<?x16xi32>, tensor<?x64xf32>, tensor<?x64xi32>, tensor<?x9xf32>, tensor<?x9xi32>, tensor<?x700xf32>, tensor<?x700xi32>, tensor<?x16900xf32>, tensor<?x16900xi32>, tensor<?x40xf32>, tensor<?x40xi32>, tensor<?x32xf32>, tensor<?x32xi32>, tensor<?x512xf32>, tensor<?x512xi32>, tensor<?x512xf32>, tensor<?x512xi32>
}
