//===- Executable.cpp - Executables of the C API --------------------------===//

#include "Executable.h"

#include "Support.h"
#include "omnimoe/Runtime/GPULaunch.h"
#include "omnimoe/Target/Compiler.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include <chrono>

using namespace mlir::omnimoe;
using llvm::StringRef;
namespace json = llvm::json;

void omnimoe_executable_destroy(OmniMoeExecutable *executable) {
  delete executable;
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

OmniMoeStatus omnimoe_executable_save(const OmniMoeExecutable *executable,
                                      const char *path) {
  if (!executable)
    return capi::failOnNull("executable");
  if (!path)
    return capi::failOnNull("path");
  std::string message;
  if (!writeFileAtomically(path, serialize(executable->getProgram().file),
                           message))
    return capi::fail(OMNIMOE_IO_ERROR, "path: " + message);
  return OMNIMOE_OK;
}

OmniMoeStatus omnimoe_executable_load(const char *path,
                                      OmniMoeExecutable **executable) {
  if (!path)
    return capi::failOnNull("path");
  if (!executable)
    return capi::failOnNull("executable");
  *executable = nullptr;
  auto start = std::chrono::steady_clock::now();
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false,
                                            /*IsVolatile=*/true);
  if (!buffer)
    return capi::fail(OMNIMOE_IO_ERROR,
                      std::string("path: ") + path +
                          " cannot be read: " + buffer.getError().message());
  ProgramFile file;
  std::string message;
  if (!deserialize((*buffer)->getBuffer(), file, message))
    return capi::fail(OMNIMOE_IO_ERROR,
                      std::string("path: ") + path + ": " + message);
  LoadResult result;
  if (OmniMoeStatus status = loadProgram(std::move(file), result, message))
    return capi::fail(status, message);
  std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  *executable = new OmniMoeExecutable{std::move(result), elapsed.count()};
  return OMNIMOE_OK;
}

//===----------------------------------------------------------------------===//
// Description
//===----------------------------------------------------------------------===//

OmniMoeStatus omnimoe_executable_info(const OmniMoeExecutable *executable,
                                      OmniMoeString *json) {
  if (!executable)
    return capi::failOnNull("executable");
  if (!json)
    return capi::failOnNull("json");
  const ProgramFile &file = executable->getProgram().file;
  json::Object info{{"entry", file.entry},
                    {"target", file.target},
                    {"chip", file.chip},
                    {"key", file.key},
                    {"inputs", toJSON(file.signature.inputs)},
                    {"outputs", toJSON(file.signature.outputs)},
                    {"schedules", json::Array(file.schedules)},
                    {"cached", executable->result.cached},
                    {"compile_seconds", executable->seconds}};
  if (!executable->result.cacheMessage.empty())
    info["cache_error"] = executable->result.cacheMessage;
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(info));
  return capi::give(text, json);
}

OmniMoeStatus omnimoe_executable_ir(const OmniMoeExecutable *executable,
                                    const char *stage, OmniMoeString *text) {
  if (!executable)
    return capi::failOnNull("executable");
  if (!stage)
    return capi::failOnNull("stage");
  if (!text)
    return capi::failOnNull("text");
  const ProgramFile &file = executable->getProgram().file;
  CompileOptions options = file.options;
  options.target = file.target;
  std::string shown, message;
  if (OmniMoeStatus status =
          getStageText(file.source, options, stage, shown, message))
    return capi::fail(status, message);
  return capi::give(shown, text);
}

//===----------------------------------------------------------------------===//
// Invocation
//===----------------------------------------------------------------------===//

OmniMoeStatus
omnimoe_executable_workspace_size(const OmniMoeExecutable *executable,
                                  int64_t tokens, int64_t *bytes) {
  if (!executable)
    return capi::failOnNull("executable");
  if (!bytes)
    return capi::failOnNull("bytes");
  if (tokens < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "tokens: expected 0 or more, got " +
                          std::to_string(tokens));
  int64_t size =
      executable->getProgram().code->getEntryPoints().workspaceSize(tokens);
  if (size < 0)
    return capi::fail(OMNIMOE_SHAPE_ERROR,
                      "tokens: " + std::to_string(tokens) +
                          " need a workspace of more than 2^63 bytes");
  *bytes = size;
  return OMNIMOE_OK;
}

OmniMoeStatus omnimoe_executable_invoke(const OmniMoeExecutable *executable,
                                        const OmniMoeTensor *tensors,
                                        size_t num_tensors, void *workspace,
                                        int64_t workspace_bytes, void *stream) {
  if (!executable)
    return capi::failOnNull("executable");
  const LoadedProgram &program = executable->getProgram();
  const runtime::Signature &signature = program.file.signature;
  const runtime::EntryPoints &entryPoints = program.code->getEntryPoints();
  if (stream && !program.kernels)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "stream: expected null for a program compiled for "
                      "\"cpu\", got a stream");
  std::string message;
  OmniMoeStatus status =
      program.kernels
          ? runtime::launchOnGPU(signature, entryPoints, *program.kernels,
                                 tensors, num_tensors, workspace,
                                 workspace_bytes, stream, message)
          : runtime::launch(signature, entryPoints, tensors, num_tensors,
                            workspace, workspace_bytes, message);
  return status ? capi::fail(status, std::move(message)) : OMNIMOE_OK;
}
