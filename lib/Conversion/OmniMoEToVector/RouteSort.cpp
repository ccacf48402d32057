//===- RouteSort.cpp - Keys, threshold search and sort of the router ------===//

#include "RouteKernels.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

VectorType omnimoe::registerOf(Type element, int64_t vectorBits) {
  return VectorType::get({vectorBits / element.getIntOrFloatBitWidth()},
                         element);
}

static Type withElement(Type type, Type element) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.clone(element);
  return element;
}

/// Flips all bits but the sign of negative floats, whose order is reversed; its
/// own inverse.
static Value emitTurn(KernelBuilder &k, Value bits) {
  Type type = bits.getType();
  Value sign = arith::ShRSIOp::create(k, bits, k.integer(type, 31));
  Value flip = arith::AndIOp::create(k, sign, k.integer(type, 0x7fffffff));
  return arith::XOrIOp::create(k, bits, flip);
}

Value omnimoe::emitKeys(KernelBuilder &k, Value floats) {
  Type type = floats.getType();
  // Adding +0 turns -0 into +0 and changes nothing else.
  Value value = arith::AddFOp::create(k, floats, k.real(type, 0.0));
  Value isNaN =
      arith::CmpFOp::create(k, arith::CmpFPredicate::UNO, value, value);
  Value bits =
      arith::BitcastOp::create(k, withElement(type, k.getI32Type()), value);
  return k.choose(isNaN, k.integer(bits.getType(), kLowestKey),
                  emitTurn(k, bits));
}

Value omnimoe::emitFloats(KernelBuilder &k, Value keys) {
  return arith::BitcastOp::create(
      k, withElement(keys.getType(), k.getF32Type()), emitTurn(k, keys));
}

Value omnimoe::emitCountLanes(KernelBuilder &k, Value mask) {
  auto type = cast<VectorType>(mask.getType()).clone(k.getI32Type());
  Value ones = arith::ExtUIOp::create(k, type, mask);
  return k.toIndex(
      vector::ReductionOp::create(k, vector::CombiningKind::ADD, ones));
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

Value omnimoe::emitThreshold(KernelBuilder &k, VectorType keyType, Value keys,
                             int64_t count, int64_t wanted, Value low,
                             Value high) {
  // Halves [low, high]; ends early once exactly `wanted` keys remain, for then
  // any threshold between them and the rest will do.
  int64_t lanes = keyType.getNumElements();
  Value zero = k.index(0);
  ResultRange range = k.loopWhile(
      ValueRange{low, high},
      [&](ValueRange bounds) {
        return k.compare(Predicate::slt, bounds[0], bounds[1]);
      },
      [&](ValueRange bounds) -> SmallVector<Value> {
        // (low + high + 1) / 2, which itself might overflow.
        Value common = k.either(bounds[0], bounds[1]);
        Value apart = arith::XOrIOp::create(k, bounds[0], bounds[1]);
        Value half = arith::ShRSIOp::create(k, apart, k.i32(1));
        Value middle = k.sub(common, half);
        Value limit = k.broadcast(keyType, middle);
        Value reached =
            k.loop(zero, k.index(llvm::alignTo(count, lanes)), lanes, zero,
                   [&](Value i, ValueRange sum) -> SmallVector<Value> {
                     Value mask = k.compare(
                         Predicate::sge, k.loadVector(keyType, keys, i), limit);
                     return {k.add(sum[0], emitCountLanes(k, mask))};
                   })[0];
        Value target = k.index(wanted);
        Value enough = k.compare(Predicate::uge, reached, target);
        Value exact = k.compare(Predicate::eq, reached, target);
        Value below = k.choose(exact, middle, bounds[1]);
        return {k.choose(enough, middle, bounds[0]),
                k.choose(enough, below, k.sub(middle, 1))};
      });
  return range[0];
}

/// Compress-store is one instruction on machines with 512-bit vectors, and a
/// branch for each lane elsewhere.
static constexpr int64_t kCompressStoreBits = 512;

Value omnimoe::emitCompress(KernelBuilder &k, VectorType keyType, Value keys,
                            Value payloads, int64_t count, Value threshold,
                            Value outKeys, Value outPayloads) {
  Value zero = k.index(0);
  int64_t lanes = keyType.getNumElements();
  if (lanes * 32 < kCompressStoreBits) {
    // Write every entry to the next free place and move on if it counts.
    return k.loop(zero, k.index(count), 1, zero,
                  [&](Value i, ValueRange place) -> SmallVector<Value> {
                    Value key = k.load(keys, i);
                    k.store(key, outKeys, place[0]);
                    k.store(k.load(payloads, i), outPayloads, place[0]);
                    Value keep = k.compare(Predicate::sge, key, threshold);
                    return {k.add(place[0], k.bitToIndex(keep))};
                  })[0];
  }
  Value limit = k.broadcast(keyType, threshold);
  return k.loop(zero, k.index(llvm::alignTo(count, lanes)), lanes, zero,
                [&](Value i, ValueRange place) -> SmallVector<Value> {
                  Value key = k.loadVector(keyType, keys, i);
                  Value payload = k.loadVector(keyType, payloads, i);
                  Value keep = k.compare(Predicate::sge, key, limit);
                  // With the attribute spelled out: the builder that defaults
                  // it swaps mask and value (LLVM 22).
                  vector::CompressStoreOp::create(k, outKeys, place, keep, key,
                                                  IntegerAttr());
                  vector::CompressStoreOp::create(k, outPayloads, place, keep,
                                                  payload, IntegerAttr());
                  return {k.add(place[0], emitCountLanes(k, keep))};
                })[0];
}

//===----------------------------------------------------------------------===//
// Sort
//
// Short runs are sorted by counting: the rank of a key is the number of keys
// that are better, which takes one comparison of a vector for each key and
// vector of keys, and no branch. Runs are then merged pairwise, from both ends
// at once so that two chains of dependent loads overlap.
//===----------------------------------------------------------------------===//

/// A run of this many vectors takes about as long to rank as two halves of it
/// and their merge.
static constexpr int64_t kVectorsPerBlock = 8;

SortKernel::SortKernel(Type keyElement, int64_t capacity, int64_t vectorBits)
    : keyType(registerOf(keyElement, vectorBits)) {
  // Payloads and ranks are read in vectors of i32, the longest there are.
  margin = vectorBits / 32;
  paddedCapacity = llvm::alignTo(capacity, margin);
  block = kVectorsPerBlock * keyType.getNumElements();
  merges = capacity > 2 * block;
}

void SortKernel::reserve(Scratch &scratch) {
  // Two halves, so that merges can go back and forth, with margins around.
  int64_t entries = 2 * paddedCapacity + 3 * margin;
  Type i32 = IntegerType::get(keyType.getContext(), 32);
  keyBuffer = scratch.reserve(keyType.getElementType(), entries);
  payloadBuffer = scratch.reserve(i32, entries);
  rankBuffer =
      scratch.reserve(keyType.getElementType(), paddedCapacity + margin);
}

Value SortKernel::emit(KernelBuilder &k, const Scratch &scratch, Value inKeys,
                       Value inPayloads, Value inStart, Value count) {
  sortKeys = keys(scratch);
  sortPayloads = payloads(scratch);
  ranks = scratch[rankBuffer];
  Value zero = k.index(0), first = k.index(margin);
  if (!merges) {
    Value end = k.add(inStart, count);
    emitRanks(k, inKeys, inStart, end);
    emitPlace(k, inKeys, inPayloads, inStart, inStart, end);
    return first;
  }

  // A short list is one run.
  Value isShort = k.compare(Predicate::ule, count, k.index(2 * block));
  Value run = k.choose(isShort, count, k.index(block));
  Value inEnd = k.add(inStart, count);
  k.loop(inStart, inEnd, run, [&](Value from) {
    Value to = k.min(k.add(from, run), inEnd);
    emitRanks(k, inKeys, from, to);
    emitPlace(k, inKeys, inPayloads, inStart, from, to);
  });
  ResultRange merged = k.loopWhile(
      ValueRange{run, first, k.index(inputStart())},
      [&](ValueRange state) {
        return k.compare(Predicate::slt, state[0], count);
      },
      [&](ValueRange state) -> SmallVector<Value> {
        Value width = state[0], source = state[1], target = state[2];
        Value twice = k.add(width, width);
        k.loop(zero, count, twice, [&](Value from) {
          Value middle = k.min(k.add(from, width), count);
          Value to = k.min(k.add(from, twice), count);
          emitMerge(k, source, target, from, middle, to);
        });
        return {twice, target, source};
      });
  return merged[1];
}

/// Writes to `ranks`, from 0 on, the rank of each key within [from, to).
void SortKernel::emitRanks(KernelBuilder &k, Value inKeys, Value from,
                           Value to) {
  int64_t lanes = keyType.getNumElements();
  Value zeros = k.integer(keyType, 0);
  k.loop(from, to, lanes, [&](Value i) {
    Value key = k.loadVector(keyType, inKeys, i);
    // Keys that stand before count if they are equal, keys behind do not.
    Value atLeast = k.sub(key, 1);
    auto countBetter = [&](Value begin, Value end, Value init,
                           llvm::function_ref<Value(Value)> limit) {
      return k.loop(begin, end, 1, init,
                    [&](Value j, ValueRange sum) -> SmallVector<Value> {
                      Value other = k.broadcast(keyType, k.load(inKeys, j));
                      Value better = k.compare(Predicate::sgt, other, limit(j));
                      Value one = arith::ExtUIOp::create(k, keyType, better);
                      return {k.add(sum[0], one)};
                    })[0];
    };
    Value lastOwn = k.min(k.add(i, lanes), to);
    Value laneNumbers = k.laneNumbers(keyType);
    Value rank = countBetter(from, i, zeros, [&](Value) { return atLeast; });
    rank = countBetter(i, lastOwn, rank, [&](Value j) -> Value {
      Value own =
          arith::IndexCastOp::create(k, keyType.getElementType(), k.sub(j, i));
      Value behind =
          k.compare(Predicate::sgt, laneNumbers, k.broadcast(keyType, own));
      return k.choose(behind, atLeast, key);
    });
    rank = countBetter(lastOwn, to, rank, [&](Value) { return key; });
    k.storeVector(rank, ranks, k.sub(i, from));
  });
}

/// Moves the entries [from, to) to the places that their ranks name, in the
/// half of the buffers that merges read first.
void SortKernel::emitPlace(KernelBuilder &k, Value inKeys, Value inPayloads,
                           Value inStart, Value from, Value to) {
  Value base = k.add(k.sub(from, inStart), margin);
  k.loop(from, to, 1, [&](Value i) {
    Value rank = k.toIndex(k.load(ranks, k.sub(i, from)));
    Value place = k.add(base, rank);
    k.store(k.load(inKeys, i), sortKeys, place);
    k.store(k.load(inPayloads, i), sortPayloads, place);
  });
}

/// Merges the runs [from, middle) and [middle, to), counted from `source`, to
/// the same places counted from `target`.
void SortKernel::emitMerge(KernelBuilder &k, Value source, Value target,
                           Value from, Value middle, Value to) {
  Value left = k.add(source, from), right = k.add(source, middle);
  Value end = k.add(source, to);
  Value front = k.add(target, from), back = k.sub(k.add(target, to), 1);
  // With an odd number of entries both ends write the middle one.
  Value turns =
      arith::ShRUIOp::create(k, k.add(k.sub(to, from), 1), k.index(1));
  auto move = [&](Value taken, Value i, Value j, Value keyI, Value keyJ,
                  Value place) {
    k.store(k.choose(taken, keyI, keyJ), sortKeys, place);
    Value payload = k.load(sortPayloads, k.choose(taken, i, j));
    k.store(payload, sortPayloads, place);
  };
  k.loop(k.index(0), turns, 1,
         ValueRange{left, right, k.sub(right, 1), k.sub(end, 1)},
         [&](Value turn, ValueRange at) -> SmallVector<Value> {
           Value i = at[0], j = at[1], p = at[2], q = at[3];
           // The best of the heads; the left one if they are equal.
           Value keyI = k.load(sortKeys, i), keyJ = k.load(sortKeys, j);
           Value takeLeft =
               k.either(k.compare(Predicate::sge, j, end),
                        k.both(k.compare(Predicate::slt, i, right),
                               k.compare(Predicate::sge, keyI, keyJ)));
           move(takeLeft, i, j, keyI, keyJ, k.add(front, turn));
           // The worst of the tails; the right one if they are equal.
           Value keyP = k.load(sortKeys, p), keyQ = k.load(sortKeys, q);
           Value takeRight =
               k.either(k.compare(Predicate::slt, p, left),
                        k.both(k.compare(Predicate::sge, q, right),
                               k.compare(Predicate::sge, keyP, keyQ)));
           move(takeRight, q, p, keyQ, keyP, k.sub(back, turn));
           Value i1 = k.bitToIndex(takeLeft), q1 = k.bitToIndex(takeRight);
           return {k.add(i, i1), k.add(k.sub(j, i1), 1), k.add(k.sub(p, 1), q1),
                   k.sub(q, q1)};
         });
}
