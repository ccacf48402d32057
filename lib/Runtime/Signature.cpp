//===- Signature.cpp - Check of a caller's tensors ------------------------===//

#include "omnimoe/Runtime/Signature.h"

#include <iterator>

using namespace mlir::omnimoe::runtime;

static constexpr struct {
  const char *name;
  int64_t size;
} kTypes[] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"i32", 4}};

const char *mlir::omnimoe::runtime::getTypeName(OmniMoeType type) {
  auto index = static_cast<size_t>(type);
  return index < std::size(kTypes) ? kTypes[index].name : nullptr;
}

bool mlir::omnimoe::runtime::parseTypeName(const std::string &name,
                                           OmniMoeType &type) {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (name == kTypes[i].name) {
      type = static_cast<OmniMoeType>(i);
      return true;
    }
  }
  return false;
}

int64_t mlir::omnimoe::runtime::getTypeSize(OmniMoeType type) {
  return kTypes[type].size;
}

//===----------------------------------------------------------------------===//
// Messages
//===----------------------------------------------------------------------===//

/// "[T, 512]": -1 prints as T.
static std::string toString(const int64_t *sizes, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) {
    text += i ? ", " : "";
    text += sizes[i] == kTokens ? "T" : std::to_string(sizes[i]);
  }
  return text + "]";
}

static std::string toString(const TensorSpec &spec) {
  return std::string(getTypeName(spec.type)) + " " +
         toString(spec.shape.data(), spec.shape.size());
}

static std::string toString(const OmniMoeTensor &tensor) {
  const char *type = getTypeName(tensor.type);
  std::string text =
      type ? type : "type " + std::to_string(static_cast<int>(tensor.type));
  if (tensor.rank < 0 || (tensor.rank > 0 && !tensor.shape))
    return text + " of rank " + std::to_string(tensor.rank);
  text += " [";
  for (int32_t i = 0; i < tensor.rank; ++i)
    text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

static OmniMoeStatus mismatch(const TensorSpec &spec,
                              const OmniMoeTensor &tensor,
                              const std::string &note, std::string &message) {
  message = spec.name + ": expected " + toString(spec) + note + ", got " +
            toString(tensor);
  return OMNIMOE_SHAPE_ERROR;
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

/// Bytes of a tensor whose shape has been checked; -1 if they pass 2^63.
static int64_t getBytes(const TensorSpec &spec, const OmniMoeTensor &tensor) {
  int64_t bytes = getTypeSize(spec.type);
  for (int32_t i = 0; i < tensor.rank; ++i)
    if (__builtin_mul_overflow(bytes, tensor.shape[i], &bytes))
      return -1;
  return bytes;
}

/// Strides of dimensions of size 1 do not matter, nor any of an empty tensor.
static bool isRowMajor(const OmniMoeTensor &tensor) {
  int64_t expected = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected)
      return false;
    expected *= tensor.shape[i];
  }
  return true;
}

static OmniMoeStatus checkStrides(const TensorSpec &spec,
                                  const OmniMoeTensor &tensor,
                                  std::string &message) {
  if (isRowMajor(tensor))
    return OMNIMOE_OK;
  std::vector<int64_t> expected(tensor.rank, 1);
  for (int32_t i = tensor.rank - 2; i >= 0; --i)
    expected[i] = expected[i + 1] * tensor.shape[i + 1];
  message = spec.name + ": expected row-major strides " +
            toString(expected.data(), expected.size()) + " for shape " +
            toString(tensor.shape, tensor.rank) + ", got [";
  for (int32_t i = 0; i < tensor.rank; ++i)
    message += (i ? ", " : "") + std::to_string(tensor.strides[i]);
  message += "]";
  return OMNIMOE_SHAPE_ERROR;
}

/// Checks one tensor. `tokens` is T, or kTokens until a tensor has told it, in
/// which case `teller` becomes that tensor.
static OmniMoeStatus checkTensor(const TensorSpec &spec,
                                 const OmniMoeTensor &tensor, int64_t &tokens,
                                 const TensorSpec *&teller, int64_t &bytes,
                                 std::string &message) {
  auto rank = static_cast<int32_t>(spec.shape.size());
  if (tensor.type != spec.type || tensor.rank != rank ||
      (rank && !tensor.shape))
    return mismatch(spec, tensor, "", message);
  for (int32_t i = 0; i < rank; ++i) {
    int64_t expected = spec.shape[i];
    if (expected == kTokens && tokens == kTokens && tensor.shape[i] >= 0) {
      tokens = tensor.shape[i];
      teller = &spec;
    }
    if (expected == kTokens)
      expected = tokens;
    if (tensor.shape[i] != expected || expected < 0) {
      std::string note;
      if (spec.shape[i] == kTokens && teller)
        note = " with T = " + std::to_string(tokens) + " as in " + teller->name;
      return mismatch(spec, tensor, note, message);
    }
  }
  bytes = getBytes(spec, tensor);
  if (bytes < 0)
    return mismatch(spec, tensor, " of less than 2^63 bytes", message);
  if (tensor.strides && bytes > 0)
    if (OmniMoeStatus status = checkStrides(spec, tensor, message))
      return status;
  if (!tensor.data && bytes > 0) {
    message = spec.name + ": data is null, expected " + std::to_string(bytes) +
              " bytes of " + toString(tensor);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  int64_t alignment = getTypeSize(spec.type);
  if (bytes > 0 && reinterpret_cast<uintptr_t>(tensor.data) % alignment) {
    message = spec.name + ": data at an address that is no multiple of " +
              std::to_string(alignment) + ", the size of its elements";
    return OMNIMOE_INVALID_ARGUMENT;
  }
  return OMNIMOE_OK;
}

OmniMoeStatus mlir::omnimoe::runtime::checkTensors(const Signature &signature,
                                                   const OmniMoeTensor *tensors,
                                                   size_t numTensors,
                                                   int64_t &tokens,
                                                   std::string &message) {
  if (numTensors != signature.size()) {
    message = "tensors: expected " + std::to_string(signature.size()) + " (" +
              std::to_string(signature.inputs.size()) + " inputs, " +
              std::to_string(signature.outputs.size()) + " outputs), got " +
              std::to_string(numTensors);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  if (!tensors && numTensors) {
    message = "tensors: null pointer";
    return OMNIMOE_INVALID_ARGUMENT;
  }

  int64_t known = kTokens;
  const TensorSpec *teller = nullptr;
  for (size_t i = 0; i < numTensors; ++i) {
    int64_t bytes = 0;
    if (OmniMoeStatus status = checkTensor(signature[i], tensors[i], known,
                                           teller, bytes, message))
      return status;
    // A program writes its outputs while it still reads its inputs.
    if (i < signature.inputs.size() || bytes == 0)
      continue;
    const char *begin = static_cast<const char *>(tensors[i].data);
    for (size_t j = 0; j < i; ++j) {
      const char *other = static_cast<const char *>(tensors[j].data);
      int64_t otherBytes = getBytes(signature[j], tensors[j]);
      if (begin < other + otherBytes && other < begin + bytes) {
        message = signature[i].name + ": shares memory with " +
                  signature[j].name + ", expected memory of its own";
        return OMNIMOE_INVALID_ARGUMENT;
      }
    }
  }
  // A program without T works on what its first tensor holds.
  if (known == kTokens)
    known = numTensors && tensors[0].rank ? tensors[0].shape[0] : 0;
  tokens = known;
  return OMNIMOE_OK;
}
