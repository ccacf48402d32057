//===- TileOperands.cpp - What a tile reads besides its products ----------===//

#include "TileOperands.h"

#include "BlockEmitter.h"
#include "WarpgroupMatrix.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The buffer that `memref` is a view of.
static Value getBuffer(Value memref) {
  while (auto view = memref.getDefiningOp<ViewLikeOpInterface>())
    memref = view.getViewSource();
  return memref;
}

SmallVector<Value> TileOperands::find(Block &body) {
  DenseSet<Value> written;
  for (auto op : body.getOps<linalg::LinalgOp>())
    for (Value init : op.getDpsInits())
      written.insert(getBuffer(init));
  llvm::SetVector<Value> found;
  for (auto op : body.getOps<linalg::GenericOp>()) {
    if (matchMatrixProduct(op) || matchRowGather(op) || op.getNumLoops() != 2 ||
        op.getNumParallelLoops() != 2)
      continue;
    for (OpOperand *input : op.getDpsInputOperands())
      if (isa<MemRefType>(input->get().getType()) &&
          op.getMatchingIndexingMap(input).isIdentity() &&
          !written.contains(getBuffer(input->get())))
        found.insert(input->get());
  }
  return found.takeVector();
}

int64_t TileOperands::getRegisters(Value memref, int64_t elements) {
  Type type = getElementTypeOrSelf(memref.getType());
  return llvm::divideCeil(elements * type.getIntOrFloatBitWidth(), 32);
}

void TileOperands::load(KernelBuilder &k, Value memref,
                        ArrayRef<Fragment> fragments, int64_t first,
                        int64_t width) {
  Type elementType = getElementTypeOrSelf(memref.getType());
  int64_t bits = width * elementType.getIntOrFloatBitWidth();
  // Outside of the matrix its last piece is read, which nobody uses.
  Value lastRow = k.sub(memref::DimOp::create(k, memref, 0), 1);
  Value lastColumn = k.sub(memref::DimOp::create(k, memref, 1), width);
  auto type = VectorType::get({width}, elementType);
  for (auto [number, fragment] : llvm::enumerate(fragments)) {
    Value piece = vector::LoadOp::create(
        k, type, memref,
        ValueRange{k.min(fragment.row, lastRow),
                   k.min(fragment.column, lastColumn)},
        /*nontemporal=*/false,
        llvm::MaybeAlign(std::min(bits / 8, kAccessBytes)));
    if (bits % 32 == 0)
      piece = vector::BitCastOp::create(
          k, VectorType::get({bits / 32}, k.getI32Type()), piece);
    loaded[memref][first + number] = piece;
  }
}

void TileOperands::hold(KernelBuilder &k) {
  for (auto &[memref, pieces] : loaded)
    for (auto &[fragment, piece] : pieces) {
      SmallVector<Value> words;
      auto type = cast<VectorType>(piece.getType());
      for (int64_t i = 0; i < type.getNumElements(); ++i)
        words.push_back(vector::ExtractOp::create(k, piece, i));
      piece = vector::FromElementsOp::create(k, type, holdInPlace(k, words));
    }
}

Value TileOperands::get(KernelBuilder &k, Value memref,
                        int64_t fragment) const {
  auto known = loaded.find(memref);
  if (known == loaded.end())
    return nullptr;
  Value piece = known->second.lookup(fragment);
  if (!piece)
    return nullptr;
  Type elementType = getElementTypeOrSelf(memref.getType());
  auto held = cast<VectorType>(piece.getType());
  int64_t width = held.getNumElements() * held.getElementTypeBitWidth() /
                  elementType.getIntOrFloatBitWidth();
  return vector::BitCastOp::create(k, VectorType::get({width}, elementType),
                                   piece);
}
