//===- FusionPasses.td - Passes that make one of two -------*- tablegen -*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_FUSIONPASSES
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_FUSIONPASSES

include "mlir/Pass/PassBase.td"

def FuseSiblingTilesPass : Pass<"omnimoe-fuse-sibling-tiles", "::mlir::func::FuncOp"> {
  let summary = "Compute two products of few columns of the same rows together";
  let description = [{
    Two loops over tiles that each multiply the same rows with a matrix of at most
    128 columns, as the projections of a router do, become one loop on a GPU: a
    block reads the rows once. Neither loop needs the other, and nothing needs
    the first before the second is done.

    Before:
    ```mlir
    %p = scf.forall (%t) = (0) to (%T) step (32) ... { linalg.matmul ins(%x_tile, %rows_w ...) ... }
    %q = scf.forall (%t) = (0) to (%T) step (32) ... { linalg.matmul ins(%x_tile, %columns_w ...) ... }
    ```
    After:
    ```mlir
    %pq:2 = scf.forall (%t) = (0) to (%T) step (32) ... {
      linalg.matmul ins(%x_tile, %rows_w ...) ...
      linalg.matmul ins(%x_tile, %columns_w ...) ...
    }
    ```
  }];
  let statistics = [Statistic<"numFused", "fused", "Pairs of loops that became one">];
  let dependentDialects = ["::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

def FuseElementwisePass : Pass<"omnimoe-fuse-elementwise", "::mlir::func::FuncOp"> {
  let summary = "Fuse element-wise operations, but for roundings that keep a sum narrow";
  let description = [{
    Upstream's fusion of element-wise operations with a rule of when not to: where
    a product and another sum meet, the tiles of the product do what follows and
    read the other sum from memory. If that is rounded first, the rounding stays
    with it, so that half as much is stored and read.

    Before:
    ```mlir
    %y = omnimoe.combine to_tokens ... -> tensor<?x1024xf32>
    %n = linalg.generic ... ins(%y) { arith.truncf } -> tensor<?x1024xbf16>
    %m = linalg.matmul ... -> tensor<?x1024xf32>
    %a = linalg.generic ... ins(%m, %n) { arith.extf, arith.addf } -> tensor<?x1024xf32>
    %b = linalg.generic ... ins(%a) { arith.truncf } -> tensor<?x1024xbf16>
    ```
    After:
    ```mlir
    %y = omnimoe.combine to_tokens ... -> tensor<?x1024xf32>
    %n = linalg.generic ... ins(%y) { arith.truncf } -> tensor<?x1024xbf16>
    %m = linalg.matmul ... -> tensor<?x1024xf32>
    %b = linalg.generic ... ins(%m, %n) { arith.extf, arith.addf, arith.truncf } -> tensor<?x1024xbf16>
    ```
  }];
  let dependentDialects = ["::mlir::affine::AffineDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::tensor::TensorDialect"];
}

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_FUSIONPASSES
