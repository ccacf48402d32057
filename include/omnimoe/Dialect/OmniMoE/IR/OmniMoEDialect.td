//===- OmniMoEDialect.td - The omnimoe dialect --------------*- tablegen -*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEDIALECT
#define OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEDIALECT

include "mlir/IR/OpBase.td"

def OmniMoE_Dialect : Dialect {
  let name = "omnimoe";
  let cppNamespace = "::mlir::omnimoe";
  let summary = "Mixture-of-experts layers whose experts are single neurons";
  let description = [{
    The `omnimoe` dialect states *what* a fine-grained mixture-of-experts layer
    computes; passes decide how. Experts lie on a grid of R rows and C columns,
    and expert `row * C + column` owns `r` up vectors and `r` down vectors of
    length D (`r = 1` is an *atomic* expert). A *pair* is one (token, expert)
    choice. The layer is

    ```
    y[t] = sum over the K experts e of token t of
             g[t,e] * sum_j act(x[t] . up[e,j]) * down[e,j]
    ```

    (OmniMoE, arXiv 2602.05711, section 3). Three operations express it and its
    gradient: `route` chooses the pairs, `grouped_matmul` takes the products
    `x . up` of the chosen pairs only, and `combine` sums weighted vectors to
    tokens or to experts. Two more order the work: `dispatch` sorts the pairs by
    expert so that products and sums can go expert by expert, and `partition`
    parts the pairs for which that pays from the others. Activations and gates between them are ordinary
    `linalg` operations on the `[T, K]` values.

    All operations are destination-passing: operands under `outs` give the
    result's shape and, after bufferization, its memory. They accept tensors or
    memrefs, as `linalg` operations do.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect",
                           "::mlir::tensor::TensorDialect"];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOEDIALECT
