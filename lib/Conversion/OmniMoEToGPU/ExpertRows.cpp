//===- ExpertRows.cpp - Expert vectors against a token, by a block --------===//
//
// The token-centric schedule on a GPU. Both operations move each expert vector
// once, in 16-byte accesses of neighbouring threads, with several vectors in
// flight:
//
//   grouped_matmul   a warp owns a pair: its lanes hold the token in registers,
//                    multiply the vector's pieces and add across lanes
//   combine          a thread owns columns of the output and walks the pairs,
//                    so nothing is added across threads and the order of every
//                    sum is that of the token's list; with few pairs of few
//                    tokens the vectors are on their way before the products
//                    start
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "Utils/ExpertVectors.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Expert vectors that a warp has in flight in a product: few where many blocks
/// share a unit, more where they make one pass over all pairs.
static constexpr int64_t kVectorsPerWarp = 2;
static constexpr int64_t kMaxVectorsPerWarp = 4;
/// Expert vectors that a block has in flight in a sum of many pairs.
static constexpr int64_t kVectorsPerBlock = 8;
/// Warps of a block that takes as many in turns, where pairs with an expert are
/// listed: larger blocks have enough in flight, and would not share a unit.
static constexpr int64_t kFewWarps = 4;
/// Pieces of a token that a lane may hold in registers, and elements of which
/// half of the registers are left where 64 are all.
static constexpr int64_t kMaxPieces = 8, kHeldElements = 32;

int64_t mlir::omnimoe::getAccessElements(int64_t length, Type elementType) {
  int64_t elements = kAccessBytes * 8 / elementType.getIntOrFloatBitWidth();
  while (length % elements != 0)
    elements /= 2;
  return elements;
}

int64_t mlir::omnimoe::getBlockThreads(int64_t hiddenSize, Type elementType) {
  int64_t accesses = hiddenSize / getAccessElements(hiddenSize, elementType);
  int64_t threads = llvm::alignTo(accesses, kWarp);
  return std::clamp<int64_t>(threads, 2 * kWarp, 8 * kWarp);
}

/// `count` elements of a row as f32. A piece past the row's end is zero, and so
/// is the row of a pair without an expert; neither is read.
static Value loadPiece(KernelBuilder &k, Value memref, Value row, Value column,
                       int64_t count, Value valid) {
  Type elementType = cast<MemRefType>(memref.getType()).getElementType();
  auto loaded = VectorType::get({count}, elementType);
  auto wide = VectorType::get({count}, k.getF32Type());
  // Reading piece 0 of the row instead keeps the access without a branch.
  Value from = valid ? k.choose(valid, column, k.index(0)) : column;
  int64_t bytes = count * elementType.getIntOrFloatBitWidth() / 8;
  Value piece =
      vector::LoadOp::create(k, loaded, memref, ValueRange{row, from},
                             /*nontemporal=*/false, llvm::MaybeAlign(bytes));
  if (!elementType.isF32())
    piece = arith::ExtFOp::create(k, wide, piece);
  return valid ? k.choose(valid, piece, k.real(wide, 0.0)) : piece;
}

/// Sums of a row that a lane has at a time: registers are for vectors in
/// flight, of which there are more than enough to multiply while one sum is
/// waited for.
static constexpr int64_t kSumsOfLane = 2;

/// `sums` plus the products of neighbouring elements, some at a time.
static Value multiplyOn(KernelBuilder &k, Value left, Value right, Value sums) {
  int64_t count = cast<VectorType>(left.getType()).getNumElements();
  int64_t together = cast<VectorType>(sums.getType()).getNumElements();
  for (int64_t first = 0; first < count; first += together) {
    auto cut = [&](Value piece) {
      auto elements = llvm::seq(first, first + together);
      return vector::ShuffleOp::create(k, piece, piece,
                                       llvm::to_vector(elements));
    };
    sums = vector::FMAOp::create(k, cut(left), cut(right), sums);
  }
  return sums;
}

/// The sum over the lanes of a warp, in every lane.
static Value addAcrossWarp(KernelBuilder &k, Value value) {
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    auto shuffle = gpu::ShuffleOp::create(k, value, distance, kWarp,
                                          gpu::ShuffleMode::XOR);
    value = arith::AddFOp::create(k, value, shuffle.getShuffleResult());
  }
  return value;
}

void BlockEmitter::emitGroupedMatmul(GroupedMatmulOp op) {
  Value x = op.getX(), experts = op.getExperts();
  Value weights = collapseExperts(k, op.getWeights());
  Value products = collapsePairs(k, op.getProducts());
  int64_t width = op.getExpertWidth(), hiddenSize = op.getHiddenSize();
  int64_t columns = op.getTopK() * width;
  Type elementType = getElementTypeOrSelf(weights.getType());
  int64_t count = getAccessElements(hiddenSize, elementType);
  int64_t pieces = llvm::divideCeil(hiddenSize, kWarp * count);
  auto type = VectorType::get({std::min(count, kSumsOfLane)}, k.getF32Type());

  Value warp = arith::DivUIOp::create(k, threadId, k.index(kWarp));
  Value lane = arith::RemUIOp::create(k, threadId, k.index(kWarp));
  Value isFirstLane = k.compare(arith::CmpIPredicate::eq, lane, k.index(0));
  Value laneColumn = k.mul(lane, count);
  auto columnOf = [&](Value piece) {
    return k.add(k.mul(piece, kWarp * count), laneColumn);
  };
  // Only the last piece of a lane can lie past the end.
  bool partial = hiddenSize % (kWarp * count) != 0;
  auto inside = [&](Value column, bool last) -> Value {
    if (!partial || !last)
      return nullptr;
    return k.compare(arith::CmpIPredicate::ult, column, k.index(hiddenSize));
  };

  // With few pairs, turns are for those that have an expert.
  PairList list;
  Value end = k.index(columns);
  if (hasFewPairs(op, experts, width)) {
    k.loop(threadId, k.index(columns), threads, [&](Value column) {
      k.store(k.real(k.getF32Type(), 0.0), products, {k.index(0), column});
    });
    list = listPairs(op, experts, op.getNumExperts());
    end = list.length;
    barrier();
  }
  auto positionOf = [&](Value at) {
    Value known = k.min(at, k.sub(end, 1));
    return list.positions ? k.toIndex(k.load(list.positions, known)) : known;
  };

  Value tokens = memref::DimOp::create(k, experts, 0);
  k.loop(k.index(0), tokens, 1, [&](Value token) {
    // The token's pieces, in registers if they fit.
    bool inRegisters = pieces <= kMaxPieces;
    SmallVector<Value> held;
    for (int64_t piece = 0; inRegisters && piece < pieces; ++piece) {
      Value column = columnOf(k.index(piece));
      held.push_back(loadPiece(k, x, token, column, count,
                               inside(column, piece + 1 == pieces)));
    }
    int64_t warps = threads / kWarp;
    int64_t onePass = llvm::divideCeil(columns, warps);
    int64_t vectors = onePass <= kMaxVectorsPerWarp ? onePass : kVectorsPerWarp;
    if (list.positions && threads <= kFewWarps * kWarp)
      vectors = kMaxVectorsPerWarp;
    int64_t step = vectors * warps;
    k.loop(k.mul(warp, vectors), end, step, [&](Value at) {
      SmallVector<ExpertRow> rows;
      SmallVector<Value> targets;
      for (int64_t i = 0; i < vectors; ++i) {
        targets.push_back(positionOf(k.add(at, i)));
        rows.push_back(loadExpertRow(k, experts, token, targets.back(),
                                     op.getNumExperts(), width));
      }
      SmallVector<Value> sums(vectors, k.real(type, 0.0));
      auto multiply = [&](Value left, Value column, Value valid,
                          ValueRange before) {
        SmallVector<Value> next;
        for (auto [row, sum] : llvm::zip(rows, before))
          next.push_back(multiplyOn(
              k, left, loadPiece(k, weights, row.row, column, count, valid),
              sum));
        return next;
      };
      if (inRegisters) {
        for (int64_t piece = 0; piece < pieces; ++piece) {
          Value column = columnOf(k.index(piece));
          sums = multiply(held[piece], column,
                          inside(column, piece + 1 == pieces), sums);
        }
      } else {
        sums = llvm::to_vector_of<Value>(
            k.loop(k.index(0), k.index(pieces), 1, sums,
                   [&](Value piece, ValueRange carried) {
                     Value column = columnOf(piece);
                     Value valid = inside(column, /*last=*/true);
                     Value left = loadPiece(k, x, token, column, count, valid);
                     return multiply(left, column, valid, carried);
                   }));
      }
      for (int64_t i = 0; i < vectors; ++i) {
        Value lanes =
            vector::ReductionOp::create(k, vector::CombiningKind::ADD, sums[i],
                                        arith::FastMathFlags::reassoc);
        Value sum = addAcrossWarp(k, lanes);
        sum = k.choose(rows[i].valid, sum, k.real(k.getF32Type(), 0.0));
        Value exists = k.compare(arith::CmpIPredicate::ult, k.add(at, i), end);
        k.when(k.both(isFirstLane, exists),
               [&] { k.store(sum, products, {token, targets[i]}); });
      }
    });
  });
}

Value LoadedRow::widen(KernelBuilder &k) const {
  auto type = cast<VectorType>(piece.getType());
  VectorType wide = type.clone(k.getF32Type());
  int64_t bits = type.getNumElements() * type.getElementTypeBitWidth();
  // Words, or the whole if it is less.
  int64_t word = std::min<int64_t>(bits, 32);
  auto words = VectorType::get({bits / word}, k.getIntegerType(word));
  Value chosen = k.choose(valid, vector::BitCastOp::create(k, words, piece),
                          k.integer(words, 0));
  chosen = vector::BitCastOp::create(k, type, chosen);
  return type == wide ? chosen : arith::ExtFOp::create(k, wide, chosen);
}

LoadedRow BlockEmitter::loadRow(CombineOp op, Value token, Value position,
                                Value column) {
  auto type = cast<MemRefType>(op.getVectors().getType());
  int64_t count = getAccessElements(op.getHiddenSize(), type.getElementType());
  ExpertRow row = loadExpertRow(k, op.getExperts(), token, position,
                                op.getNumExperts(), op.getExpertWidth());
  Value piece = vector::LoadOp::create(
      k, VectorType::get({count}, type.getElementType()),
      collapseExperts(k, op.getVectors()), ValueRange{row.row, column},
      /*nontemporal=*/false,
      llvm::MaybeAlign(count * type.getElementTypeBitWidth() / 8));
  return {piece, row.valid};
}

SmallVector<CombineOp> mlir::omnimoe::findEarlySums(Block &body,
                                                    int64_t threads) {
  auto matmuls = body.getOps<GroupedMatmulOp>();
  if (matmuls.empty())
    return {};
  GroupedMatmulOp first = *matmuls.begin();
  auto isKnown = [&](Value value) {
    Operation *producer = value.getDefiningOp();
    return !producer || producer->getBlock() != &body ||
           producer->isBeforeInBlock(first);
  };
  SmallVector<CombineOp> found;
  for (auto op : body.getOps<CombineOp>()) {
    int64_t count = getAccessElements(
        op.getHiddenSize(), getElementTypeOrSelf(op.getVectors().getType()));
    if (op.isToTokens() && !op.isDispatched() &&
        op.getTopK() * op.getExpertWidth() <= kMaxVectorsPerBlock &&
        cast<ShapedType>(op.getExperts().getType()).getDimSize(0) == 1 &&
        op.getHiddenSize() <= threads * count && isKnown(op.getExperts()) &&
        isKnown(op.getVectors()))
      found.push_back(op);
  }
  return found;
}

void BlockEmitter::preload(Block &body) {
  for (CombineOp op : findEarlySums(body, threads)) {
    k.setInsertionPoint(*body.getOps<GroupedMatmulOp>().begin());
    int64_t count = getAccessElements(
        op.getHiddenSize(), getElementTypeOrSelf(op.getVectors().getType()));
    // Threads past the row's end load what they will not use.
    Value column = k.mul(threadId, count);
    Value inside = k.compare(arith::CmpIPredicate::ult, column,
                             k.index(op.getHiddenSize()));
    column = k.choose(inside, column, k.index(0));
    for (int64_t i = 0; i < op.getTopK() * op.getExpertWidth(); ++i)
      preloaded[op].push_back(loadRow(op, k.index(0), k.index(i), column));
  }
}

void BlockEmitter::emitCombineToTokens(CombineOp op) {
  std::optional<ScheduleAttr> schedule = op.getSchedule();
  int64_t accesses =
      op.getHiddenSize() /
      getAccessElements(op.getHiddenSize(),
                        getElementTypeOrSelf(op.getVectors().getType()));
  if (schedule && schedule->getColumnTile() == op.getHiddenSize() &&
      kWarp % accesses == 0)
    return emitSlicedCombine(op, accesses);
  Value experts = op.getExperts(), out = op.getOut();
  Value coefficients = collapsePairs(k, op.getCoefficients());
  int64_t hiddenSize = op.getHiddenSize();
  int64_t columns = op.getTopK() * op.getExpertWidth();
  int64_t count = getAccessElements(
      hiddenSize, getElementTypeOrSelf(op.getVectors().getType()));
  auto type = VectorType::get({count}, k.getF32Type());
  Value zero = k.real(k.getF32Type(), 0.0);

  SmallVector<LoadedRow> loaded = preloaded.lookup(op);
  PairList list;
  if (hasFewPairs(op, experts, op.getExpertWidth()))
    list = listPairs(op, experts, op.getNumExperts());
  int64_t inFlight = kVectorsPerBlock;
  if (!loaded.empty() || columns <= kVectorsPerBlock)
    inFlight = columns;
  else if (list.positions && threads <= kFewWarps * kWarp)
    inFlight = kMaxVectorsPerBlock;
  // 64 registers hold what is in flight in turns that are all alike, and the
  // token before products: no more should keep blocks away.
  bool isSmall = loaded.empty() && !list.positions && columns % inFlight == 0 &&
                 hiddenSize <= kWarp * kHeldElements;
  Value tokens = memref::DimOp::create(k, experts, 0);
  Value first = k.mul(threadId, count);
  k.loop(k.index(0), tokens, 1, [&](Value token) {
    k.loop(first, k.index(hiddenSize), threads * count, [&](Value column) {
      auto add = [&](Value at, int64_t pairs, Value before) {
        SmallVector<Value> factors, pieces;
        for (int64_t i = 0; i < pairs; ++i) {
          Value position = k.add(at, i), exists;
          if (list.positions) {
            exists =
                k.compare(arith::CmpIPredicate::ult, position, list.length);
            Value known = k.min(position, k.sub(list.length, 1));
            position = k.toIndex(k.load(list.positions, known));
          }
          LoadedRow row =
              loaded.empty() ? loadRow(op, token, position, column) : loaded[i];
          if (exists)
            row.valid = k.both(row.valid, exists);
          factors.push_back(k.broadcast(
              type, k.choose(row.valid, k.load(coefficients, {token, position}),
                             zero)));
          pieces.push_back(row.widen(k));
        }
        Value sum = before;
        for (auto [factor, piece] : llvm::zip(factors, pieces))
          sum = vector::FMAOp::create(k, factor, piece, sum);
        return sum;
      };
      // The turns of few pairs are whole: the last one has some without.
      int64_t whole = list.length ? columns : columns / inFlight * inFlight;
      Value end = list.length ? list.length : k.index(whole);
      Value sum = k.real(type, 0.0);
      if (!startsAtZero.contains(op))
        sum = vector::LoadOp::create(
            k, type, out, ValueRange{token, column},
            /*nontemporal=*/false,
            llvm::MaybeAlign(4 * std::min<int64_t>(count, 4)));
      if (whole)
        sum = k.loop(k.index(0), end, inFlight, {sum},
                     [&](Value at, ValueRange carried) -> SmallVector<Value> {
                       if (isSmall)
                         keepRegisters(k);
                       return {add(at, inFlight, carried.front())};
                     })
                  .front();
      if (whole != columns)
        sum = add(k.index(whole), columns - whole, sum);
      vector::StoreOp::create(
          k, sum, out, ValueRange{token, column},
          /*nontemporal=*/false,
          llvm::MaybeAlign(4 * std::min<int64_t>(count, 4)));
    });
  });
}
