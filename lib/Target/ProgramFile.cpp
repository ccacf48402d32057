//===- ProgramFile.cpp - A compiled program as a file ---------------------===//

#include "omnimoe/Target/ProgramFile.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/EndianStream.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SHA256.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::omnimoe;
using llvm::StringRef;
namespace endian = llvm::support::endian;
namespace json = llvm::json;

static constexpr StringRef kMagic = "OMNIMOE\n";
static constexpr uint32_t kVersion = 4;
static constexpr uint32_t kNumSections = 5;
static constexpr size_t kHeaderSize = 8 + 4 + 4 + 8 * kNumSections;
static constexpr size_t kChecksumSize = 32;

//===----------------------------------------------------------------------===//
// Metadata
//===----------------------------------------------------------------------===//

json::Array
mlir::omnimoe::toJSON(const std::vector<runtime::TensorSpec> &tensors) {
  json::Array result;
  for (const runtime::TensorSpec &tensor : tensors)
    result.push_back(json::Object{{"name", tensor.name},
                                  {"type", runtime::getTypeName(tensor.type)},
                                  {"shape", json::Array(tensor.shape)}});
  return result;
}

static bool fromJSON(const json::Array *array,
                     std::vector<runtime::TensorSpec> &tensors) {
  if (!array)
    return false;
  for (const json::Value &value : *array) {
    const json::Object *object = value.getAsObject();
    if (!object)
      return false;
    auto name = object->getString("name"), type = object->getString("type");
    const json::Array *shape = object->getArray("shape");
    runtime::TensorSpec tensor;
    if (!name || !type || !shape ||
        !runtime::parseTypeName(type->str(), tensor.type))
      return false;
    tensor.name = name->str();
    for (const json::Value &size : *shape) {
      auto number = size.getAsInteger();
      if (!number)
        return false;
      tensor.shape.push_back(*number);
    }
    tensors.push_back(std::move(tensor));
  }
  return true;
}

static std::string writeMetadata(const ProgramFile &program) {
  json::Object object{
      {"entry", program.entry},
      {"target", program.target},
      {"chip", program.chip},
      {"kernels", json::Array(program.kernelNames)},
      {"inputs", toJSON(program.signature.inputs)},
      {"outputs", toJSON(program.signature.outputs)},
      {"schedules", json::Array(program.schedules)},
      {"options", json::Object{{"target", program.options.target},
                               {"schedule", program.options.schedule},
                               {"threads", program.options.threads},
                               {"deterministic", program.options.deterministic},
                               {"measured", program.options.measured}}}};
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(object));
  return text;
}

static bool readMetadata(StringRef text, ProgramFile &program) {
  llvm::Expected<json::Value> value = json::parse(text);
  if (!value) {
    llvm::consumeError(value.takeError());
    return false;
  }
  const json::Object *object = value->getAsObject();
  const json::Object *options = object ? object->getObject("options") : nullptr;
  if (!options)
    return false;
  auto entry = object->getString("entry"), chip = object->getString("chip"),
       target = object->getString("target"),
       wanted = options->getString("target"),
       schedule = options->getString("schedule"),
       measured = options->getString("measured");
  const json::Array *schedules = object->getArray("schedules"),
                    *kernels = object->getArray("kernels");
  auto threads = options->getInteger("threads");
  auto deterministic = options->getBoolean("deterministic");
  if (!entry || !chip || !target || !wanted || !schedules || !kernels ||
      !schedule || !threads || !deterministic ||
      !fromJSON(object->getArray("inputs"), program.signature.inputs) ||
      !fromJSON(object->getArray("outputs"), program.signature.outputs))
    return false;
  for (const json::Value &kernel : *kernels) {
    auto name = kernel.getAsString();
    if (!name)
      return false;
    program.kernelNames.push_back(name->str());
  }
  program.entry = entry->str();
  program.target = target->str();
  program.chip = chip->str();
  program.schedules = *schedules;
  program.options = {wanted->str(),
                     schedule->str(),
                     *threads,
                     *deterministic,
                     measured.value_or("").str(),
                     /*symbolPrefix=*/""};
  return true;
}

//===----------------------------------------------------------------------===//
// Container
//===----------------------------------------------------------------------===//

static std::array<uint8_t, kChecksumSize> getChecksum(StringRef bytes) {
  return llvm::SHA256::hash(llvm::arrayRefFromStringRef(bytes));
}

std::string mlir::omnimoe::serialize(const ProgramFile &program) {
  std::string metadata = writeMetadata(program);
  const StringRef sections[kNumSections] = {
      program.key, metadata, program.source, program.object, program.kernels};
  std::string bytes;
  llvm::raw_string_ostream os(bytes);
  endian::Writer writer(os, llvm::endianness::little);
  os << kMagic;
  writer.write<uint32_t>(kVersion);
  writer.write<uint32_t>(kNumSections);
  for (StringRef section : sections)
    writer.write<uint64_t>(section.size());
  for (StringRef section : sections)
    os << section;
  auto checksum = getChecksum(bytes);
  os << llvm::toStringRef(checksum);
  return bytes;
}

bool mlir::omnimoe::deserialize(StringRef bytes, ProgramFile &program,
                                std::string &message) {
  if (!bytes.starts_with(kMagic)) {
    message = "expected a compiled omnimoe program, got something else";
    return false;
  }
  if (bytes.size() < kHeaderSize + kChecksumSize) {
    message = "truncated program of " + std::to_string(bytes.size()) + " bytes";
    return false;
  }
  uint32_t version = endian::read32le(bytes.data() + 8);
  uint32_t numSections = endian::read32le(bytes.data() + 12);
  if (version != kVersion || numSections != kNumSections) {
    message = "expected version " + std::to_string(kVersion) +
              " of the program format, got version " + std::to_string(version);
    return false;
  }
  StringRef content = bytes.drop_back(kChecksumSize);
  StringRef rest = content.drop_front(kHeaderSize);
  StringRef sections[kNumSections];
  for (uint32_t i = 0; i < kNumSections; ++i) {
    uint64_t size = endian::read64le(bytes.data() + 16 + 8 * i);
    if (size > rest.size()) {
      message = "truncated program: a section of " + std::to_string(size) +
                " bytes, " + std::to_string(rest.size()) + " bytes left";
      return false;
    }
    sections[i] = rest.take_front(size);
    rest = rest.drop_front(size);
  }
  auto checksum = getChecksum(content);
  if (!rest.empty() ||
      llvm::toStringRef(checksum) != bytes.take_back(kChecksumSize)) {
    message = "damaged program: its checksum differs";
    return false;
  }
  if (!readMetadata(sections[1], program)) {
    message = "damaged program: its description is not understood";
    return false;
  }
  program.key = sections[0].str();
  program.source = sections[2].str();
  program.object = sections[3].str();
  program.kernels = sections[4].str();
  return true;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

bool mlir::omnimoe::writeFileAtomically(StringRef path, StringRef bytes,
                                        std::string &message) {
  llvm::SmallString<256> temporary;
  int fd = -1;
  std::error_code error = llvm::sys::fs::createUniqueFile(
      path + ".%%%%%%%%.tmp", fd, temporary, llvm::sys::fs::OF_None,
      llvm::sys::fs::all_read | llvm::sys::fs::owner_write);
  if (!error) {
    llvm::scope_exit remove(
        [&] { llvm::sys::fs::remove(temporary, /*IgnoreNonExisting=*/true); });
    llvm::raw_fd_ostream os(fd, /*shouldClose=*/true);
    os << bytes;
    os.close();
    error = os.error();
    os.clear_error();
    if (!error)
      error = llvm::sys::fs::rename(temporary, path);
    if (!error)
      remove.release();
  }
  if (error)
    message = path.str() + ": cannot be written: " + error.message();
  return !error;
}
