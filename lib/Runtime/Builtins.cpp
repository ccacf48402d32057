//===- Builtins.cpp - Functions that compiled code calls ------------------===//

#include "omnimoe/Runtime/Builtins.h"

#include "omnimoe/Runtime/Queue.h"
#include <cstdint>
#include <cstring>

//===----------------------------------------------------------------------===//
// memrefCopy
//===----------------------------------------------------------------------===//

namespace {

/// An unranked memref as LLVM code passes it.
struct UnrankedMemRef {
  int64_t rank;
  void *descriptor;
};

/// The descriptor of a ranked memref, whose sizes and strides follow `offset`.
struct MemRefView {
  explicit MemRefView(const UnrankedMemRef &memref) {
    auto *words = static_cast<int64_t *>(memref.descriptor);
    data = reinterpret_cast<char *>(words[1]);
    offset = words[2];
    sizes = words + 3;
    strides = sizes + memref.rank;
  }
  char *data;
  int64_t offset;
  const int64_t *sizes;
  const int64_t *strides;
};

} // namespace

/// Copies dimension `dim` and what lies under it.
static void copyDimension(int64_t dim, int64_t rank, int64_t elementSize,
                          const MemRefView &from, const char *source,
                          const MemRefView &to, char *target) {
  if (dim == rank) {
    std::memcpy(target, source, elementSize);
    return;
  }
  int64_t size = from.sizes[dim];
  if (dim == rank - 1 && from.strides[dim] == 1 && to.strides[dim] == 1) {
    std::memcpy(target, source, size * elementSize);
    return;
  }
  for (int64_t i = 0; i < size; ++i)
    copyDimension(dim + 1, rank, elementSize, from,
                  source + i * from.strides[dim] * elementSize, to,
                  target + i * to.strides[dim] * elementSize);
}

static void memrefCopy(int64_t elementSize, UnrankedMemRef *source,
                       UnrankedMemRef *target) {
  MemRefView from(*source), to(*target);
  for (int64_t i = 0; i < source->rank; ++i)
    if (from.sizes[i] == 0)
      return;
  copyDimension(0, source->rank, elementSize, from,
                from.data + from.offset * elementSize, to,
                to.data + to.offset * elementSize);
}

//===----------------------------------------------------------------------===//
// Half precision
//===----------------------------------------------------------------------===//
//
// Called on processors without instructions for them. Written on the bits,
// since an ordinary conversion here would call itself.

template <typename To, typename From> static To bitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// Drops the lowest `count` bits (1 to 31), rounding to nearest, ties to even.
static uint32_t roundShift(uint32_t bits, unsigned count) {
  uint32_t half = (1u << (count - 1)) - 1;
  return (bits + half + ((bits >> count) & 1)) >> count;
}

/// f16 has 5 bits of exponent (bias 15) and 10 of fraction.
static uint16_t truncateToHalf(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) // NaN: kept, made quiet
    return sign | 0x7e00 | ((bits >> 13) & 0x3ff);
  if (bits >= 0x47800000) // 2^16 and above
    return sign | 0x7c00;
  if (bits >= 0x38800000) // normal: move the bias, round the fraction
    return sign | roundShift(bits - (112u << 23), 13);
  if (bits < 0x33000000) // below half of the smallest subnormal
    return sign;
  uint32_t fraction = (bits & 0x7fffff) | 0x800000;
  return sign | roundShift(fraction, 126 - (bits >> 23));
}

static float extendFromHalf(uint16_t half) {
  uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  uint32_t exponent = (half >> 10) & 0x1f;
  uint32_t fraction = half & 0x3ff;
  if (exponent == 0x1f) // infinity or NaN
    return bitCast<float>(sign | 0x7f800000 | (fraction << 13) |
                          (fraction ? 0x400000u : 0u));
  if (exponent == 0) { // subnormal: exact as a product
    float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return bitCast<float>(sign | bitCast<uint32_t>(magnitude));
  }
  return bitCast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

static uint16_t truncateToBFloat(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>(roundShift(bits, 16));
}

// The calling convention passes these types in floating-point registers where
// the compiler has them.
#if defined(__FLT16_MANT_DIG__)
static _Float16 truncsfhf2(float value) {
  return bitCast<_Float16>(truncateToHalf(value));
}
static float extendhfsf2(_Float16 value) {
  return extendFromHalf(bitCast<uint16_t>(value));
}
#else
static uint16_t truncsfhf2(float value) { return truncateToHalf(value); }
static float extendhfsf2(uint16_t value) { return extendFromHalf(value); }
#endif

#if defined(__clang__) && (defined(__SSE2__) || defined(__aarch64__))
static __bf16 truncsfbf2(float value) {
  return bitCast<__bf16>(truncateToBFloat(value));
}
#else
static uint16_t truncsfbf2(float value) { return truncateToBFloat(value); }
#endif

void *mlir::omnimoe::runtime::findBuiltin(const char *name) {
  static const struct {
    const char *name;
    void *address;
  } functions[] = {
      {"memrefCopy", reinterpret_cast<void *>(&memrefCopy)},
      {"omnimoe_gpu_launch", reinterpret_cast<void *>(&omnimoe_gpu_launch)},
      {"omnimoe_gpu_copy", reinterpret_cast<void *>(&omnimoe_gpu_copy)},
      {"omnimoe_gpu_fork", reinterpret_cast<void *>(&omnimoe_gpu_fork)},
      {"omnimoe_gpu_select_stream",
       reinterpret_cast<void *>(&omnimoe_gpu_select_stream)},
      {"omnimoe_gpu_wait_for_stream",
       reinterpret_cast<void *>(&omnimoe_gpu_wait_for_stream)},
      {"omnimoe_gpu_tensor_map",
       reinterpret_cast<void *>(&omnimoe_gpu_tensor_map)},
      {"__truncsfhf2", reinterpret_cast<void *>(&truncsfhf2)},
      {"__gnu_f2h_ieee", reinterpret_cast<void *>(&truncateToHalf)},
      {"__extendhfsf2", reinterpret_cast<void *>(&extendhfsf2)},
      {"__gnu_h2f_ieee", reinterpret_cast<void *>(&extendFromHalf)},
      {"__truncsfbf2", reinterpret_cast<void *>(&truncsfbf2)},
  };
  for (const auto &function : functions)
    if (!std::strcmp(name, function.name))
      return function.address;
  return nullptr;
}
