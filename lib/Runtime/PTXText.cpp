//===- PTXText.cpp - What a text of PTX says of itself --------------------===//

#include "omnimoe/Runtime/PTXText.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace mlir::omnimoe::runtime;

//===----------------------------------------------------------------------===//
// Splitting
//===----------------------------------------------------------------------===//

static bool startsWith(const std::string &text, size_t place,
                       const char *prefix) {
  return text.compare(place, std::strlen(prefix), prefix) == 0;
}

/// Calls `see` with the begin and the end of each line, its break included.
template <typename See>
static void forEachLine(const std::string &text, See see) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    end = end == std::string::npos ? text.size() : end + 1;
    see(begin, end);
    begin = end;
  }
}

/// The texts of `ptx`, each with one `.version`.
static std::vector<std::string> splitModules(const std::string &ptx) {
  std::vector<std::string> texts;
  size_t begin = 0;
  bool hasVersion = false;
  forEachLine(ptx, [&](size_t line, size_t) {
    if (!startsWith(ptx, line, ".version "))
      return;
    if (hasVersion) {
      texts.push_back(ptx.substr(begin, line - begin));
      begin = line;
    }
    hasVersion = true;
  });
  if (hasVersion)
    texts.push_back(ptx.substr(begin));
  return texts;
}

/// Braces opened in a line of PTX less those closed, comments apart.
static int countBraces(const std::string &text, size_t begin, size_t end) {
  int depth = 0;
  for (size_t i = begin; i < end && !startsWith(text, i, "//"); ++i)
    depth += (text[i] == '{') - (text[i] == '}');
  return depth;
}

/// A kernel goes from a line with `.entry` to the end of the body after it.
static void splitKernels(const std::string &text,
                         std::vector<std::string> &texts) {
  std::string rest;
  std::vector<std::string> kernels;
  bool inKernel = false, inBody = false;
  int depth = 0;
  forEachLine(text, [&](size_t begin, size_t end) {
    if (!inKernel && (startsWith(text, begin, ".visible .entry ") ||
                      startsWith(text, begin, ".entry "))) {
      inKernel = true;
      kernels.emplace_back();
    }
    (inKernel ? kernels.back() : rest).append(text, begin, end - begin);
    depth += countBraces(text, begin, end);
    inBody = inKernel && (inBody || depth > 0);
    if (inBody && depth == 0)
      inKernel = inBody = false;
  });
  if (kernels.size() < 2 || inKernel) {
    texts.push_back(text);
    return;
  }
  for (std::string &kernel : kernels)
    texts.push_back(rest + kernel);
}

std::vector<std::string>
mlir::omnimoe::runtime::splitPTX(const std::string &ptx) {
  std::vector<std::string> texts;
  for (const std::string &text : splitModules(ptx))
    splitKernels(text, texts);
  return texts;
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// The size of the parameter that `.param .u64 .ptr .align 8 name` or
/// `.param .align 64 .b8 name[128]` declares; 0 if its type is not known.
static size_t getParameterBytes(const std::string &declaration) {
  static constexpr struct {
    const char *bits;
    size_t bytes;
  } sizes[] = {{"8", 1}, {"16", 2}, {"32", 4}, {"64", 8}, {"128", 16}};
  size_t bytes = 0;
  for (size_t dot = declaration.find('.'); dot != std::string::npos;
       dot = declaration.find('.', dot + 1)) {
    size_t end = std::min(declaration.find_first_of(" \t\n.", dot + 1),
                          declaration.size());
    std::string type = declaration.substr(dot + 1, end - dot - 1);
    if (type.empty() || !std::strchr("busf", type[0]))
      continue;
    for (auto size : sizes)
      if (type.compare(1, std::string::npos, size.bits) == 0)
        bytes = size.bytes;
  }
  size_t bracket = declaration.find('[');
  return bracket == std::string::npos
             ? bytes
             : bytes * std::strtoul(&declaration[bracket + 1], nullptr, 10);
}

std::vector<PTXKernel>
mlir::omnimoe::runtime::findPTXKernels(const std::string &text) {
  static constexpr char kEntry[] = ".entry ";
  std::vector<PTXKernel> kernels;
  for (size_t entry = text.find(kEntry); entry != std::string::npos;
       entry = text.find(kEntry, entry + 1)) {
    size_t line = text.rfind('\n', entry) + 1; // 0 in the first line
    if (text.substr(line, entry - line).find("//") != std::string::npos)
      continue;
    size_t name = entry + std::strlen(kEntry);
    size_t open = text.find_first_of("(\n", name);
    PTXKernel &kernel = kernels.emplace_back();
    kernel.name = text.substr(name, open - name);
    // Parameters are parted by commas, of which declarations have none.
    size_t close = open < text.size() && text[open] == '('
                       ? std::min(text.find(')', open), text.size())
                       : open;
    for (size_t begin = open; begin < close;) {
      size_t end = std::min(text.find(',', begin + 1), close);
      if (text.find(".param", begin) < end) {
        size_t bytes = getParameterBytes(text.substr(begin, end - begin));
        kernel.parameterBytes.push_back(bytes);
        kernel.parametersKnown &= bytes > 0;
      }
      begin = end;
    }
  }
  return kernels;
}

//===----------------------------------------------------------------------===//
// Other properties
//===----------------------------------------------------------------------===//

int32_t mlir::omnimoe::runtime::getPTXVersion(const std::string &text) {
  int major = 0, minor = 0;
  size_t place = text.find(".version ");
  if (place == std::string::npos ||
      std::sscanf(text.c_str() + place, ".version %d.%d", &major, &minor) != 2)
    return 0;
  return 10 * major + minor;
}
