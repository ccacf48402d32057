//===- ExpertSums.cpp - Pairs of an expert, by a block --------------------===//
//
// A block owns an expert; the dispatch of the batch says which pairs are its
// own. Both operations walk them, a few at a time in flight, in the order of
// the tokens:
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
/// Pairs whose products wait to be added across warps: a multiple of those in
/// flight, and no more than a block has threads.
static constexpr int64_t kPairsPerRound = 32;

namespace {
/// The pairs of experts, as a dispatch with a group for each has them.
struct PairsOfExperts {
  Value offsets, starts, pairs;
  int64_t topK;

  Value getFirst(KernelBuilder &k, Value expert) const {
    Value slot = k.toIndex(k.load(offsets, {expert}));
    return k.toIndex(k.load(starts, {slot}));
  }
  /// Token and choice of the pair at `position`.
  std::pair<Value, Value> get(KernelBuilder &k, Value position) const {
    Value pair = k.toIndex(k.load(pairs, {position}));
    return {arith::DivUIOp::create(k, pair, k.index(topK)),
            arith::RemUIOp::create(k, pair, k.index(topK))};
  }
};
} // namespace

template <typename OpTy> static PairsOfExperts getPairs(OpTy op) {
  auto dispatch = op.getDispatch();
  return {dispatch[0], dispatch[2], dispatch[3], op.getTopK()};
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
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  auto type = MemRefType::get({threads / kWarp, kPairsPerRound}, k.getF32Type(),
                              MemRefLayoutAttrInterface(), space);
  productParts = op->getParentOfType<gpu::LaunchOp>().addWorkgroupAttribution(
      type, op->getLoc());
}

void BlockEmitter::emitCombineToExperts(CombineOp op) {
  Value x = op.getVectors();
  Value out = collapseExperts(k, op.getOut());
  Value coefficients = collapsePairs(k, op.getCoefficients());
  PairsOfExperts pairs = getPairs(op);
  Type elementType = getElementTypeOrSelf(x.getType());
  int64_t width = op.getExpertWidth(), hiddenSize = op.getHiddenSize();
  int64_t count = getAccessElements(hiddenSize, elementType);
  auto type = VectorType::get({count}, k.getF32Type());
  auto outAlignment = llvm::MaybeAlign(4 * std::min<int64_t>(count, 4));
  auto xAlignment =
      llvm::MaybeAlign(count * elementType.getIntOrFloatBitWidth() / 8);
  Value zero = k.real(k.getF32Type(), 0.0);
  /// Adds the pair at `position` of the order, with weight 0 if it is past
  /// `end`; `piece` becomes the token's.
  auto addPair = [&](Value position, Value end, Value part, Value column,
                     Value sum, Value &piece) {
    Value valid = k.compare(arith::CmpIPredicate::ult, position, end);
    auto [token, choice] = pairs.get(k, k.min(position, k.sub(end, 1)));
    Value factor = k.load(coefficients,
                          ValueRange{token, k.add(k.mul(choice, width), part)});
    piece = vector::LoadOp::create(k, type.clone(elementType), x,
                                   ValueRange{token, column},
                                   /*nontemporal=*/false, xAlignment);
    if (!elementType.isF32())
      piece = arith::ExtFOp::create(k, type, piece);
    return vector::FMAOp::create(
        k, k.broadcast(type, k.choose(valid, factor, zero)), piece, sum);
  };

  GroupedMatmulOp products = findProducts(op);
  if (products)
    allocateParts(op);
  auto addPairs = [&](Value first, Value end, Value part, Value column,
                      Value sum) -> Value {
    auto add = [&](Value position, ValueRange carried) -> SmallVector<Value> {
      Value next = carried.front(), piece;
      for (int64_t i = 0; i < kPairsInFlight; ++i)
        next = addPair(k.add(position, i), end, part, column, next, piece);
      return {next};
    };
    return k.loop(first, end, kPairsInFlight, {sum}, add).front();
  };
  auto addAndMultiply = [&](Value expert, Value first, Value end, Value part,
                            Value column, Value sum) -> Value {
    return k
        .loop(first, end, kPairsPerRound, {sum},
              [&](Value round, ValueRange carried) -> SmallVector<Value> {
                Value weight = loadOwnPiece(products.getWeights(), expert);
                Value last = k.min(k.add(round, kPairsPerRound), end);
                auto add = [&](Value position,
                               ValueRange carried) -> SmallVector<Value> {
                  Value next = carried.front();
                  SmallVector<Value> parts;
                  for (int64_t i = 0; i < kPairsInFlight; ++i) {
                    Value piece;
                    next = addPair(k.add(position, i), last, part, column, next,
                                   piece);
                    parts.push_back(multiplyPieces(k, weight, piece));
                  }
                  storeParts(parts, k.sub(position, round));
                  return {next};
                };
                Value next =
                    k.loop(round, last, kPairsInFlight, carried, add).front();
                storeProducts(products, round, last);
                return {next};
              })
        .front();
  };

  Value numExperts = memref::DimOp::create(k, op.getOut(), 0);
  Value firstColumn = k.mul(threadId, count);
  k.loop(k.index(0), numExperts, 1, [&](Value expert) {
    Value first = pairs.getFirst(k, expert);
    Value end = pairs.getFirst(k, k.add(expert, 1));
    k.loop(k.index(0), k.index(width), 1, [&](Value part) {
      Value row = k.add(k.mul(expert, width), part);
      auto emitColumns = [&](Value column) {
        Value sum = k.real(type, 0.0);
        if (!startsAtZero.contains(op))
          sum = vector::LoadOp::create(k, type, out, ValueRange{row, column},
                                       /*nontemporal=*/false, outAlignment);
        sum = products ? addAndMultiply(expert, first, end, part, column, sum)
                       : addPairs(first, end, part, column, sum);
        vector::StoreOp::create(k, sum, out, ValueRange{row, column},
                                /*nontemporal=*/false, outAlignment);
      };
      // Lanes that add up across their warp stay together.
      if (products)
        emitColumns(firstColumn);
      else
        k.loop(firstColumn, k.index(hiddenSize), threads * count, emitColumns);
    });
  });
}

/// Keeps the sums over this warp of what its threads have of the products of
/// `kPairsInFlight` pairs, from number `at` of the round on.
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

/// Adds the warps' parts of a round's products and stores these.
void BlockEmitter::storeProducts(GroupedMatmulOp op, Value first, Value end) {
  barrier();
  PairsOfExperts pairs = getPairs(op);
  Value position = k.add(first, threadId);
  k.when(k.compare(arith::CmpIPredicate::ult, position, end), [&] {
    auto [token, choice] = pairs.get(k, position);
    Value sum = k.load(productParts, {k.index(0), threadId});
    for (int64_t warp = 1; warp < threads / kWarp; ++warp)
      sum = arith::AddFOp::create(
          k, sum, k.load(productParts, {k.index(warp), threadId}));
    k.store(sum, op.getProducts(), {token, choice});
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
    k.loop(first, end, kPairsPerRound, [&](Value round) {
      Value weight = loadOwnPiece(op.getWeights(), expert);
      Value last = k.min(k.add(round, kPairsPerRound), end);
      k.loop(round, last, kPairsInFlight, [&](Value position) {
        SmallVector<Value> parts;
        for (int64_t i = 0; i < kPairsInFlight; ++i) {
          Value at = k.min(k.add(position, i), k.sub(last, 1));
          Value token = pairs.get(k, at).first;
          parts.push_back(
              multiplyPieces(k, weight, loadOwnPiece(op.getX(), token)));
        }
        storeParts(parts, k.sub(position, round));
      });
      storeProducts(op, round, last);
    });
  });
  return success();
}
