//===- TileEpilogue.cpp - What is done to the sums of a tile --------------===//

#include "TileEpilogue.h"

#include "BlockEmitter.h"
#include "KnownDivisor.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

static llvm::MaybeAlign getAlignment(Type elementType, int64_t width) {
  return llvm::MaybeAlign(
      std::min(width * elementType.getIntOrFloatBitWidth() / 8, kAccessBytes));
}

int64_t TileEpilogue::getWidth(ArrayRef<Value> memrefs) {
  int64_t width = multiplier.getFragmentWidth();
  for (Value memref : memrefs)
    width = std::min(width, getAlignedElements(memref, width));
  return width;
}

void TileEpilogue::forEachPiece(
    Value rows, Value columns, int64_t width,
    llvm::function_ref<void(int64_t, Value, Value)> body,
    llvm::function_ref<void(int64_t)> prepare) {
  int64_t fragmentWidth = multiplier.getFragmentWidth();
  for (auto [index, fragment] : llvm::enumerate(fragments)) {
    if (prepare)
      prepare(index);
    Value inRows = k.compare(arith::CmpIPredicate::ult, fragment.row, rows);
    for (int64_t at = 0; at < fragmentWidth; at += width) {
      Value row = fragment.row, column = k.add(fragment.column, at);
      Value inside =
          k.both(inRows, k.compare(arith::CmpIPredicate::ult, column, columns));
      k.when(inside, [&] { body(index * fragmentWidth + at, row, column); });
    }
  }
}

Value TileEpilogue::getVector(ArrayRef<Value> elements) {
  auto type = VectorType::get({int64_t(elements.size())}, k.getF32Type());
  return vector::FromElementsOp::create(k, type, elements);
}

void TileEpilogue::store(Value vector, Value memref, Value row, Value column) {
  Type elementType = getElementTypeOrSelf(memref.getType());
  if (!isa<VectorType>(vector.getType()))
    return k.store(vector, memref, {row, column});
  int64_t width = cast<VectorType>(vector.getType()).getNumElements();
  vector::StoreOp::create(k, vector, memref, ValueRange{row, column},
                          /*nontemporal=*/false,
                          getAlignment(elementType, width));
}

TileSums TileEpilogue::loadSums(Value memref) {
  Value rows = memref::DimOp::create(k, memref, 0);
  Value columns = memref::DimOp::create(k, memref, 1);
  int64_t fragmentWidth = multiplier.getFragmentWidth();
  Value zero = k.real(k.getF32Type(), 0.0);
  Type elementType = getElementTypeOrSelf(memref.getType());
  TileSums loaded;
  for (const Fragment &fragment : fragments)
    for (int64_t at = 0; at < fragmentWidth; ++at) {
      Value column = k.add(fragment.column, at);
      Value inside =
          k.both(k.compare(arith::CmpIPredicate::ult, fragment.row, rows),
                 k.compare(arith::CmpIPredicate::ult, column, columns));
      auto choice = scf::IfOp::create(k, TypeRange{k.getF32Type()}, inside,
                                      /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(choice.thenBlock());
      Value value = k.load(memref, {fragment.row, column});
      if (!elementType.isF32())
        value = arith::ExtFOp::create(k, k.getF32Type(), value);
      scf::YieldOp::create(k, value);
      k.setInsertionPointToStart(choice.elseBlock());
      scf::YieldOp::create(k, zero);
      loaded.push_back(choice.getResult(0));
    }
  return loaded;
}

void TileEpilogue::storeSums(const TileSums &values, Value memref) {
  Type elementType = getElementTypeOrSelf(memref.getType());
  auto getPiece = [&](int64_t first, int64_t width) {
    Value piece = getVector(ArrayRef(values).slice(first, width));
    if (!elementType.isF32())
      piece = arith::TruncFOp::create(k, VectorType::get({width}, elementType),
                                      piece);
    return piece;
  };
  if (keeps) {
    int64_t width = multiplier.getFragmentWidth();
    for (size_t at = 0; at < values.size(); at += width)
      kept.push_back(getPiece(at, width));
    return;
  }
  int64_t width = getWidth({memref});
  constexpr int64_t sector = 32;
  Value isOdd = multiplier.getIsOddOfPair();
  if (isOdd && elementType.isF32() && 4 * width == sector &&
      getAlignedElements(memref, 2 * width) == 2 * width)
    return storePairs(values, memref, isOdd);
  forEachPiece(memref::DimOp::create(k, memref, 0),
               memref::DimOp::create(k, memref, 1), width,
               [&](int64_t first, Value row, Value column) {
                 store(getPiece(first, width), memref, row, column);
               });
}

void TileEpilogue::startAtZero(Value result) {
  sums[result] = TileSums(numSums(), k.real(k.getF32Type(), 0.0));
}

/// A thread has 32 bytes of a row and stores 16 at a time; the memory behind
/// the caches is written by 32. So two lanes exchange halves, and store both
/// halves of what is one's and then of what is the other's.
void TileEpilogue::storePairs(const TileSums &values, Value memref,
                              Value isOdd) {
  constexpr int64_t half = 4;
  Value rows = memref::DimOp::create(k, memref, 0);
  Value columns = memref::DimOp::create(k, memref, 1);
  for (auto [index, fragment] : llvm::enumerate(fragments)) {
    ArrayRef<Value> own = ArrayRef(values).slice(2 * half * index, 2 * half);
    SmallVector<Value> first, second;
    for (int64_t i = 0; i < half; ++i) {
      Value low = own[i], high = own[half + i];
      Value others = gpu::ShuffleOp::create(k, k.choose(isOdd, low, high), 1,
                                            kWarp, gpu::ShuffleMode::XOR)
                         .getShuffleResult();
      first.push_back(k.choose(isOdd, others, low));
      second.push_back(k.choose(isOdd, high, others));
    }
    Value column =
        k.choose(isOdd, k.sub(fragment.column, half), fragment.column);
    Value inside =
        k.both(k.compare(arith::CmpIPredicate::ult, fragment.row, rows),
               k.compare(arith::CmpIPredicate::ult, column, columns));
    k.when(inside, [&] {
      store(getVector(first), memref, fragment.row, column);
      store(getVector(second), memref, fragment.row, k.add(column, 2 * half));
    });
  }
}

LogicalResult TileEpilogue::emitProduct(const MatrixProduct &product) {
  for (OpOperand &operand : product.op->getOpOperands()) {
    auto type = cast<MemRefType>(operand.get().getType());
    bool inMemory = &operand == product.result || !isOfTile(operand.get()) ||
                    gathered.contains(operand.get());
    if (!inMemory || !type.isLastDimUnitStride())
      return failure();
  }
  Value result = product.result->get();
  auto known = sums.find(result);
  TileSums before = known != sums.end() ? known->second : loadSums(result);
  TileSums after = multiplier.multiply(product, before);
  if (!isOfTile(result))
    storeSums(after, result);
  sums[result] = after;
  return success();
}

Value TileEpilogue::computePiece(linalg::LinalgOp op,
                                 ArrayRef<VectorOperand> memrefs,
                                 const TileOperands &own, int64_t first,
                                 int64_t width, Value row, Value column) {
  IRMapping mapping;
  Block *payload = op.getBlock();
  int64_t fragmentWidth = multiplier.getFragmentWidth();
  auto findLoaded = [&](const VectorOperand &operand) -> Value {
    if (width != fragmentWidth || !operand.map.isIdentity())
      return nullptr;
    Value early = operands.get(k, operand.memref, first / fragmentWidth);
    return early ? early : own.get(k, operand.memref, first / fragmentWidth);
  };
  for (auto [argument, operand] : llvm::zip(payload->getArguments(), memrefs)) {
    if (argument.use_empty())
      continue;
    auto held = sums.find(operand.memref);
    auto memref = dyn_cast<MemRefType>(operand.memref.getType());
    auto type = VectorType::get({width}, argument.getType());
    auto loadElement = [&] {
      return memref
                 ? k.load(operand.memref, getIndices(k, operand, {row, column}))
                 : operand.memref;
    };
    Value value;
    if (held != sums.end()) {
      ArrayRef<Value> elements = ArrayRef(held->second).slice(first, width);
      value = width == 1 ? elements.front() : getVector(elements);
    } else if (auto ofRow = rows.find(operand.memref); ofRow != rows.end()) {
      value = ofRow->second;
      if (width > 1)
        value = k.broadcast(type, value);
    } else if (Value piece = findLoaded(operand)) {
      value = piece;
    } else if (width == 1) {
      value = loadElement();
    } else if (operand.access == Access::Vector) {
      value = vector::LoadOp::create(
          k, type, operand.memref, getIndices(k, operand, {row, column}),
          /*nontemporal=*/false, getAlignment(type.getElementType(), width));
    } else {
      value = k.broadcast(type, loadElement());
    }
    mapping.map(argument, value);
  }
  if (width > 1)
    return clonePayloadOnVectors(k, payload, mapping, width).front();
  for (Operation &inner : payload->without_terminator())
    k.clone(inner, mapping);
  return mapping.lookupOrDefault(payload->getTerminator()->getOperand(0));
}

LogicalResult TileEpilogue::emitElementwise(linalg::LinalgOp op) {
  bool contiguous = true;
  FailureOr<SmallVector<VectorOperand>> memrefs =
      classifyOperands(op, contiguous);
  if (failed(memrefs) || op.getNumLoops() != 2 ||
      op.getNumParallelLoops() != 2 || op.getNumDpsInits() != 1)
    return failure();
  const VectorOperand &out = memrefs->back();
  bool staysInRegisters = isOfTile(out.memref);
  if (!out.map.isIdentity() || (staysInRegisters && !multiplier.holdsRows()))
    return failure();
  SmallVector<Value> inMemory;
  for (const VectorOperand &operand : *memrefs) {
    if (sums.contains(operand.memref)) {
      if (!operand.map.isIdentity())
        return failure();
    } else if (operand.access == Access::Vector) {
      inMemory.push_back(operand.memref);
    }
  }
  if (keeps) {
    int64_t width = multiplier.getFragmentWidth();
    for (auto [index, fragment] : llvm::enumerate(fragments))
      kept.push_back(computePiece(op, *memrefs, /*own=*/{}, index * width,
                                  width, fragment.row, fragment.column));
    return success();
  }
  if (staysInRegisters) {
    // Where the matrix ends, its last element is read, and not used.
    auto sizes = out.memref.getDefiningOp<memref::AllocOp>().getMixedSizes();
    auto last = [&](int64_t dim) {
      return k.sub(getValueOrCreateConstantIndexOp(k, k.getLoc(), sizes[dim]),
                   1);
    };
    Value lastRow = last(0), lastColumn = last(1);
    TileSums values;
    int64_t fragmentWidth = multiplier.getFragmentWidth();
    for (auto [index, fragment] : llvm::enumerate(fragments))
      for (int64_t at = 0; at < fragmentWidth; ++at)
        values.push_back(
            computePiece(op, *memrefs, /*own=*/{}, index * fragmentWidth + at,
                         /*width=*/1, k.min(fragment.row, lastRow),
                         k.min(k.add(fragment.column, at), lastColumn)));
    sums[out.memref] = values;
    return success();
  }
  int64_t width = contiguous && hasVectorPayload(op) ? getWidth(inMemory) : 1;
  // Loads for several fragments are under way together.
  SmallVector<Value> unloaded;
  int64_t registers = 0;
  if (width == multiplier.getFragmentWidth() && width > 1)
    for (const VectorOperand &operand : ArrayRef(*memrefs).drop_back())
      if (operand.access == Access::Vector && operand.map.isIdentity() &&
          !sums.contains(operand.memref) && !operands.has(operand.memref)) {
        unloaded.push_back(operand.memref);
        registers += TileOperands::getRegisters(operand.memref, width);
      }
  int64_t together = kOperandRegisters / std::max<int64_t>(registers, 1);
  TileOperands own;
  auto loadAhead = [&](int64_t fragment) {
    if (unloaded.empty() || together < 2 || fragment % together)
      return;
    for (Value memref : unloaded)
      own.load(k, memref,
               ArrayRef(fragments).drop_front(fragment).take_front(together),
               fragment, width);
  };
  // What is made of a row alone is then made once, not where pieces are stored.
  bool madeFirst =
      multiplier.holdsRows() &&
      llvm::all_of(ArrayRef(*memrefs).drop_back(), [&](const auto &operand) {
        return !isa<MemRefType>(operand.memref.getType()) ||
               sums.contains(operand.memref) || rows.contains(operand.memref);
      });
  SmallVector<Value> pieces;
  for (int64_t first = 0; madeFirst && first < numSums(); first += width) {
    const Fragment &fragment = fragments[first / multiplier.getFragmentWidth()];
    pieces.push_back(computePiece(op, *memrefs, own, first, width, fragment.row,
                                  fragment.column));
  }
  if (madeFirst && width == 1 && pieces.front().getType().isF32())
    stored[out.memref] = pieces;
  forEachPiece(
      memref::DimOp::create(k, out.memref, 0),
      memref::DimOp::create(k, out.memref, 1), width,
      [&](int64_t first, Value row, Value column) {
        store(madeFirst
                  ? pieces[first / width]
                  : computePiece(op, *memrefs, own, first, width, row, column),
              out.memref, row, column);
      },
      loadAhead);
  return success();
}

LogicalResult TileEpilogue::emitOperation(Operation *op) {
  k.setInsertionPoint(op);
  if (auto fill = dyn_cast<linalg::FillOp>(op)) {
    Value value = fill.value();
    if (!value.getType().isF32())
      value = arith::ExtFOp::create(k, k.getF32Type(), value);
    if (cast<MemRefType>(fill.output().getType()).getRank() == 1) {
      rows[fill.output()] = value;
      return success();
    }
    sums[fill.output()] = TileSums(numSums(), value);
    return success();
  }
  if (auto copy = dyn_cast<memref::CopyOp>(op)) {
    if (auto ofRows = rows.find(copy.getSource()); ofRows != rows.end()) {
      rows[copy.getTarget()] = Value(ofRows->second);
      return success();
    }
    auto known = sums.find(copy.getSource());
    TileSums values =
        known != sums.end() ? known->second : loadSums(copy.getSource());
    if (!isOfTile(copy.getTarget()))
      storeSums(values, copy.getTarget());
    sums[copy.getTarget()] = values;
    return success();
  }
  if (std::optional<MatrixProduct> product = matchMatrixProduct(op))
    return emitProduct(*product);
  if (std::optional<RowGather> gather = matchRowGather(op);
      gather && isOfTile(gather->op.getDpsInits().front())) {
    gathered.insert(gather->op.getDpsInits().front());
    return success();
  }
  auto generic = dyn_cast<linalg::LinalgOp>(op);
  if (generic && multiplier.holdsRows() && generic.getNumReductionLoops()) {
    emitRowReduction(generic);
    return success();
  }
  return generic ? emitElementwise(generic) : failure();
}

LogicalResult TileEpilogue::emit() {
  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (!isa<linalg::LinalgOp, memref::CopyOp>(op))
      continue;
    if (failed(emitOperation(&op)))
      return op.emitOpError("has no GPU lowering with these operands");
    op.erase();
  }
  for (auto alloc :
       llvm::make_early_inc_range(body.getOps<memref::AllocOp>())) {
    for (Operation *user : llvm::make_early_inc_range(alloc->getUsers())) {
      if (!isa<memref::DeallocOp>(user))
        return user->emitOpError("cannot use a buffer in registers");
      user->erase();
    }
    alloc.erase();
  }
  return success();
}

FailureOr<SmallVector<Value>> TileEpilogue::emitAndKeep() {
  keeps = true;
  if (failed(emit()))
    return failure();
  return kept;
}

bool TileEpilogue::mayKeep(Block &body) {
  int64_t results = 0;
  for (Operation &op : body) {
    if (auto copy = dyn_cast<memref::CopyOp>(op)) {
      results += !isOfTile(copy.getTarget());
    } else if (std::optional<MatrixProduct> product = matchMatrixProduct(&op)) {
      results += !isOfTile(product->result->get());
    } else if (matchRowGather(&op)) {
      continue;
    } else if (auto generic = dyn_cast<linalg::LinalgOp>(op)) {
      if (isa<linalg::FillOp>(op))
        continue;
      ++results;
      if (!hasVectorPayload(generic))
        return false;
      for (OpOperand *input : generic.getDpsInputOperands())
        if (isa<MemRefType>(input->get().getType()) && !isOfTile(input->get()))
          return false;
      for (BlockArgument argument : generic.getRegionOutputArgs())
        if (!argument.use_empty())
          return false;
    }
  }
  return results == 1;
}
