"""Test suite of omnimoe: every .mlir and .test file with RUN lines."""

import os
import shutil

import lit.formats

config.name = "omnimoe"
config.test_format = lit.formats.ShTest(execute_external=False)
# The statically linked build has no omni-opt, which the .mlir tests use.
config.suffixes = [".test"] if config.omnimoe_static else [".mlir", ".test"]
config.excludes = ["Inputs", "python"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.omnimoe_binary_dir, "test")

# omni-opt and the other tools of the build, then FileCheck, not, ...
tool_dirs = [os.path.join(config.omnimoe_binary_dir, "bin"), config.llvm_tools_dir]
config.environment["PATH"] = os.pathsep.join(
    tool_dirs + [config.environment.get("PATH", "")]
)
for variable in ("HOME", "OMP_NUM_THREADS", "OMNIMOE_NUM_THREADS", "TMPDIR"):
    if variable in os.environ:
        config.environment[variable] = os.environ[variable]

if config.omnimoe_sanitize:
    config.available_features.add("sanitize")
    # LLVM is not instrumented, so what it hands over may look poisoned, and
    # what it keeps for the life of the process may look leaked.
    config.environment["ASAN_OPTIONS"] = "allow_user_poisoning=0:detect_leaks=0"
    config.environment["UBSAN_OPTIONS"] = "print_stacktrace=1"

# PTX can be checked without a GPU where CUDA's assembler is installed.
ptxas = shutil.which("ptxas")
if ptxas:
    config.available_features.add("ptxas")
    config.substitutions.append(("%ptxas", ptxas))

# A driver for machines without a GPU, which keeps the rules and runs nothing.
fake_cuda = os.path.join(config.test_exec_root, "Runtime", "libomnimoe-fake-cuda.so")
config.substitutions.append(("%fake_cuda", fake_cuda))

# A C compiler and where libomp lies, for objects compiled ahead of time.
config.substitutions.append(("%cc", config.c_compiler))
config.substitutions.append(("%llvm_lib", config.llvm_lib_dir))
config.substitutions.append(("%omnimoe_lib", os.path.join(config.omnimoe_binary_dir, "lib")))
config.substitutions.append(("%omnimoe_src", config.omnimoe_source_dir))
