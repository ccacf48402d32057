//===- AssignStreams.cpp - The pass omnimoe-assign-streams ----------------===//
//
// 1. Find what the function's operations, one after the other, read and write:
//    its arguments and the parts of the workspace.
// 2. What no result of another is needed for is independent of it.
// 3. Of two independent products of few columns, the later goes to the second
//    stream. So do products for warpgroups that are independent of something
//    else, if the first of them leaves multiprocessors free; otherwise they
//    stay with the rest on the first stream.
// 4. One stream waits for the other where it must.
//
//===----------------------------------------------------------------------===//

#include "WarpgroupProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_ASSIGNSTREAMSPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
enum class Stream : int32_t { Caller = 0, Side = 1 };

/// An operation of the function that works on memory.
struct Work {
  Operation *op;
  llvm::SetVector<Value> reads, writes;
  bool isKnown = true;             ///< all that it reads and writes
  llvm::BitVector needed;          ///< the work before it that it waits for
  SmallVector<scf::ForallOp> wide; ///< products for warpgroups in it
  bool isNarrow = false;           ///< a tile with a product of few columns
  Stream stream = Stream::Caller;
};
} // namespace

/// Adds the buffers that `memref` may be a view of; false if that is not known.
/// Views of the workspace do not overlap.
static bool addBases(Value memref, Operation *work,
                     llvm::SetVector<Value> &bases) {
  while (true) {
    if (auto argument = dyn_cast<BlockArgument>(memref)) {
      bases.insert(memref);
      return isa<func::FuncOp>(argument.getOwner()->getParentOp());
    }
    Operation *op = memref.getDefiningOp();
    if (auto view = dyn_cast<memref::ViewOp>(op);
        view && isa<BlockArgument>(view.getSource())) {
      bases.insert(memref);
      return true;
    }
    // The work's own.
    if (isa<memref::AllocOp>(op) && work->isAncestor(op))
      return true;
    if (auto choice = dyn_cast<scf::IfOp>(op)) {
      unsigned number = cast<OpResult>(memref).getResultNumber();
      return addBases(choice.thenYield().getOperand(number), work, bases) &&
             addBases(choice.elseYield().getOperand(number), work, bases);
    }
    auto view = dyn_cast<ViewLikeOpInterface>(op);
    if (!view)
      return false;
    memref = view.getViewSource();
  }
}

static Work getWork(Operation *op) {
  Work work;
  work.op = op;
  std::optional<SmallVector<MemoryEffects::EffectInstance>> effects =
      getEffectsRecursively(op);
  work.isKnown = effects.has_value();
  if (effects)
    for (const MemoryEffects::EffectInstance &effect : *effects) {
      if (!isa<MemoryEffects::Read, MemoryEffects::Write>(effect.getEffect()))
        continue;
      bool reads = isa<MemoryEffects::Read>(effect.getEffect());
      work.isKnown &=
          effect.getValue() &&
          addBases(effect.getValue(), op, reads ? work.reads : work.writes);
    }
  op->walk([&](scf::ForallOp forall) {
    if (matchWarpgroupTile(forall))
      work.wide.push_back(forall);
  });
  if (auto forall = dyn_cast<scf::ForallOp>(op))
    work.isNarrow = llvm::any_of(*forall.getBody(), [](Operation &inner) {
      std::optional<MatrixProduct> product = matchMatrixProduct(&inner);
      return product && isNarrow(*product);
    });
  work.isNarrow &= work.wide.empty();
  return work;
}

static bool mustWait(const Work &later, const Work &earlier) {
  if (!later.isKnown || !earlier.isKnown)
    return true;
  auto meet = [](const llvm::SetVector<Value> &a,
                 const llvm::SetVector<Value> &b) {
    return llvm::any_of(a, [&](Value value) { return b.contains(value); });
  };
  return meet(earlier.writes, later.reads) ||
         meet(earlier.writes, later.writes) ||
         meet(earlier.reads, later.writes);
}

static std::vector<Work> collectWork(Block &body) {
  std::vector<Work> all;
  for (Operation &op : body.without_terminator()) {
    if (isMemoryEffectFree(&op))
      continue;
    Work work = getWork(&op);
    work.needed.resize(all.size());
    for (auto [index, earlier] : llvm::enumerate(all))
      if (mustWait(work, earlier)) {
        work.needed.set(index);
        for (unsigned before : earlier.needed.set_bits())
          work.needed.set(before);
      }
    all.push_back(std::move(work));
  }
  return all;
}

static bool areIndependent(ArrayRef<Work> all, size_t one, size_t other) {
  return one != other &&
         !all[std::max(one, other)].needed.test(std::min(one, other));
}

namespace {
struct AssignStreamsPass
    : omnimoe::impl::AssignStreamsPassBase<AssignStreamsPass> {
  using AssignStreamsPassBase::AssignStreamsPassBase;

  void runOnOperation() override {
    for (auto function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (llvm::hasSingleElement(function.getBody())) {
        wideStream = nullptr;
        assign(function);
      }
  }

  void assign(func::FuncOp function) {
    std::vector<Work> all = collectWork(function.getBody().front());
    bool forks = false;
    for (size_t i = 0; i < all.size(); ++i)
      if (goesAside(all, i)) {
        all[i].stream = Stream::Side;
        forks = true;
      }
    if (!forks)
      return;
    emitFork(function, all);
    emitChanges(function, all);
    ++numForked;
  }

  /// Works before `i` have been decided on.
  static bool goesAside(ArrayRef<Work> all, size_t i) {
    bool aside = false;
    for (size_t j = 0; j < all.size(); ++j) {
      if (all[i].isNarrow && j < i && all[i].needed.test(j) &&
          !all[j].wide.empty())
        return false;
      if (areIndependent(all, i, j))
        aside |= all[i].isNarrow ? j < i && all[j].isNarrow &&
                                       all[j].stream == Stream::Caller
                                 : !all[i].wide.empty() && all[j].wide.empty();
    }
    return aside;
  }

  /// Few rows are done before streams have come together again.
  void emitFork(func::FuncOp function, ArrayRef<Work> all) {
    Operation *first = all.front().op;
    KernelBuilder k(first->getLoc(), OpBuilder(first));
    DominanceInfo dominance(function);
    Value rows;
    for (const Work &work : all)
      work.op->walk([&](scf::ForallOp forall) {
        OpFoldResult bound = forall.getMixedUpperBound().front();
        auto value = dyn_cast<Value>(bound);
        if (!rows && work.stream == Stream::Side &&
            (!value || dominance.properlyDominates(value, first)))
          rows = getValueOrCreateConstantIndexOp(k, k.getLoc(), bound);
      });
    for (const Work &work : all) {
      if (work.wide.empty() || wideStream)
        continue;
      std::optional<WarpgroupTile> tile = matchWarpgroupTile(work.wide.front());
      Value side = k.i32(int32_t(Stream::Side));
      if (!dominance.properlyDominates(tile->result, first)) {
        wideStream = side;
        continue;
      }
      int64_t units = getTarget(getOperation()).getUnits();
      wideStream = k.choose(k.compare(arith::CmpIPredicate::ult,
                                      getNumTiles(k, *tile), k.index(units)),
                            side, k.i32(int32_t(Stream::Caller)));
    }
    if (!rows)
      return call(k, kForkFunction, {});
    Value many = k.compare(arith::CmpIPredicate::ugt, rows, k.index(kFewRows));
    k.when(many, [&] { call(k, kForkFunction, {}); });
  }

  void emitChanges(func::FuncOp function, ArrayRef<Work> all) {
    // How much of the other stream's work each stream has waited for.
    size_t seen[2] = {0, 0};
    Stream current = Stream::Caller;
    Value chosen;
    KernelBuilder k(function.getLoc(), OpBuilder(&getContext()));
    auto number = [&](Stream stream) { return k.i32(int32_t(stream)); };
    auto change = [&](Stream stream, bool isWide) {
      Value next = isWide && stream == Stream::Side ? wideStream : Value();
      if (stream != current || next != chosen)
        call(k, kSelectStreamFunction, next ? next : number(stream));
      current = stream;
      chosen = next;
    };
    auto isOthers = [&](size_t i) { return all[i].stream != current; };
    for (auto [index, work] : llvm::enumerate(all)) {
      k.setInsertionPoint(work.op);
      change(work.stream, !work.wide.empty());
      bool waits = false, follows = false;
      for (unsigned before : work.needed.set_bits()) {
        waits |= isOthers(before) && before >= seen[int32_t(current)];
        follows |= all[before].isNarrow && all[before].stream == Stream::Side;
      }
      // A product for warpgroups may in fact be on the caller's stream.
      if (chosen && follows)
        call(k, kWaitForStreamFunction, number(Stream::Side));
      if (waits) {
        call(k, kWaitForStreamFunction,
             number(current == Stream::Side ? Stream::Caller : Stream::Side));
        seen[int32_t(current)] = index;
      }
    }
    k.setInsertionPoint(function.getBody().front().getTerminator());
    change(Stream::Caller, /*isWide=*/false);
    for (size_t i = seen[int32_t(Stream::Caller)]; i < all.size(); ++i)
      if (isOthers(i))
        return call(k, kWaitForStreamFunction, number(Stream::Side));
  }

  void call(KernelBuilder &k, StringRef name, ValueRange arguments) {
    ModuleOp module = getOperation();
    if (!module.lookupSymbol(name)) {
      OpBuilder declarations = OpBuilder::atBlockBegin(module.getBody());
      func::FuncOp::create(declarations, module.getLoc(), name,
                           k.getFunctionType(arguments.getTypes(), {}))
          .setPrivate();
    }
    func::CallOp::create(k, name, TypeRange{}, arguments);
  }

  Value wideStream; ///< of products for warpgroups that may go aside
};
} // namespace
