//===- ClearedSums.cpp - Zeros that sums start from -----------------------===//

#include "BlockEmitter.h"
#include "BlockKernel.h"
#include "ExpertBlock.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

void mlir::omnimoe::clearRow(KernelBuilder &k, FusedBlock block,
                             BlockKernel &kernel, Value token) {
  constexpr int64_t kPiece = 4;
  Value zeros = k.real(VectorType::get({kPiece}, k.getF32Type()), 0.0);
  k.loop(k.mul(kernel.lane, kPiece), k.index(block.sum.getHiddenSize()),
         kWarp * kPiece, [&](Value column) {
           k.storeVector(zeros, block.sum.getOut(), {token, column},
                         llvm::Align(kAccessBytes));
         });
}

void mlir::omnimoe::emitBesideClearing(
    KernelBuilder &k, FusedBlock block, StringRef name, int64_t threads,
    llvm::function_ref<void(BlockKernel &)> body) {
  Value blocks = k.index(1), tokens;
  if (block.clears) {
    tokens = k.createOrFold<memref::DimOp>(block.sum.getOut(), 0);
    blocks = k.add(
        arith::CeilDivUIOp::create(k, tokens, k.index(threads / kWarp)), 1);
  }
  BlockKernel kernel(k, name, blocks, threads);
  if (!block.clears)
    return body(kernel);
  k.when(
      k.compare(CmpIPredicate::eq, kernel.block, k.index(0)),
      [&] { body(kernel); },
      [&] {
        Value token =
            k.add(k.mul(k.sub(kernel.block, 1), kernel.numWarps), kernel.warp);
        k.when(k.compare(CmpIPredicate::ult, token, tokens),
               [&] { clearRow(k, block, kernel, token); });
      });
}
