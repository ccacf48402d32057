//===- CHeader.cpp - C header of a program compiled ahead of time ---------===//

#include "omnimoe/Target/CHeader.h"

#include "omnimoe/Config.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::omnimoe;
using llvm::StringRef;

/// C has no type for f16 and bf16 that all compilers know: their bits it is.
static StringRef getCType(OmniMoeType type) {
  switch (type) {
  case OMNIMOE_F32:
    return "float";
  case OMNIMOE_I32:
    return "int32_t";
  case OMNIMOE_F16:
  case OMNIMOE_BF16:
    return "uint16_t";
  }
  llvm_unreachable("all types of a signature are known");
}

/// A name that C takes as an identifier.
static std::string toIdentifier(StringRef name) {
  std::string result;
  for (char c : name)
    result += llvm::isAlnum(c) || c == '_' ? c : '_';
  if (result.empty() || llvm::isDigit(result.front()))
    result.insert(0, "_");
  return result;
}

/// Names of the parameters, made different where the signature's are not.
static std::vector<std::string>
getParameterNames(const runtime::Signature &signature) {
  std::vector<std::string> names;
  for (size_t i = 0; i < signature.size(); ++i) {
    std::string name = toIdentifier(signature[i].name);
    static constexpr StringRef taken[] = {"tokens", "workspace",
                                          "workspace_bytes", "descriptors"};
    if (llvm::is_contained(names, name) || llvm::is_contained(taken, name))
      name += "_" + std::to_string(i);
    names.push_back(std::move(name));
  }
  return names;
}

static std::string getSize(int64_t size) {
  return size == runtime::kTokens ? "tokens" : std::to_string(size);
}

static void writeShape(const runtime::TensorSpec &spec, llvm::raw_ostream &os) {
  os << runtime::getTypeName(spec.type) << " [";
  llvm::interleaveComma(spec.shape, os,
                        [&](int64_t size) { os << getSize(size); });
  os << "]";
}

/// The words of a row-major descriptor: the pointer twice, the offset, the
/// sizes, the strides.
static void writeDescriptor(const runtime::TensorSpec &spec, StringRef name,
                            llvm::raw_ostream &os) {
  os << "  int64_t " << name << "_words[] = {(int64_t)(intptr_t)" << name
     << ", (int64_t)(intptr_t)" << name << ", 0";
  for (int64_t size : spec.shape)
    os << ", " << getSize(size);
  // Only the leading size can be T, so that strides are constants.
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    int64_t stride = 1;
    for (size_t j = i + 1; j < spec.shape.size(); ++j)
      stride *= spec.shape[j];
    os << ", " << stride;
  }
  os << "};\n";
}

std::string mlir::omnimoe::writeCHeader(const ProgramFile &program,
                                        StringRef prefix) {
  const runtime::Signature &signature = program.signature;
  std::vector<std::string> names = getParameterNames(signature);
  std::string guard = llvm::StringRef(toIdentifier(prefix)).upper() + "_H";

  std::string text;
  llvm::raw_string_ostream os(text);
  os << "/* " << program.entry << ": compiled by omnimoe " << OMNIMOE_VERSION
     << " for " << program.chip << ". Link with -lomp. */\n\n"
     << "#ifndef " << guard << "\n#define " << guard << "\n\n"
     << "#include <stdint.h>\n\n"
     << "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
     << "/* Bytes of workspace that a run on `tokens` tokens needs. */\n"
     << "int64_t " << prefix << "_workspace_size(int64_t tokens);\n\n"
     << "/* Takes pointers to memref descriptors: inputs, outputs, workspace. "
        "*/\n"
     << "void " << prefix << "_invoke(void *const *descriptors);\n\n"
     << "/* All arrays are row-major; nothing is checked. `workspace` starts "
        "at "
        "a multiple\n   of "
     << runtime::kWorkspaceAlignment << " bytes.\n";
  for (size_t i = 0; i < signature.size(); ++i) {
    os << "     " << names[i] << ": ";
    writeShape(signature[i], os);
    os << "\n";
  }
  os << "*/\nstatic inline void " << prefix << "_run(int64_t tokens";
  for (size_t i = 0; i < signature.size(); ++i)
    os << ", " << (i < signature.inputs.size() ? "const " : "")
       << getCType(signature[i].type) << " *" << names[i];
  os << ", void *workspace) {\n";
  for (size_t i = 0; i < signature.size(); ++i)
    writeDescriptor(signature[i], names[i], os);
  os << "  int64_t workspace_bytes = " << prefix << "_workspace_size(tokens);\n"
     << "  int64_t workspace_words[] = {(int64_t)(intptr_t)workspace, "
        "(int64_t)(intptr_t)workspace, 0, workspace_bytes, 1};\n"
     << "  void *descriptors[] = {";
  for (const std::string &name : names)
    os << name << "_words, ";
  os << "workspace_words};\n  (void)tokens;\n  " << prefix
     << "_invoke(descriptors);\n}\n\n"
     << "#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
  return text;
}
