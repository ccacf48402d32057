//===- ExactCoefficients.h - Coefficients of repeated choices ---*- C++ -*-===//
//
// A token that chose an expert several times has the sum of its coefficients as
// one operand of a product. For the same bits in any order, that sum is one of
// integers: all choices first raise the exponent of the sum's word, 9 bits, to
// the largest of theirs, and then add multiples of a quantum of that exponent
// to the other 23 bits. What is kept of a coefficient is at least what a short
// float does: 21 bits less those that the number of choices takes.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTCOEFFICIENTS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTCOEFFICIENTS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

class ExactCoefficients {
public:
  /// Sums of up to `topK` coefficients, `kMostExactChoices` at most.
  ExactCoefficients(KernelBuilder &k, int64_t topK);

  /// The word of no coefficients, i32.
  int64_t getEmptyWord() const { return bits; }
  /// To be done for all coefficients of the word that `pointer` points to...
  void raise(Value pointer, Value coefficient);
  /// ...before this is.
  void add(Value pointer, Value coefficient);
  /// The sum that is in a word, f32.
  Value get(Value word);

private:
  KernelBuilder &k;
  int64_t bits; ///< of a coefficient of the word's exponent
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTCOEFFICIENTS_H
