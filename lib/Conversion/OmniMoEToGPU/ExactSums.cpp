//===- ExactSums.cpp - Sums that do not depend on their order -------------===//
//
// Limits are powers of two, so all of this is about exponents: the anchor 1.5 L
// has the bits of L and one more.
//
//===----------------------------------------------------------------------===//

#include "ExactSums.h"

#include "BlockEmitter.h"
#include "BlockKernel.h"
#include "LoadTogether.h"
#include "SampledRows.h"
#include "ThreadTeam.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kThreads = 256;
/// Coefficients are guessed from products so many times as large as they are on
/// average, and limits are so many times the guess of S.
static constexpr double kProductMargin = 2, kSumMargin = 4;
/// A limit is by far too large if this power of two lower would do.
static constexpr int64_t kCoarse = 8;
/// Choices of a token that the guess looks at the vectors of.
static constexpr int64_t kLookedAt = 2;
/// A unit of totals is so many powers of two below the limit: those of 2^13
/// groups, each up to the limit, fit into 32 bits.
static constexpr int64_t kUnit = 18;
static_assert(kMostExactChoices <= int64_t(1) << 13);
/// Elements of a vector that a lane takes at a time, and choices.
static constexpr int64_t kPiece = 8, kTogether = 4;

static constexpr int64_t kExponent = 0x7f800000, kInfinity = kExponent;
/// The bit that makes 1.5 L of a power of two L, and of infinity no number.
static constexpr int64_t kHalf = 0x400000;
static constexpr int64_t kSign = int64_t(1) << 31;
static constexpr int64_t kOneExponent = int64_t(1) << 23;
/// No quantum is so small that the hardware would flush it.
static constexpr int64_t kLeastLimit = (127 - 90) << 23;
/// 2^127: sums of an anchor and of what it rounds overflow from here on.
static constexpr int64_t kMostLimit = int64_t(254) << 23;

static Value bitsOf(KernelBuilder &k, Value value) {
  return arith::BitcastOp::create(k, k.getI32Type(), value);
}

static Value fromBits(KernelBuilder &k, Value bits) {
  return arith::BitcastOp::create(k, k.getF32Type(), bits);
}

/// Of which one that is not a number stays.
static Value maxOf(KernelBuilder &k, Value a, Value b) {
  return arith::MaximumFOp::create(k, a, b);
}

static Value magnitude(KernelBuilder &k, Value value) {
  return math::AbsFOp::create(k, value);
}

static Value times(KernelBuilder &k, Value a, Value b) {
  return arith::MulFOp::create(k, a, b);
}

/// The smaller of two magnitudes; what is not a number is above all others.
static Value minMagnitude(KernelBuilder &k, Value a, Value b) {
  return fromBits(k, k.min(bitsOf(k, a), bitsOf(k, b)));
}

/// The largest of a magnitude of each lane; as integers they are in order.
static Value maxMagnitudeOfLanes(KernelBuilder &k, Value value) {
  return fromBits(k, maxLanes(k, bitsOf(k, value)));
}

static Value sumOfLanes(KernelBuilder &k, Value value) {
  for (int64_t mask = 1; mask < kWarp; mask *= 2)
    value = arith::AddFOp::create(k, value, shuffleXor(k, value, mask, kWarp));
  return value;
}

/// A bound of the groups that a token chooses from, at least two.
static int64_t getMostGroups(FusedBlock block) {
  return std::max<int64_t>(
      2, std::min(block.getNumGroups(), block.products.getTopK()));
}

/// The bits of the least limit that is not below `need`, or of infinity.
static Value getLimit(KernelBuilder &k, Value need) {
  // What is no number is above infinity.
  Value bits = k.min(bitsOf(k, magnitude(k, need)), k.i32(kInfinity));
  Value limit = k.both(k.add(bits, kOneExponent - 1), k.i32(kExponent));
  limit = k.max(limit, k.i32(kLeastLimit));
  return k.choose(k.compare(CmpIPredicate::sge, limit, k.i32(kMostLimit)),
                  k.i32(kInfinity), limit);
}

static Value getAnchor(KernelBuilder &k, Value limit) {
  return k.either(limit, k.i32(kHalf));
}

/// Lets a warp do `body` for each token.
static void emitForTokens(KernelBuilder &k, FusedBlock block, StringRef name,
                          llvm::function_ref<void(BlockKernel &)> prepare,
                          llvm::function_ref<void(BlockKernel &, Value)> body) {
  Value tokens = k.createOrFold<memref::DimOp>(block.products.getExperts(), 0);
  Value blocks =
      arith::CeilDivUIOp::create(k, tokens, k.index(kThreads / kWarp));
  k.when(k.compare(CmpIPredicate::ugt, blocks, k.index(0)), [&] {
    BlockKernel kernel(k, name, blocks, kThreads);
    Value isFirst =
        k.both(k.compare(CmpIPredicate::eq, kernel.block, k.index(0)),
               k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)));
    k.when(isFirst, [&] { prepare(kernel); });
    Value token = k.add(k.mul(kernel.block, kernel.numWarps), kernel.warp);
    k.when(k.compare(CmpIPredicate::ult, token, tokens),
           [&] { body(kernel, token); });
  });
}

//===----------------------------------------------------------------------===//
// The first guess
//===----------------------------------------------------------------------===//

namespace {
class Guess {
public:
  Guess(KernelBuilder &k, FusedBlock block, BlockKernel &kernel, Value token)
      : k(k), block(block), kernel(kernel), token(token) {}

  /// Of S. What a group adds is made of several pairs, whose signs differ: S is
  /// below the sum of all magnitudes, and likely below that of groups that
  /// share the squares evenly.
  Value getTotal() {
    Type f32 = k.getF32Type();
    auto [product, element] = look();
    ValueRange own = sumCoefficients(product);
    Value sum = sumOfLanes(k, own[0]), squares = sumOfLanes(k, own[1]);
    Value shared = math::SqrtOp::create(
        k, times(k, squares, k.real(f32, getMostGroups(block))));
    Value total = minMagnitude(k, sum, shared);
    return times(k, times(k, total, element), k.real(f32, kSumMargin));
  }

private:
  struct Looked {
    Value product; ///< what a large one of an expert may be
    Value element; ///< the largest magnitude in a down vector
  };

  Value isExpert(Value expert) {
    return k.compare(CmpIPredicate::ult, expert,
                     k.i32(block.products.getNumExperts()));
  }

  /// All vectors side by side, as what it takes is waiting for them.
  Looked look() {
    Type f32 = k.getF32Type();
    Value zero = k.real(f32, 0.0);
    int64_t topK = block.products.getTopK();
    int64_t count = std::min(kLookedAt, topK);
    SmallVector<Value> exist, rows;
    for (int64_t i = 0; i < count; ++i) {
      Value expert = k.load(block.products.getExperts(),
                            {token, k.index(i * topK / count)});
      exist.push_back(isExpert(expert));
      rows.push_back(k.toIndex(k.choose(exist.back(), expert, k.i32(0))));
    }
    int64_t length = block.products.getHiddenSize();
    Type elementType = getElementTypeOrSelf(block.products.getX().getType());
    auto narrow = VectorType::get({kPiece}, elementType);
    auto wide = VectorType::get({kPiece}, f32);
    auto load = [&](Value memref, Value row, Value column) {
      Value piece = k.loadVector(narrow, memref, {row, column},
                                 llvm::Align(kAccessBytes));
      Value extended = arith::ExtFOp::create(k, wide, piece);
      SmallVector<Value> elements;
      for (int64_t i = 0; i < kPiece; ++i)
        elements.push_back(vector::ExtractOp::create(k, extended, i));
      return elements;
    };
    auto addSquares = [&](Value &sum, ArrayRef<Value> elements) {
      for (Value element : elements)
        sum = arith::AddFOp::create(k, sum, times(k, element, element));
    };
    // Squares of the token, then for each choice those of its up vector and the
    // largest magnitude of the other.
    SmallVector<Value> initial(1 + 2 * count, zero);
    ValueRange sums = k.loop(
        k.mul(kernel.lane, kPiece), k.index(length), kWarp * kPiece, initial,
        [&](Value column, ValueRange before) {
          SmallVector<Value> after(before);
          addSquares(after[0], load(block.products.getX(), token, column));
          for (auto [i, row] : llvm::enumerate(rows)) {
            addSquares(after[1 + 2 * i],
                       load(block.products.getWeights(), row, column));
            for (Value element : load(block.sum.getVectors(), row, column))
              after[2 + 2 * i] =
                  maxOf(k, after[2 + 2 * i], magnitude(k, element));
          }
          return after;
        });
    Value norm = math::SqrtOp::create(k, sumOfLanes(k, sums[0]));
    Looked found{zero, zero};
    for (auto [i, exists] : llvm::enumerate(exist)) {
      Value own = math::SqrtOp::create(k, sumOfLanes(k, sums[1 + 2 * i]));
      Value product = times(k, times(k, norm, own),
                            k.real(f32, kProductMargin / std::sqrt(length)));
      Value element = maxMagnitudeOfLanes(k, sums[2 + 2 * i]);
      found.product = maxOf(k, found.product, k.choose(exists, product, zero));
      found.element = maxOf(k, found.element, k.choose(exists, element, zero));
    }
    return found;
  }

  /// The magnitudes of this lane's coefficients, and their squares, were all
  /// products `product` or its negative.
  ValueRange sumCoefficients(Value product) {
    Value zero = k.real(k.getF32Type(), 0.0);
    Value negative = arith::NegFOp::create(k, product);
    Value end = k.index(block.products.getTopK());
    return k.loop(
        kernel.lane, end, kWarp * kTogether, {zero, zero},
        [&](Value first, ValueRange before) -> SmallVector<Value> {
          Value sum = before[0], squares = before[1];
          for (Position at : getPositions(k, first, end, kWarp, kTogether)) {
            std::array<Value, 2> place{token, at.readable};
            Value expert = k.load(block.products.getExperts(), place);
            IRMapping operands = loadPairOperands(k, block, place);
            Value largest = zero;
            for (Value value : {product, negative})
              largest = maxOf(
                  k, largest,
                  magnitude(k, computeCoefficient(k, block, operands, value)));
            largest =
                k.choose(k.both(at.exists, isExpert(expert)), largest, zero);
            sum = arith::AddFOp::create(k, sum, largest);
            squares =
                arith::AddFOp::create(k, squares, times(k, largest, largest));
          }
          return {sum, squares};
        });
  }

  KernelBuilder &k;
  FusedBlock block;
  BlockKernel &kernel;
  Value token;
};
} // namespace

SumLimits mlir::omnimoe::emitSumLimits(KernelBuilder &k, FusedBlock block,
                                       StringRef name) {
  auto list = MemRefType::get({ShapedType::kDynamic}, k.getI32Type());
  auto flags = MemRefType::get({kSumAttempts}, k.getI32Type());
  Value tokens = k.createOrFold<memref::DimOp>(block.products.getExperts(), 0);
  auto perToken = [&] { return memref::AllocOp::create(k, list, tokens); };
  SumLimits limits{perToken(), perToken(), perToken(),
                   memref::AllocOp::create(k, flags)};
  emitForTokens(
      k, block, name,
      [&](BlockKernel &) {
        k.store(k.i32(1), limits.isUsed, k.index(0));
        k.store(k.i32(0), limits.isUsed, k.index(1));
      },
      [&](BlockKernel &kernel, Value token) {
        Value total = Guess(k, block, kernel, token).getTotal();
        k.when(k.compare(CmpIPredicate::eq, kernel.lane, k.index(0)), [&] {
          k.store(getAnchor(k, getLimit(k, total)), limits.anchors, token);
          k.store(k.i32(0), limits.largest, token);
          k.store(k.i32(0), limits.totals, token);
        });
      });
  return limits;
}

//===----------------------------------------------------------------------===//
// The second attempt
//===----------------------------------------------------------------------===//

/// A bound of S and of twice the largest magnitude.
static Value getNeed(KernelBuilder &k, FusedBlock block, Value limit,
                     Value largestBits, Value total) {
  Type f32 = k.getF32Type();
  Value largest = fromBits(k, largestBits);
  Value all = times(k, largest, k.real(f32, getMostGroups(block)));
  // Totals are rounded when they become f32.
  Value unit = fromBits(k, k.sub(limit, kUnit * kOneExponent));
  Value sum = times(k, arith::UIToFPOp::create(k, f32, total), unit);
  sum = times(k, sum, k.real(f32, 1 + 0x1p-20));
  // A group above the limit was counted as the limit.
  Value isCounted =
      k.both(k.compare(CmpIPredicate::sle, largestBits, limit),
             k.compare(CmpIPredicate::slt, limit, k.i32(kInfinity)));
  sum = k.choose(isCounted, minMagnitude(k, sum, all), all);
  return maxOf(k, sum, times(k, largest, k.real(f32, 2)));
}

void mlir::omnimoe::emitNewLimits(KernelBuilder &k, FusedBlock block,
                                  const SumLimits &limits,
                                  const SlotTiles &tiles, StringRef name) {
  emitForTokens(
      k, block, name,
      [&](BlockKernel &) { k.store(k.i32(0), tiles.taken, k.index(0)); },
      [&](BlockKernel &kernel, Value token) {
        Value anchor = k.load(limits.anchors, token);
        Value limit = k.both(anchor, k.i32(kExponent));
        Value largest = k.load(limits.largest, token);
        Value wanted = getLimit(
            k, getNeed(k, block, limit, largest, k.load(limits.totals, token)));
        Value isLow = k.compare(CmpIPredicate::slt, limit, wanted);
        Value isCoarse =
            k.both(k.compare(CmpIPredicate::slt, wanted,
                             k.sub(limit, kCoarse * kOneExponent)),
                   k.compare(CmpIPredicate::ne, largest, k.i32(0)));
        Value again = k.either(isLow, isCoarse);
        // All lanes have read what one of them writes.
        kernel.syncWarp();
        k.when(again, [&] { clearRow(k, block, kernel, token); });
        k.when(k.compare(CmpIPredicate::eq, kernel.lane, k.index(0)), [&] {
          Value done = k.either(anchor, k.i32(kSign));
          k.store(k.choose(again, getAnchor(k, wanted), done), limits.anchors,
                  token);
          k.when(again, [&] { k.store(k.i32(1), limits.isUsed, k.index(1)); });
        });
      });
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

ExactRows::ExactRows(KernelBuilder &k, const SumLimits &limits, TwoRows tokens,
                     TwoRows &exist, Value lane)
    : k(k), limits(limits), lane(lane) {
  for (int64_t half : {0, 1}) {
    Value bits = k.load(limits.anchors, k.toIndex(tokens[half]));
    exist[half] =
        k.both(exist[half], k.compare(CmpIPredicate::sge, bits, k.i32(0)));
    anchors[half] = fromBits(k, bits);
  }
  isOdd = k.compare(CmpIPredicate::ne, k.both(lane, k.i32(1)), k.i32(0));
  token = k.choose(isOdd, tokens[1], tokens[0]);
  exists = k.choose(isOdd, exist[1], exist[0]);
  largest = k.i32(0);
}

Value ExactRows::round(Value value, int64_t half) {
  Value &own = unsettled[half];
  own = own ? maxOf(k, own, magnitude(k, value)) : magnitude(k, value);
  Value sum = arith::AddFOp::create(k, value, anchors[half]);
  return arith::SubFOp::create(k, sum, anchors[half]);
}

void ExactRows::settle() {
  // An even lane takes over the first row, an odd one the second. Compilers do
  // not move shuffles: maxima would be put off to where the last is needed.
  Value kept = k.choose(isOdd, unsettled[1], unsettled[0]);
  Value given = k.choose(isOdd, unsettled[0], unsettled[1]);
  Value both = maxOf(k, kept, shuffleXor(k, given, 1, kWarp));
  largest = k.max(largest, bitsOf(k, both));
  unsettled = {};
}

void ExactRows::record() {
  Value bits = k.max(largest, shuffleXor(k, largest, 2, kWarp));
  Value isFirst =
      k.compare(CmpIPredicate::ult, k.both(lane, k.i32(3)), k.i32(2));
  k.when(k.both(isFirst, exists), [&] {
    Value row = k.toIndex(token);
    memref::AtomicRMWOp::create(k, arith::AtomicRMWKind::maxs, bits,
                                limits.largest, row);
    // 2^kUnit / L times the magnitude, rounded up.
    Value anchor = k.choose(isOdd, anchors[1], anchors[0]);
    Value limit = k.both(bitsOf(k, anchor), k.i32(kExponent));
    Value perUnit =
        fromBits(k, k.sub(k.i32((2 * 127 + kUnit) * kOneExponent), limit));
    Value units = minMagnitude(k, times(k, fromBits(k, bits), perUnit),
                               k.real(k.getF32Type(), int64_t(1) << kUnit));
    Value whole = arith::FPToSIOp::create(k, k.getI32Type(), units);
    memref::AtomicRMWOp::create(k, arith::AtomicRMWKind::addi, k.add(whole, 1),
                                limits.totals, row);
  });
}
