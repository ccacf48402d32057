// An object of each of two programs in one C program, through their headers.
// RUN: rm -rf %t && mkdir -p %t
// RUN: omni-compile %s -o %t/experts.o --header=%t/experts.h
// RUN: omni-compile %s -o %t/other.o --header=%t/other.h --prefix=other --schedule=dense --threads=1
// RUN: %cc -std=c99 -Wall -Wextra -pedantic -Werror -I%t %S/Inputs/main.c %t/experts.o %t/other.o -o %t/main -L%llvm_lib -lomp -lm -Wl,-rpath,%llvm_lib
// RUN: %t/main | FileCheck %s --check-prefix=RESULT

// RESULT-NOT: differs
// RESULT: outputs agree

// RUN: FileCheck %s --check-prefix=HEADER --input-file=%t/experts.h
// HEADER: int64_t experts_workspace_size(int64_t tokens);
// HEADER: void experts_invoke(void *const *descriptors);
// HEADER: weights: f32 [tokens, 4]
// HEADER: static inline void experts_run(int64_t tokens, const float *x

// The same two as shared libraries.
// RUN: omni-compile %s -o %t/libexperts.so --header=%t/experts.h
// RUN: omni-compile %s -o %t/libother.so --header=%t/other.h --prefix=other --schedule=dense --threads=1
// RUN: %cc -std=c99 -I%t %S/Inputs/main.c -L%t -lexperts -lother -o %t/main-shared -L%llvm_lib -lomp -lm -Wl,-rpath,%llvm_lib -Wl,-rpath,%t
// RUN: %t/main-shared | FileCheck %s --check-prefix=RESULT

// The other kinds of output.
// RUN: omni-compile %s -o %t/experts.ll
// RUN: FileCheck %s --check-prefix=LL --input-file=%t/experts.ll
// LL: define {{.*}}@experts_invoke(ptr
// RUN: omni-compile %s -o %t/experts.s
// RUN: FileCheck %s --check-prefix=ASM --input-file=%t/experts.s
// ASM: experts_invoke:
// RUN: omni-compile %s -o %t/experts.omni
// RUN: FileCheck %s --check-prefix=OMNI --input-file=%t/experts.omni
// OMNI: OMNIMOE

// Refusals.
// RUN: not omni-compile %s -o %t/experts.x 2>&1 | FileCheck %s --check-prefix=ENDING
// ENDING: -o: expected a file ending in .o, .so, .s, .ll, .omni for target cpu, got
// RUN: not omni-compile %s -o %t/x.o --target=abacus 2>&1 | FileCheck %s --check-prefix=TARGET
// TARGET: --target: expected cpu or sm_90a, got abacus
// RUN: not omni-compile %s -o %t/x.o --threads=-1 2>&1 | FileCheck %s --check-prefix=THREADS
// THREADS: --threads: expected 0 or more, got -1
// RUN: not omni-compile %s -o %t/x.ll --header=%t/x.h 2>&1 | FileCheck %s --check-prefix=NOHEADER
// NOHEADER: --header: goes with an object file, a shared library or assembly only
// RUN: not omni-compile %t/none.mlir -o %t/x.o 2>&1 | FileCheck %s --check-prefix=NOFILE
// NOFILE: none.mlir: No such file
// RUN: not omni-compile -o %t/x.o 2>&1 | FileCheck %s --check-prefix=NOINPUT
// NOINPUT: expected FILE and -o OUT
// RUN: echo "func.func private @f()" | not omni-compile - -o %t/x.o 2>&1 | FileCheck %s --check-prefix=NOENTRY
// NOENTRY: expected one public func.func with a body, found none

#id = affine_map<(t, k) -> (t, k)>
func.func @experts(
    %x: tensor<?x32xf32> {omnimoe.name = "x"},
    %up: tensor<16x32xf32> {omnimoe.name = "up"},
    %down: tensor<16x32xf32> {omnimoe.name = "down"},
    %weights: tensor<?x4xf32> {omnimoe.name = "weights"},
    %experts: tensor<?x4xi32> {omnimoe.name = "experts"})
    -> tensor<?x32xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x32xf32>
  %s0 = tensor.empty(%T) : tensor<?x4xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %experts : tensor<?x32xf32>,         tensor<16x32xf32>, tensor<?x4xi32>)
         outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>
  %a0 = tensor.empty(%T) : tensor<?x4xf32>
  %a = linalg.generic {indexing_maps = [#id, #id, #id],
         iterator_types = ["parallel", "parallel"]}
         ins(%s, %weights : tensor<?x4xf32>, tensor<?x4xf32>)
         outs(%a0 : tensor<?x4xf32>) {
  ^bb0(%v: f32, %g: f32, %o: f32):
    %n = arith.negf %v : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %q = arith.divf %v, %d : f32
    %r = arith.mulf %q, %g : f32
    linalg.yield %r : f32
  } -> tensor<?x4xf32>
  %y0 = tensor.empty(%T) : tensor<?x32xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x32xf32>)          -> tensor<?x32xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %experts :         tensor<?x4xf32>, tensor<16x32xf32>, tensor<?x4xi32>)
         outs(%y1 : tensor<?x32xf32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
