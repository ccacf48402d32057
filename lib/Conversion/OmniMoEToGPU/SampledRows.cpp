//===- SampledRows.cpp - The few products that pairs need -----------------===//
//
// In each pass a piece of scratch memory holds one block of columns:
//
// 1. Threads store their products, and zeros for coefficients.
// 2. Threads take the pairs in these columns. A pair loads its product,
// computes
//    its coefficient and adds it to its place: a token may have chosen an
//    expert twice. Sums that must not depend on their order take two rounds
//    (`ExactCoefficients`).
// 3. Threads load the coefficients where they stored their products.
//
//===----------------------------------------------------------------------===//

#include "SampledRows.h"

#include "BlockEmitter.h"
#include "DevicePointer.h"
#include "ExactCoefficients.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Columns of a piece of scratch memory, and its rows.
static constexpr int64_t kColumns = kSampledColumns, kRows = kWarpgroupRows;
/// Where in a piece the coefficients begin, in words.
static constexpr int64_t kCoefficients = kRows * kColumns;
static constexpr int64_t kGroupThreads = 128;
/// Pairs of a pass that a thread asks for ahead, of few and of many choices a
/// token. Those of the next passes are under way at the same time.
static constexpr int64_t kPairsAhead = 2, kMorePairsAhead = 3;
static constexpr int64_t kManyChoices = 2048;
/// The block's barriers but the first belong to its consumers.
static constexpr int64_t kFirstBarrier = 1;

SampledRows::SampledRows(KernelBuilder &k, FusedBlock block,
                         const SlotTiles &tiles, Value consumer, Value warp,
                         Value lane, int64_t pieces)
    : k(k), block(block), tiles(tiles), consumer(consumer), pieces(pieces),
      pairsAhead(block.products.getTopK() < kManyChoices ? kPairsAhead
                                                         : kMorePairsAhead),
      inputs(block.getPairInputs()) {
  if (block.isExact())
    exact.emplace(k, block.products.getTopK());
  thread = k.both(k.add(k.mul(warp, kWarp), lane), k.i32(kGroupThreads - 1));
  Value row = k.add(k.mul(k.both(warp, k.i32(3)), 16),
                    arith::ShRUIOp::create(k, lane, k.i32(2)));
  ownWord = getWord(row, k.i32(0), k.mul(k.both(lane, k.i32(3)), 2));
}

void SampledRows::barrier() {
  NVVM::BarrierOp::create(k, TypeRange(), k.add(consumer, kFirstBarrier),
                          k.i32(kGroupThreads), NVVM::BarrierReductionAttr(),
                          Value());
}

/// The place of an element in a piece, in words: `block8` is 0 or 1, the 8
/// columns that it is in. Every other two rows exchange them, so that the rows
/// of half a warp meet different banks.
Value SampledRows::getWord(Value row, Value block8, Value column) {
  Value swap =
      k.both(arith::ShRUIOp::create(k, row, k.i32(1)).getResult(), k.i32(1));
  Value block = arith::XOrIOp::create(k, block8, swap);
  return k.add(k.mul(row, kColumns), k.add(k.mul(block, 8), column));
}

Value SampledRows::move(Value pointer, Value words) {
  return movePointer(k, pointer, k.getF32Type(), words);
}

//===----------------------------------------------------------------------===//
// Pairs
//===----------------------------------------------------------------------===//

SmallVector<Value> SampledRows::lookAhead(Value tile) {
  int64_t blocks = block.getColumnBlocks();
  Value first = k.mul(consumer, blocks);
  SmallVector<Value> found;
  for (int64_t pass = 0; pass <= getNumPasses(); ++pass) {
    Value place = k.add(first, std::min(pass * pieces, blocks));
    found.push_back(k.load(tiles.blocks, {k.toIndex(tile), k.toIndex(place)}));
  }
  return found;
}

void SampledRows::begin(const RowTile &, ValueRange ahead) {
  bounds.assign(ahead.begin(), ahead.end());
  first.clear();
  first.resize(getNumPasses());
}

/// Maps what the payload takes that is no memory.
static void mapScalars(FusedBlock block, IRMapping &operands) {
  if (block.payload)
    for (OpOperand *input : block.payload.getDpsInputOperands())
      if (!isa<MemRefType>(input->get().getType()))
        operands.map(block.payload.getMatchingBlockArgument(input),
                     input->get());
}

/// A thread's pairs from `at` on; those past the end are the last one.
SampledRows::Pairs SampledRows::loadPairs(Value at, Value end) {
  Pairs pairs(pairsAhead);
  for (auto [i, pair] : llvm::enumerate(pairs)) {
    Value position = k.add(at, i * kGroupThreads);
    pair.exists = k.compare(CmpIPredicate::slt, position, end);
    // Rows with no pairs read any.
    Value known = k.toIndex(k.max(k.min(position, k.sub(end, 1)), k.i32(0)));
    pair.cell =
        arith::ExtUIOp::create(k, k.getI32Type(), k.load(tiles.cells, known));
    if (tiles.pairs)
      pair.number = k.load(tiles.pairs, known);
    mapScalars(block, pair.operands);
    for (auto [input, operands] : llvm::zip_equal(inputs, tiles.operands))
      pair.operands.map(block.payload.getMatchingBlockArgument(input),
                        k.load(operands, known));
  }
  return pairs;
}

void SampledRows::loadFirstPairs(int64_t pass) {
  if (pass < getNumPasses())
    first[pass] = loadPairs(k.add(bounds[pass], thread), bounds[pass + 1]);
}

Value mlir::omnimoe::loadPairInput(KernelBuilder &k, FusedBlock block,
                                   OpOperand &input,
                                   std::array<Value, 2> place) {
  SmallVector<Value> indices;
  for (AffineExpr dim :
       block.payload.getMatchingIndexingMap(&input).getResults())
    indices.push_back(place[cast<AffineDimExpr>(dim).getPosition()]);
  return k.load(input.get(), indices);
}

IRMapping mlir::omnimoe::loadPairOperands(KernelBuilder &k, FusedBlock block,
                                          std::array<Value, 2> place) {
  IRMapping operands;
  mapScalars(block, operands);
  for (OpOperand *input : block.getPairInputs())
    operands.map(block.payload.getMatchingBlockArgument(input),
                 loadPairInput(k, block, *input, place));
  return operands;
}

Value mlir::omnimoe::computeCoefficient(KernelBuilder &k, FusedBlock block,
                                        IRMapping operands, Value product) {
  linalg::GenericOp payload = block.payload;
  if (!payload)
    return product;
  for (OpOperand *input : payload.getDpsInputOperands())
    if (input->get() == block.products.getProducts())
      operands.map(payload.getMatchingBlockArgument(input), product);
  for (Operation &op : payload.getBody()->without_terminator())
    k.clone(op, operands);
  return operands.lookupOrDefault(
      payload.getBody()->getTerminator()->getOperand(0));
}

std::array<Value, 2> mlir::omnimoe::getTokenAndChoice(KernelBuilder &k,
                                                      FusedBlock block,
                                                      Value number) {
  Value topK = k.i32(block.products.getTopK());
  Value token = arith::DivUIOp::create(k, number, topK);
  return {k.toIndex(token), k.toIndex(k.sub(number, k.mul(token, topK)))};
}

void SampledRows::loadPairs() {
  loadFirstPairs(0);
  loadFirstPairs(1);
}

//===----------------------------------------------------------------------===//
// Sampling
//===----------------------------------------------------------------------===//

void SampledRows::storeProducts(ArrayRef<Value> products,
                                ArrayRef<Value> scratch, int64_t firstBlock) {
  auto pairType = VectorType::get({2}, k.getF32Type());
  Value zeros = k.real(pairType, 0.0);
  if (exact)
    zeros =
        k.integer(VectorType::get({2}, k.getI32Type()), exact->getEmptyWord());
  for (auto [i, piece] : llvm::enumerate(scratch))
    for (int64_t block8 : {2 * (firstBlock + i), 2 * (firstBlock + i) + 1}) {
      if (4 * block8 >= int64_t(products.size()))
        return;
      // The other 8 columns are 8 words away, one way or the other.
      Value word = arith::XOrIOp::create(k, ownWord, k.i32(8 * (block8 % 2)));
      for (int64_t half : {0, 1}) {
        Value pointer = move(piece, k.add(word, 8 * half * kColumns));
        SmallVector<Value> two(products.slice(4 * block8 + 2 * half, 2));
        LLVM::StoreOp::create(
            k, vector::FromElementsOp::create(k, pairType, two), pointer, 8);
        LLVM::StoreOp::create(k, zeros, move(pointer, k.i32(kCoefficients)), 8);
      }
    }
}

/// The two sums at `pointer`.
Value SampledRows::loadExact(Value pointer) {
  auto words = VectorType::get({2}, k.getI32Type());
  Value two = LLVM::LoadOp::create(k, words, pointer, 8);
  SmallVector<Value> sums;
  for (int64_t i : {0, 1})
    sums.push_back(exact->get(vector::ExtractOp::create(k, two, i)));
  return vector::FromElementsOp::create(k, VectorType::get({2}, k.getF32Type()),
                                        sums);
}

void SampledRows::loadCoefficients(ArrayRef<Value> scratch, int64_t firstBlock,
                                   int64_t lastBlock,
                                   SmallVectorImpl<Value> &fragments) {
  auto pairType = VectorType::get({2}, k.getF32Type());
  Type elementType = getElementTypeOrSelf(block.products.getX().getType());
  auto narrowType = VectorType::get({2}, elementType);
  auto wordType = VectorType::get({1}, k.getI32Type());
  for (auto [i, piece] : llvm::enumerate(scratch)) {
    if (firstBlock + int64_t(i) >= lastBlock)
      return;
    for (int64_t block8 : {0, 1}) {
      Value word = arith::XOrIOp::create(k, ownWord, k.i32(8 * block8));
      for (int64_t half : {0, 1}) {
        Value pointer =
            move(piece, k.add(word, 8 * half * kColumns + kCoefficients));
        Value two = exact ? loadExact(pointer)
                          : LLVM::LoadOp::create(k, pairType, pointer, 8);
        Value narrow = arith::TruncFOp::create(k, narrowType, two);
        Value packed = vector::BitCastOp::create(k, wordType, narrow);
        fragments.push_back(vector::ExtractOp::create(k, packed, 0));
      }
    }
  }
}

/// The place of the product of `pair`, in the columns that `scratch` holds.
Value SampledRows::getPlace(const Pair &pair, ArrayRef<Value> scratch,
                            int64_t firstBlock) {
  auto shift = [&](Value value, int64_t bits) -> Value {
    return arith::ShRUIOp::create(k, value, k.i32(bits));
  };
  Value column = k.both(pair.cell, k.i32((1 << kColumnBits) - 1));
  Value number = k.sub(shift(column, 4), firstBlock);
  Value piece = scratch.front();
  for (int64_t i = 1; i < int64_t(scratch.size()); ++i)
    piece = k.choose(k.compare(CmpIPredicate::eq, number, k.i32(i)), scratch[i],
                     piece);
  // Rows are counted in the tile; this warpgroup has 64 of them.
  Value row = k.both(shift(pair.cell, kColumnBits), k.i32(kRows - 1));
  return move(piece, getWord(row, k.both(shift(column, 3), k.i32(1)),
                             k.both(column, k.i32(7))));
}

/// Does `body` with each of `pairs` that exists, the place of its sum in the
/// columns that `scratch` holds, its product and its coefficient. These are
/// computed for all pairs side by side, for those that do not exist too: a
/// thread would wait for each of them in turn otherwise.
void SampledRows::forCoefficients(
    ArrayRef<Pair> pairs, ArrayRef<Value> scratch, int64_t firstBlock,
    llvm::function_ref<void(const Pair &, Value sum, Value product,
                            Value coefficient)>
        body) {
  SmallVector<Value> sums, products, coefficients;
  for (const Pair &pair : pairs) {
    Value place = getPlace(pair, scratch, firstBlock);
    sums.push_back(move(place, k.i32(kCoefficients)));
    products.push_back(LLVM::LoadOp::create(k, k.getF32Type(), place));
  }
  for (auto [pair, product] : llvm::zip_equal(pairs, products))
    coefficients.push_back(
        computeCoefficient(k, block, pair.operands, product));
  coefficients = holdInPlace(k, coefficients);
  for (auto [pair, sum, product, coefficient] :
       llvm::zip_equal(pairs, sums, products, coefficients))
    k.when(pair.exists, [&] { body(pair, sum, product, coefficient); });
}

/// Adds the coefficients of this pass to their places.
void SampledRows::addCoefficients(ArrayRef<Value> scratch, int64_t pass) {
  auto add = [&](const Pair &pair, Value sum, Value product,
                 Value coefficient) {
    if (block.keepsProducts())
      k.store(product, block.products.getProducts(),
              getTokenAndChoice(k, block, pair.number));
    if (exact)
      return exact->add(sum, coefficient);
    LLVM::AtomicRMWOp::create(k, LLVM::AtomicBinOp::fadd, sum, coefficient,
                              LLVM::AtomicOrdering::monotonic, "block");
  };
  forPairs(pass, [&](ArrayRef<Pair> pairs) {
    forCoefficients(pairs, scratch, pass * pieces, add);
  });
  barrier();
}

/// Lets the sums of this pass know how large their coefficients are.
void SampledRows::raiseSums(ArrayRef<Value> scratch, int64_t pass) {
  auto raise = [&](const Pair &, Value sum, Value, Value coefficient) {
    exact->raise(sum, coefficient);
  };
  forPairs(pass, [&](ArrayRef<Pair> pairs) {
    forCoefficients(pairs, scratch, pass * pieces, raise);
  });
  barrier();
}

/// Does `body` with this thread's pairs of a pass, some at a time.
void SampledRows::forPairs(int64_t pass,
                           llvm::function_ref<void(ArrayRef<Pair>)> body) {
  body(first[pass]);
  int64_t step = pairsAhead * kGroupThreads;
  Value from = k.add(k.add(bounds[pass], step), thread), to = bounds[pass + 1];
  k.loop(from, to, k.i32(step), [&](Value at) { body(loadPairs(at, to)); });
}

SmallVector<Value> SampledRows::compute(ArrayRef<Value> products,
                                        ArrayRef<Value> scratch) {
  SmallVector<Value> fragments;
  int64_t blocks = block.getColumnBlocks();
  for (int64_t pass = 0; pass < getNumPasses(); ++pass) {
    int64_t firstBlock = pass * pieces;
    loadFirstPairs(pass + 2);
    storeProducts(products, scratch, firstBlock);
    barrier();
    if (exact)
      raiseSums(scratch, pass);
    addCoefficients(scratch, pass);
    size_t before = fragments.size();
    loadCoefficients(scratch, firstBlock, blocks, fragments);
    // The words of exact sums take twice the registers: they do not stay until
    // fragments are needed.
    auto own = MutableArrayRef(fragments).drop_front(before);
    if (exact)
      llvm::copy(holdInPlace(k, own), own.begin());
  }
  return fragments;
}
