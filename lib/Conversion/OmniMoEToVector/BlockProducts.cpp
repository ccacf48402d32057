//===- BlockProducts.cpp - Blocks of experts against blocks of tokens -----===//
//
// The expert-centric and the dense schedule. Both multiply a block of expert
// vectors with a block of tokens as one matrix product on scratch memory; they
// differ in who the tokens of a block are:
//
//   expert_centric  the slots of a group: tokens with a choice in it
//   dense           the tokens of the tile, all of them
//
// grouped_matmul, for each block:        combine to tokens, for each block:
//  1. rows of x, widened and transposed   1. coefficients, zero where not
//  chosen
//  2. weights * x^T                       2. coefficients * vectors
//  3. pick the products of the pairs      3. add the rows to their tokens
//
// The products are linalg.matmul; convert-linalg-to-vector makes kernels of
// them. The last block of experts starts early enough to be whole.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/ExpertVectors.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Tokens of a block.
static constexpr int64_t kTokenBlock = 64;
/// Rows that the product of coefficients takes at a time: slots are padded to a
/// multiple, with coefficients of zero.
static constexpr int64_t kRowMultiple = 8;

namespace {

/// What grouped_matmul and combine to tokens have in common.
struct Operands {
  Value experts;   // [T, K]
  Value vectors;   // [N * r, D]
  Value values;    // [T, K * r]
  Value tokenSide; // [T, D]
  ValueRange dispatch;
  int64_t numExperts, width, hiddenSize, topK, groupSize;
};

/// A block of experts: ids [first, end), whose vectors start at expert `base`.
struct ExpertRange {
  Value first, end, base;
};

class BlockKernel {
public:
  BlockKernel(KernelBuilder &k, Operands operands, int64_t lanes)
      : k(k), o(operands), lanes(lanes),
        group(std::min(o.groupSize, o.numExperts)), rows(group * o.width),
        type(VectorType::get({lanes}, k.getF32Type())), zero(k.index(0)) {}

  void emitGroupedMatmul() {
    Value gathered = allocate({kTokenBlock, o.hiddenSize});
    Value xt = allocate({o.hiddenSize, kTokenBlock});
    Value products = allocate({rows, kTokenBlock});
    // Pairs without an expert are in no block.
    fillZero(o.values);
    auto multiply = [&](Value x, Value tokens, const ExpertRange &range) {
      Value out = leading(products, k.index(rows), tokens);
      fillZero(out);
      linalg::MatmulOp::create(k, TypeRange(), ValueRange{expertRows(range), x},
                               ValueRange{out});
    };
    auto pick = [&](Value token, Value choice, Value column, Value position) {
      forEachPart([&](Value part) {
        k.store(k.load(products, {k.add(column, part), position}), o.values,
                {token, valueColumn(choice, part)});
      });
    };
    if (o.dispatch.empty()) {
      forEachTokenBlock([&](Value first, Value count) {
        Value x = transposeTokens(count, gathered, xt, [&](Value position) {
          return k.add(first, position);
        });
        forEachExpertRange([&](Value, const ExpertRange &range) {
          multiply(x, count, range);
          forEachPairInRange(first, count, range, pick);
        });
      });
    } else {
      forEachExpertRange([&](Value index, const ExpertRange &range) {
        forEachSlotBlock(index, [&](Value first, Value count) {
          Value x = transposeTokens(count, gathered, xt, [&](Value position) {
            return slotToken(k.add(first, position));
          });
          multiply(x, count, range);
          forEachPairOfSlots(first, count, range, pick);
        });
      });
    }
    release({gathered, xt, products});
  }

  void emitCombine() {
    Value coefficients = allocate({kTokenBlock, rows});
    Value sums =
        o.dispatch.empty() ? Value() : allocate({kTokenBlock, o.hiddenSize});
    auto put = [&](Value token, Value choice, Value column, Value position) {
      forEachPart([&](Value part) {
        // A token may list an expert twice.
        Value at = k.add(column, part);
        Value before = k.load(coefficients, {position, at});
        Value value = k.load(o.values, {token, valueColumn(choice, part)});
        k.store(arith::AddFOp::create(k, before, value), coefficients,
                {position, at});
      });
    };
    auto multiply = [&](Value tokens, const ExpertRange &range, Value out) {
      linalg::MatmulOp::create(
          k, TypeRange(),
          ValueRange{leading(coefficients, tokens, k.index(rows)),
                     expertRows(range)},
          ValueRange{out});
    };
    if (o.dispatch.empty()) {
      forEachTokenBlock([&](Value first, Value count) {
        forEachExpertRange([&](Value, const ExpertRange &range) {
          fillZero(leading(coefficients, count, k.index(rows)));
          forEachPairInRange(first, count, range, put);
          multiply(count, range,
                   subview(o.tokenSide, first, count, o.hiddenSize));
        });
      });
      release({coefficients});
      return;
    }
    forEachExpertRange([&](Value index, const ExpertRange &range) {
      forEachSlotBlock(index, [&](Value first, Value count) {
        Value padded =
            k.mul(arith::CeilDivUIOp::create(k, count, k.index(kRowMultiple)),
                  kRowMultiple);
        fillZero(leading(coefficients, padded, k.index(rows)));
        forEachPairOfSlots(first, count, range, put);
        Value out = leading(sums, padded, k.index(o.hiddenSize));
        fillZero(out);
        multiply(padded, range, out);
        k.loop(zero, count, 1, [&](Value position) {
          Value token = slotToken(k.add(first, position));
          forEachVector(k, o.hiddenSize, lanes, [&](Value d, Value mask) {
            Value sum = arith::AddFOp::create(
                k, loadWide(k, type, o.tokenSide, {token, d}, mask),
                loadWide(k, type, sums, {position, d}, mask));
            storeMasked(sum, o.tokenSide, {token, d}, mask);
          });
        });
      });
    });
    release({coefficients, sums});
  }

private:
  //===--- Scratch ------------------------------------------------------===//

  Value allocate(ArrayRef<int64_t> shape) {
    return memref::AllocOp::create(k, MemRefType::get(shape, k.getF32Type()),
                                   k.getI64IntegerAttr(64));
  }
  void release(ArrayRef<Value> buffers) {
    for (Value buffer : buffers)
      memref::DeallocOp::create(k, buffer);
  }
  void fillZero(Value memref) {
    linalg::FillOp::create(k, ValueRange{k.real(k.getF32Type(), 0.0)},
                           ValueRange{memref});
  }
  void storeMasked(Value vector, Value memref, ValueRange indices, Value mask) {
    if (mask)
      vector::MaskedStoreOp::create(k, memref, indices, mask, vector);
    else
      k.storeVector(vector, memref, indices);
  }

  //===--- Views --------------------------------------------------------===//

  static OpFoldResult fold(Value value) { return getAsOpFoldResult(value); }

  /// The first `m` rows and `n` columns.
  Value leading(Value memref, Value m, Value n) {
    SmallVector<OpFoldResult> offsets(2, k.getIndexAttr(0)),
        sizes = {fold(m), fold(n)}, strides(2, k.getIndexAttr(1));
    return memref::SubViewOp::create(k, memref, offsets, sizes, strides);
  }
  /// `count` whole rows from `row`.
  Value subview(Value memref, Value row, Value count, int64_t columns) {
    SmallVector<OpFoldResult> offsets = {fold(row), k.getIndexAttr(0)},
                              sizes = {fold(count), k.getIndexAttr(columns)},
                              strides(2, k.getIndexAttr(1));
    return memref::SubViewOp::create(k, memref, offsets, sizes, strides);
  }
  Value expertRows(const ExpertRange &range) {
    return subview(o.vectors, k.mul(range.base, o.width), k.index(rows),
                   o.hiddenSize);
  }

  //===--- Blocks -------------------------------------------------------===//

  void forEachExpertRange(
      llvm::function_ref<void(Value index, const ExpertRange &)> body) {
    int64_t ranges = llvm::divideCeil(o.numExperts, group);
    k.loop(zero, k.index(ranges), 1, [&](Value index) {
      Value first = k.mul(index, group);
      Value end = k.min(k.add(first, group), k.index(o.numExperts));
      Value base = k.min(first, k.index(o.numExperts - group));
      body(index, {first, end, base});
    });
  }

  /// `count` tokens from `first`.
  void forEachTokenBlock(llvm::function_ref<void(Value, Value)> body) {
    forEachBlock(zero, memref::DimOp::create(k, o.experts, 0), body);
  }

  /// `count` slots of a group from `first`.
  void forEachSlotBlock(Value index,
                        llvm::function_ref<void(Value, Value)> body) {
    Value offsets = o.dispatch[0];
    forEachBlock(k.toIndex(k.load(offsets, {index})),
                 k.toIndex(k.load(offsets, {k.add(index, 1)})), body);
  }

  void forEachBlock(Value from, Value to,
                    llvm::function_ref<void(Value, Value)> body) {
    k.loop(from, to, kTokenBlock, [&](Value first) {
      body(first, k.min(k.sub(to, first), k.index(kTokenBlock)));
    });
  }

  Value slotToken(Value slot) {
    return k.toIndex(k.load(o.dispatch[1], {slot}));
  }

  /// x^T of `count` tokens, widened: [D, count] in `xt`.
  Value transposeTokens(Value count, Value gathered, Value xt,
                        llvm::function_ref<Value(Value)> tokenAt) {
    k.loop(zero, count, 1, [&](Value position) {
      Value token = tokenAt(position);
      forEachVector(k, o.hiddenSize, lanes, [&](Value d, Value mask) {
        storeMasked(loadWide(k, type, o.tokenSide, {token, d}, mask), gathered,
                    {position, d}, mask);
      });
    });
    Value out = leading(xt, k.index(o.hiddenSize), count);
    linalg::TransposeOp::create(k,
                                leading(gathered, count, k.index(o.hiddenSize)),
                                out, ArrayRef<int64_t>{1, 0});
    return out;
  }

  //===--- Pairs --------------------------------------------------------===//

  using PairBody = llvm::function_ref<void(Value token, Value choice,
                                           Value column, Value position)>;

  void forEachPart(llvm::function_ref<void(Value)> body) {
    if (o.width == 1)
      return body(zero);
    k.loop(zero, k.index(o.width), 1, body);
  }
  Value valueColumn(Value choice, Value part) {
    return k.add(k.mul(choice, o.width), part);
  }
  /// The first row of an expert within its block.
  Value blockColumn(Value expert, const ExpertRange &range) {
    return k.mul(k.sub(expert, range.base), o.width);
  }

  /// The pairs of `count` tokens from `first` whose expert is in the range.
  void forEachPairInRange(Value first, Value count, const ExpertRange &range,
                          PairBody body) {
    k.loop(zero, count, 1, [&](Value position) {
      Value token = k.add(first, position);
      k.loop(zero, k.index(o.topK), 1, [&](Value choice) {
        Value expert = arith::IndexCastUIOp::create(
            k, k.getIndexType(), k.load(o.experts, {token, choice}));
        Value inside =
            k.both(k.compare(arith::CmpIPredicate::uge, expert, range.first),
                   k.compare(arith::CmpIPredicate::ult, expert, range.end));
        k.when(inside, [&] {
          body(token, choice, blockColumn(expert, range), position);
        });
      });
    });
  }

  /// The pairs of `count` slots from `first`.
  void forEachPairOfSlots(Value first, Value count, const ExpertRange &range,
                          PairBody body) {
    Value starts = o.dispatch[2], pairs = o.dispatch[3];
    k.loop(zero, count, 1, [&](Value position) {
      Value slot = k.add(first, position);
      Value token = slotToken(slot);
      Value from = k.toIndex(k.load(starts, {slot}));
      Value to = k.toIndex(k.load(starts, {k.add(slot, 1)}));
      k.loop(from, to, 1, [&](Value at) {
        Value pair = k.toIndex(k.load(pairs, {at}));
        Value choice = k.sub(pair, k.mul(token, o.topK));
        Value expert = k.toIndex(k.load(o.experts, {token, choice}));
        body(token, choice, blockColumn(expert, range), position);
      });
    });
  }

  KernelBuilder &k;
  Operands o;
  int64_t lanes;
  int64_t group; // experts of a block
  int64_t rows;  // vectors of a block
  VectorType type;
  Value zero;
};

/// The dense schedule has no dispatch, the expert-centric one must have it.
template <typename OpTy> bool isBlocked(OpTy op) {
  std::optional<ScheduleAttr> schedule = op.getSchedule();
  if (op.isDispatched())
    return true;
  return schedule && schedule->getKind() == ScheduleKind::Dense;
}

template <typename OpTy>
Operands getOperands(KernelBuilder &k, OpTy op, Value vectors, Value values,
                     Value tokenSide) {
  std::optional<ScheduleAttr> schedule = op.getSchedule();
  int64_t groupSize = schedule && *schedule
                          ? std::max<int64_t>(schedule->getGroupSize(), 1)
                          : 1;
  return {op.getExperts(),
          collapseExperts(k, vectors),
          collapsePairs(k, values),
          tokenSide,
          op.getDispatch(),
          op.getNumExperts(),
          op.getExpertWidth(),
          op.getHiddenSize(),
          op.getTopK(),
          groupSize};
}

struct GroupedMatmulBlocked : OpRewritePattern<GroupedMatmulOp> {
  GroupedMatmulBlocked(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(GroupedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 || !isBlocked(op))
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    BlockKernel(
        k, getOperands(k, op, op.getWeights(), op.getProducts(), op.getX()),
        lanes)
        .emitGroupedMatmul();
    rewriter.eraseOp(op);
    return success();
  }

  int64_t lanes;
};

struct CombineBlocked : OpRewritePattern<CombineOp> {
  CombineBlocked(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(CombineOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 || !op.isToTokens() || !isBlocked(op) ||
        !getElementTypeOrSelf(op.getOut().getType()).isF32())
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    BlockKernel(
        k,
        getOperands(k, op, op.getVectors(), op.getCoefficients(), op.getOut()),
        lanes)
        .emitCombine();
    rewriter.eraseOp(op);
    return success();
  }

  int64_t lanes;
};
} // namespace

void mlir::omnimoe::populateBlockProductPatterns(RewritePatternSet &patterns,
                                                 int64_t vectorBits) {
  patterns.add<GroupedMatmulBlocked, CombineBlocked>(patterns.getContext(),
                                                     vectorBits);
}
