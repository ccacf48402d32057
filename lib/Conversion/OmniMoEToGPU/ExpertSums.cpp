//===- ExpertSums.cpp - Pairs of an expert, by a block --------------------===//
//
// A block owns an expert; the dispatch of the batch says which pairs are its
// own. Each warp loads as many of them as it has lanes at once, and hands them
// out by shuffles. Both operations walk them in the order of the tokens:
//
//   combine          a thread owns columns of the expert's row: no atomics, and
//                    the same bits every time
//   grouped_matmul   a thread multiplies its columns, which it has loaded
//   already
//                    where a combine reads the same tokens; the threads' parts
//                    are added up for many pairs at a time
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "Utils/ExpertVectors.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Pairs of an expert in flight: most experts have few.
static constexpr int64_t kPairsInFlight = 4;

namespace {
/// The pairs of experts, as a dispatch with a group for each has them.
struct PairsOfExperts {
  Value offsets, starts, pairs;
  int64_t topK;

  Value getFirst(KernelBuilder &k, Value expert) const {
    Value slot = k.toIndex(k.load(offsets, {expert}));
    return k.toIndex(k.load(starts, {slot}));
  }
};
} // namespace

template <typename OpTy> static PairsOfExperts getPairs(OpTy op) {
  auto dispatch = op.getDispatch();
  return {dispatch[0], dispatch[2], dispatch[3], op.getTopK()};
}

/// `values`, which stand token-major with `width` for each pair, at a pair: in
/// one row if they lie so, for what is at a pair is then at its number.
static std::pair<Value, SmallVector<Value>>
getPosition(KernelBuilder &k, Value values, Value pair, int64_t topK,
            int64_t width, Value part) {
  Value flat = collapsePairs(k, values);
  auto inPair = [&](Value index) {
    return width == 1 ? index : k.add(k.mul(index, width), part);
  };
  if (cast<MemRefType>(flat.getType()).getLayout().isIdentity()) {
    SmallVector<ReassociationIndices> groups = {{0, 1}};
    return {memref::CollapseShapeOp::create(k, flat, groups),
            {inPair(k.toIndex(pair))}};
  }
  Value topKValue = k.i32(topK);
  Value choice = k.toIndex(arith::RemUIOp::create(k, pair, topKValue));
  Value token = k.toIndex(arith::DivUIOp::create(k, pair, topKValue));
  return {flat, {token, inPair(choice)}};
}

static Value addAcross(KernelBuilder &k, Value value, int64_t distance) {
  return arith::AddFOp::create(
      k, value,
      gpu::ShuffleOp::create(k, value, distance, kWarp, gpu::ShuffleMode::XOR)
          .getShuffleResult());
}

/// Adds each of n `values`, a power of two, over the lanes of a warp. Lanes
/// i * kWarp / n to (i + 1) * kWarp / n get the sum of number `order[i]`: at
/// each of the first steps a lane hands half of the values over and keeps the
/// others.
static Value addTransposed(KernelBuilder &k, Value lane,
                           SmallVector<Value> values,
                           SmallVectorImpl<int64_t> &order) {
  int64_t distance = kWarp / 2, count = values.size();
  for (; values.size() > 1; distance /= 2) {
    Value bit = arith::AndIOp::create(k, lane, k.index(distance));
    Value upper = k.compare(arith::CmpIPredicate::ne, bit, k.index(0));
    SmallVector<Value> kept;
    for (size_t i = 0; i < values.size(); i += 2) {
      Value mine = k.choose(upper, values[i + 1], values[i]);
      Value others = k.choose(upper, values[i], values[i + 1]);
      auto shuffle = gpu::ShuffleOp::create(k, others, distance, kWarp,
                                            gpu::ShuffleMode::XOR);
      kept.push_back(
          arith::AddFOp::create(k, mine, shuffle.getShuffleResult()));
    }
    values = std::move(kept);
  }
  // The lanes' first bit chose between neighbours, and so on: numbers with
  // their bits reversed.
  for (int64_t i = 0; i < count; ++i) {
    int64_t number = 0;
    for (int64_t bit = 1, mirrored = count / 2; bit < count;
         bit *= 2, mirrored /= 2)
      if (i & mirrored)
        number |= bit;
    order.push_back(number);
  }
  Value sum = values.front();
  for (; distance > 0; distance /= 2)
    sum = addAcross(k, sum, distance);
  return sum;
}

/// The product of two short vectors.
static Value multiplyPieces(KernelBuilder &k, Value a, Value b) {
  Value sum;
  for (int64_t i : llvm::seq(cast<VectorType>(a.getType()).getNumElements())) {
    Value x = vector::ExtractOp::create(k, a, i);
    Value y = vector::ExtractOp::create(k, b, i);
    sum = sum ? Value(math::FmaOp::create(k, x, y, sum))
              : Value(arith::MulFOp::create(k, x, y));
  }
  return sum;
}

/// True if each thread has one piece of a row of either: of atomic experts.
bool BlockEmitter::ownsPieces(Value x, Value weights) {
  auto type = cast<MemRefType>(weights.getType());
  int64_t hiddenSize = type.getShape().back();
  return type.getRank() == 2 &&
         type.getElementType() == getElementTypeOrSelf(x.getType()) &&
         hiddenSize ==
             threads * getAccessElements(hiddenSize, type.getElementType());
}

/// This thread's piece of a row, as f32.
Value BlockEmitter::loadOwnPiece(Value memref, Value row) {
  auto type = cast<MemRefType>(memref.getType());
  int64_t count =
      getAccessElements(type.getShape().back(), type.getElementType());
  auto wide = VectorType::get({count}, k.getF32Type());
  Value piece = vector::LoadOp::create(
      k, wide.clone(type.getElementType()), memref,
      ValueRange{row, k.mul(threadId, count)},
      /*nontemporal=*/false,
      llvm::MaybeAlign(count * type.getElementTypeBitWidth() / 8));
  return piece.getType() == wide ? piece
                                 : Value(arith::ExtFOp::create(k, wide, piece));
}

/// Products that a sum to experts can make in passing: of the tokens that it
/// reads.
GroupedMatmulOp BlockEmitter::findProducts(CombineOp op) {
  for (auto matmul : op->getBlock()->getOps<GroupedMatmulOp>())
    if (matmul.isDispatched() && matmul.getX() == op.getVectors() &&
        ownsPieces(matmul.getX(), matmul.getWeights()))
      return matmul;
  return nullptr;
}

void BlockEmitter::allocateParts(Operation *op) {
  productParts = allocateShared(op, {threads / kWarp, kWarp}, k.getF32Type());
}

/// Lets each lane of a warp hold one of the pairs from `first` to `end`, a
/// warp's worth at most.
BlockEmitter::HeldPairs BlockEmitter::holdPairs(Value pairs, int64_t topK,
                                                Value first, Value end) {
  Value lane = arith::RemUIOp::create(k, threadId, k.index(kWarp));
  Value position = k.add(first, lane);
  Value exists = k.compare(arith::CmpIPredicate::ult, position, end);
  Value pair = k.load(pairs, {k.choose(exists, position, first)});
  return {pair, arith::DivUIOp::create(k, pair, k.i32(topK)), exists};
}

void BlockEmitter::emitCombineToExperts(CombineOp op) {
  Value x = op.getVectors();
  Value out = collapseExperts(k, op.getOut());
  PairsOfExperts pairs = getPairs(op);
  Type elementType = getElementTypeOrSelf(x.getType());
  int64_t width = op.getExpertWidth(), hiddenSize = op.getHiddenSize();
  int64_t count = getAccessElements(hiddenSize, elementType);
  auto type = VectorType::get({count}, k.getF32Type());
  auto outAlignment = llvm::MaybeAlign(4 * std::min<int64_t>(count, 4));
  auto xAlignment =
      llvm::MaybeAlign(count * elementType.getIntOrFloatBitWidth() / 8);
  Value zero = k.real(k.getF32Type(), 0.0);
  GroupedMatmulOp products = findProducts(op);
  if (products)
    allocateParts(op);

  /// Adds the pairs from `first` to `end` to `sum`.
  auto addPairs = [&](Value expert, Value first, Value end, Value part,
                      Value column, Value sum) -> Value {
    HeldPairs held = holdPairs(pairs.pairs, pairs.topK, first, end);
    auto [coefficients, position] = getPosition(
        k, op.getCoefficients(), held.pair, pairs.topK, width, part);
    Value factors = k.choose(held.exists, k.load(coefficients, position), zero);
    Value weight;
    if (products)
      weight = loadOwnPiece(products.getWeights(), expert);
    auto add = [&](Value at, ValueRange carried) -> SmallVector<Value> {
      keepRegisters(k);
      SmallVector<Value> pieces, parts;
      for (int64_t i = 0; i < kPairsInFlight; ++i) {
        Value token = fromLane(held.token, k.add(at, i));
        pieces.push_back(vector::LoadOp::create(
            k, type.clone(elementType), x, ValueRange{k.toIndex(token), column},
            /*nontemporal=*/false, xAlignment));
      }
      Value next = carried.front();
      for (auto [i, piece] : llvm::enumerate(pieces)) {
        if (!elementType.isF32())
          piece = arith::ExtFOp::create(k, type, piece);
        Value factor = fromLane(factors, k.add(at, i));
        next = vector::FMAOp::create(k, k.broadcast(type, factor), piece, next);
        if (products)
          parts.push_back(multiplyPieces(k, weight, piece));
      }
      if (products)
        storeParts(parts, at);
      return {next};
    };
    sum = k.loop(k.index(0), k.sub(end, first), kPairsInFlight, {sum}, add)
              .front();
    if (products)
      storeProducts(products, held, k.sub(end, first));
    return sum;
  };

  Value numExperts = memref::DimOp::create(k, op.getOut(), 0);
  Value firstColumn = k.mul(threadId, count);
  k.loop(k.index(0), numExperts, 1, [&](Value expert) {
    Value first = pairs.getFirst(k, expert);
    Value end = pairs.getFirst(k, k.add(expert, 1));
    k.loop(k.index(0), k.index(width), 1, [&](Value part) {
      Value row = k.add(k.mul(expert, width), part);
      // Threads past the end of the row go along: they hold pairs for others.
      auto emitColumns = [&](Value base) {
        Value column = k.add(base, firstColumn), inside;
        if (hiddenSize % (threads * count) != 0) {
          inside =
              k.compare(arith::CmpIPredicate::ult, column, k.index(hiddenSize));
          column = k.choose(inside, column, k.index(0));
        }
        Value sum = k.real(type, 0.0);
        if (!startsAtZero.contains(op))
          sum = vector::LoadOp::create(k, type, out, ValueRange{row, column},
                                       /*nontemporal=*/false, outAlignment);
        sum =
            k.loop(first, end, kWarp, {sum},
                   [&](Value round, ValueRange carried) -> SmallVector<Value> {
                     Value last = k.min(k.add(round, kWarp), end);
                     return {addPairs(expert, round, last, part, column,
                                      carried.front())};
                   })
                .front();
        auto store = [&] {
          vector::StoreOp::create(k, sum, out, ValueRange{row, column},
                                  /*nontemporal=*/false, outAlignment);
        };
        if (inside)
          k.when(inside, store);
        else
          store();
      };
      k.loop(k.index(0), k.index(hiddenSize), threads * count, emitColumns);
    });
  });
}

/// Keeps the sums over this warp of what its threads have of the products of
/// `kPairsInFlight` pairs, from number `at` of those held on.
void BlockEmitter::storeParts(SmallVector<Value> parts, Value at) {
  Value lane = arith::RemUIOp::create(k, threadId, k.index(kWarp));
  Value warp = arith::DivUIOp::create(k, threadId, k.index(kWarp));
  SmallVector<int64_t> order;
  Value sum = addTransposed(k, lane, parts, order);
  int64_t lanes = kWarp / order.size();
  Value team = arith::DivUIOp::create(k, lane, k.index(lanes));
  Value number = k.index(order.front());
  for (auto [i, value] : llvm::enumerate(ArrayRef(order).drop_front()))
    number = k.choose(k.compare(arith::CmpIPredicate::eq, team, k.index(i + 1)),
                      k.index(value), number);
  Value isFirst =
      k.compare(arith::CmpIPredicate::eq,
                arith::RemUIOp::create(k, lane, k.index(lanes)), k.index(0));
  k.when(isFirst,
         [&] { k.store(sum, productParts, {warp, k.add(at, number)}); });
}

/// Adds the warps' parts of the products of `count` held pairs and stores
/// these.
void BlockEmitter::storeProducts(GroupedMatmulOp op, const HeldPairs &held,
                                 Value count) {
  barrier();
  k.when(k.compare(arith::CmpIPredicate::ult, threadId, count), [&] {
    Value sum = k.load(productParts, {k.index(0), threadId});
    for (int64_t warp = 1; warp < threads / kWarp; ++warp)
      sum = arith::AddFOp::create(
          k, sum, k.load(productParts, {k.index(warp), threadId}));
    auto [products, position] =
        getPosition(k, op.getProducts(), held.pair, op.getTopK(),
                    /*width=*/1, /*part=*/nullptr);
    k.store(sum, products, position);
  });
  barrier();
}

LogicalResult BlockEmitter::emitProductsByExpert(GroupedMatmulOp op) {
  if (!ownsPieces(op.getX(), op.getWeights()))
    return failure();
  allocateParts(op);
  PairsOfExperts pairs = getPairs(op);
  Value numExperts = memref::DimOp::create(k, op.getWeights(), 0);
  k.loop(k.index(0), numExperts, 1, [&](Value expert) {
    Value first = pairs.getFirst(k, expert);
    Value end = pairs.getFirst(k, k.add(expert, 1));
    k.loop(first, end, kWarp, [&](Value round) {
      Value last = k.min(k.add(round, kWarp), end);
      HeldPairs held = holdPairs(pairs.pairs, pairs.topK, round, last);
      Value weight = loadOwnPiece(op.getWeights(), expert);
      k.loop(k.index(0), k.sub(last, round), kPairsInFlight, [&](Value at) {
        keepRegisters(k);
        SmallVector<Value> pieces, parts;
        for (int64_t i = 0; i < kPairsInFlight; ++i)
          pieces.push_back(loadOwnPiece(
              op.getX(), k.toIndex(fromLane(held.token, k.add(at, i)))));
        for (Value piece : pieces)
          parts.push_back(multiplyPieces(k, weight, piece));
        storeParts(parts, at);
      });
      storeProducts(op, held, k.sub(last, round));
    });
  });
  return success();
}
