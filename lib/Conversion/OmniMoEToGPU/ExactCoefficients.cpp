//===- ExactCoefficients.cpp - Coefficients of repeated choices -----------===//
//
// With e the exponent of the word, a value below 2^(e - 126) becomes the
// integer nearest to value * 2^(bits + 126 - e). Exponents are `bits` at least,
// so that the powers of two, and that which leads back, are normal numbers:
// what is smaller loses accuracy, below 2^-100. A value that is infinite or no
// number makes the exponent so large that the power of two which leads back
// is infinite: the sum is then infinite or no number, the same every time.
//
//===----------------------------------------------------------------------===//

#include "ExactCoefficients.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kExponentBits = 9, kMantissa = 23;
static constexpr int64_t kBias = 127, kNotFinite = 255;
/// 1.5 * 2^23: added to a number below 2^22 it leaves, as bits, its own bits
/// plus the nearest integer.
static constexpr int64_t kAnchorBits = 0x4B400000;

ExactCoefficients::ExactCoefficients(KernelBuilder &k, int64_t topK)
    : k(k), bits(21 - llvm::Log2_64_Ceil(topK)) {
  // So many of 2^bits each stay below 2^22.
  assert(topK <= kMostExactChoices && "more choices than sums have bits for");
}

static Value toFloat(KernelBuilder &k, Value bits) {
  return arith::BitcastOp::create(k, k.getF32Type(), bits);
}

static Value toBits(KernelBuilder &k, Value value) {
  return arith::BitcastOp::create(k, k.getI32Type(), value);
}

void ExactCoefficients::raise(Value pointer, Value coefficient) {
  Value exponent = k.both(
      arith::ShRUIOp::create(k, toBits(k, coefficient), k.i32(kMantissa)),
      k.i32(kNotFinite));
  exponent = k.choose(k.compare(CmpIPredicate::eq, exponent, k.i32(kNotFinite)),
                      k.i32(2 * kBias + bits), exponent);
  LLVM::AtomicRMWOp::create(k, LLVM::AtomicBinOp::umax, pointer, exponent,
                            LLVM::AtomicOrdering::monotonic, "block");
}

void ExactCoefficients::add(Value pointer, Value coefficient) {
  Value word = LLVM::LoadOp::create(k, k.getI32Type(), pointer);
  // Others may add at the same time, but not to the exponent.
  Value exponent = k.both(word, k.i32((1 << kExponentBits) - 1));
  Value scale = arith::ShLIOp::create(
      k, k.sub(k.i32(2 * kBias - 1 + bits), exponent), k.i32(kMantissa));
  Value scaled = arith::MulFOp::create(k, coefficient, toFloat(k, scale));
  Value anchored =
      arith::AddFOp::create(k, scaled, toFloat(k, k.i32(kAnchorBits)));
  Value number = k.sub(toBits(k, anchored), kAnchorBits);
  LLVM::AtomicRMWOp::create(
      k, LLVM::AtomicBinOp::add, pointer,
      arith::ShLIOp::create(k, number, k.i32(kExponentBits)),
      LLVM::AtomicOrdering::monotonic, "block");
}

Value ExactCoefficients::get(Value word) {
  Value number = arith::ShRSIOp::create(k, word, k.i32(kExponentBits));
  // The shift drops the number; the exponent has no ninth bit in use but where
  // the result is not finite, which the sum below brings down to 255.
  Value scale = k.add(
      arith::ShLIOp::create(k, k.both(word, k.i32((1 << kExponentBits) - 1)),
                            k.i32(kMantissa))
          .getResult(),
      (1 - bits) * (int64_t(1) << kMantissa));
  return arith::MulFOp::create(
      k, arith::SIToFPOp::create(k, k.getF32Type(), number), toFloat(k, scale));
}
