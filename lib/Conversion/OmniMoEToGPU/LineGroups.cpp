//===- LineGroups.cpp - The group of each pair among a grid's lines -------===//

#include "BlockEmitter.h"
#include "LineDispatch.h"
#include "Utils/GroupLines.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kMostThreads = 256;

int64_t mlir::omnimoe::getTokenThreads(int64_t topK) {
  return std::clamp<int64_t>(llvm::PowerOf2Ceil(topK), kWarp, kMostThreads);
}

void mlir::omnimoe::emitLineGroups(KernelBuilder &k, DispatchOp op,
                                   Value groups, Value counts, StringRef name) {
  GroupLayout layout = op.getLayout();
  int64_t topK = op.getTopK(), lines = layout.getNumLines(),
          numGroups = layout.getNumGroups();
  Value tokens = k.createOrFold<memref::DimOp>(op.getExperts(), 0);
  int64_t threads = getTokenThreads(topK);
  Type i32 = k.getI32Type();
  k.when(k.compare(CmpIPredicate::ugt, tokens, k.index(0)), [&] {
    BlockKernel kernel(k, name, tokens, threads);
    Value token = kernel.block;
    auto allocateZeros = [&](int64_t size) {
      Value counters = kernel.shared(i32, {size});
      k.loop(kernel.thread, k.index(size), threads,
             [&](Value i) { k.store(k.i32(0), counters, i); });
      return counters;
    };
    auto countOne = [&](Value counters, Value at) {
      memref::AtomicRMWOp::create(k, arith::AtomicRMWKind::addi, k.i32(1),
                                  counters, ValueRange{at});
    };
    Value inLine = allocateZeros(lines), inGroup;
    if (counts)
      inGroup = allocateZeros(numGroups);
    kernel.barrier();
    // `body` takes the counters of the pair's row and column as well.
    auto forEachPair =
        [&](llvm::function_ref<void(Value choice, Value valid, GridPlace place,
                                    ArrayRef<Value> counters)>
                body) {
          k.loop(kernel.thread, k.index(topK), threads, [&](Value choice) {
            Value id = k.load(op.getExperts(), {token, choice});
            Value valid =
                k.compare(CmpIPredicate::ult, id, k.i32(layout.numExperts));
            GridPlace place(k, layout, k.choose(valid, id, k.i32(0)));
            Value column = k.add(place.column, layout.getGridRows());
            body(choice, valid, place,
                 {k.toIndex(place.row), k.toIndex(column)});
          });
        };
    forEachPair([&](Value, Value valid, GridPlace, ArrayRef<Value> counters) {
      k.when(valid, [&] {
        for (Value counter : counters)
          countOne(inLine, counter);
      });
    });
    kernel.barrier();
    Value first = k.mul(token, topK);
    Type groupType = getElementTypeOrSelf(groups);
    auto narrow = [&](Value value, Type type) -> Value {
      return type == i32 ? value : arith::TruncIOp::create(k, type, value);
    };
    forEachPair([&](Value choice, Value valid, GridPlace place,
                    ArrayRef<Value> counters) {
      Value group =
          getGroupOfLine(k, layout, place, k.load(inLine, counters[0]),
                         k.load(inLine, counters[1]));
      Value known = k.choose(valid, group, k.i32(numGroups));
      k.store(narrow(known, groupType), groups, k.add(first, choice));
      if (inGroup)
        k.when(valid, [&] { countOne(inGroup, k.toIndex(group)); });
    });
    if (!inGroup)
      return;
    kernel.barrier();
    k.loop(kernel.thread, k.index(numGroups), threads, [&](Value group) {
      k.store(narrow(k.load(inGroup, group), getElementTypeOrSelf(counts)),
              counts, {token, group});
    });
  });
}
