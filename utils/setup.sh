# shellcheck shell=bash
# Sets up a checkout: system packages, the Python environment, the build.
# Sourced by utils/quickstart and utils/test, which call `setup_checkout`.
#
# Every step first looks whether there is anything to do, so a second run
# changes nothing and asks no network. Output of the tools goes to build/logs.

OMNIMOE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OMNIMOE_LOGS=$OMNIMOE_ROOT/build/logs
VENV=$OMNIMOE_ROOT/.venv
VENV_PYTHON=$VENV/bin/python
LLVM_VERSION=22

# What the build and the tests need of Debian 12.
DEBIAN_PACKAGES=(
  "clang-$LLVM_VERSION" "lld-$LLVM_VERSION" "llvm-$LLVM_VERSION-dev"
  "llvm-$LLVM_VERSION-tools" "libmlir-$LLVM_VERSION-dev"
  "mlir-$LLVM_VERSION-tools" "libomp-$LLVM_VERSION-dev"
  "libclang-rt-$LLVM_VERSION-dev" cmake ninja-build ccache libzstd-dev
  zlib1g-dev g++ git python3 python3-venv python3-dev
)

#===------------------------------------------------------------------------===
# Steps and their output
#===------------------------------------------------------------------------===

STEP=0
STEPS=0

fail() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# begin_step TITLE: remembers when the step began; end_step NOTE says how it went.
begin_step() {
  STEP=$((STEP + 1))
  STEP_TITLE=$1
  STEP_BEGAN=$(now_us)
}

end_step() {
  local tenths=$((($(now_us) - STEP_BEGAN) / 100000))
  printf '[%d/%d] %s: %s (%d.%d s)\n' \
    "$STEP" "$STEPS" "$STEP_TITLE" "$1" $((tenths / 10)) $((tenths % 10))
}

# The head of a step that takes a while or prints something of its own.
announce() {
  printf '[%d/%d] %s: %s\n' "$STEP" "$STEPS" "$STEP_TITLE" "$1"
}

# Shows the newest line of standard input: on a terminal from the first second
# on, each line over the one before, elsewhere every 20 seconds. A heading given
# stands before the first, so what is done at once prints nothing.
show_progress() {
  local heading=${1:-} line='' newest='' status began=$SECONDS shown=$SECONDS columns
  columns=$(($(tput cols 2>/dev/null || echo 80) - 8))
  while true; do
    status=0
    IFS= read -r -t 5 line || status=$?
    [ -n "$line" ] && newest=$line
    # Above 128: nothing came for five seconds. Else a failure is the end.
    [ "$status" -gt 0 ] && [ "$status" -le 128 ] && break
    if [ -t 1 ]; then
      [ $((SECONDS - began)) -ge 1 ] || continue
    else
      [ $((SECONDS - shown)) -ge 20 ] || continue
    fi
    if [ -n "$heading" ]; then announce "$heading"; fi
    heading=''
    shown=$SECONDS
    if [ -t 1 ]; then
      printf '\r\033[K      %s' "${newest:0:columns}"
    else
      printf '      %s\n' "${newest:0:100}"
    fi
  done
  if [ -t 1 ]; then printf '\r\033[K'; fi
}

# try_logged NAME COMMAND...: runs it with its output in build/logs/NAME.log.
try_logged() {
  local log=$OMNIMOE_LOGS/$1.log
  shift
  mkdir -p "$OMNIMOE_LOGS"
  "$@" </dev/null 2>&1 | tee "$log" | show_progress "${HEADING:-}"
}

# The same; a failure shows the end of the log and is final.
run_logged() {
  if ! try_logged "$@"; then
    tail -n 40 "$OMNIMOE_LOGS/$1.log" >&2
    fail "$STEP_TITLE failed: ${*:2} (whole log: build/logs/$1.log)"
  fi
}

#===------------------------------------------------------------------------===
# System packages
#===------------------------------------------------------------------------===

is_debian_12() {
  [ -r /etc/os-release ] && command -v apt-get >/dev/null &&
    grep -qx 'ID=debian' /etc/os-release &&
    grep -qxE 'VERSION_ID="?12"?' /etc/os-release
}

missing_packages() {
  local package
  for package in "${DEBIAN_PACKAGES[@]}"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null |
      grep -q '^.i ' || echo "$package"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env "$@"
  else
    sudo env "$@"
  fi
}

install_packages() {
  local packages=("$@")
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "these packages are missing, and installing them needs root or sudo:" \
      "apt-get install ${packages[*]}"
  fi
  announce "installing ${packages[*]}"
  # A source that cannot be reached need not be one that we use: the install
  # below is what decides.
  try_logged apt-update as_root apt-get update || true
  if ! try_logged apt-install as_root DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${packages[@]}"; then
    tail -n 20 "$OMNIMOE_LOGS/apt-install.log" >&2
    fail "apt-get could not install: ${packages[*]}. LLVM $LLVM_VERSION is part of" \
      "Debian 12's main and security suites: see that both stand in your apt" \
      "sources, or add LLVM's own apt repository for bookworm, and run this again"
  fi
}

# On another system: names what is missing and how to get it.
require_tools() {
  local missing=() tool prefix=''
  for tool in "clang-$LLVM_VERSION" "ld.lld-$LLVM_VERSION" "llvm-config-$LLVM_VERSION" \
    cmake ninja git; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if command -v "llvm-config-$LLVM_VERSION" >/dev/null; then
    prefix=$("llvm-config-$LLVM_VERSION" --prefix)
    [ -e "$prefix/lib/cmake/mlir/MLIRConfig.cmake" ] ||
      missing+=("MLIR $LLVM_VERSION's headers and libraries")
    [ -e "$prefix/bin/FileCheck" ] || missing+=("LLVM $LLVM_VERSION's FileCheck")
  fi
  find_python >/dev/null || missing+=("Python 3.9 or newer with venv and headers")
  [ ${#missing[@]} = 0 ] && return
  {
    echo
    echo "error: this is not Debian 12, so nothing was installed. Missing:"
    printf '  - %s\n' "${missing[@]}"
    echo "How to get them:"
    echo "  - Debian 12 in a container or virtual machine: run this script there;"
    echo "  - Debian or Ubuntu of another release: add LLVM's own apt repository for"
    echo "    LLVM $LLVM_VERSION, then, as root: apt-get install ${DEBIAN_PACKAGES[*]}"
    echo "  - elsewhere: LLVM and MLIR $LLVM_VERSION.1 (shared libraries, clang, lld and"
    echo "    OpenMP included) with tools named like clang-$LLVM_VERSION, and the"
    echo "    rest from the system's package manager."
  } >&2
  exit 1
}

setup_packages() {
  begin_step "System packages"
  if ! is_debian_12; then
    require_tools
    end_step "not Debian 12, but everything needed is there"
    return
  fi
  local packages
  mapfile -t packages < <(missing_packages)
  if [ ${#packages[@]} = 0 ]; then
    end_step "all present"
  else
    install_packages "${packages[@]}"
    end_step "installed ${#packages[@]}"
  fi
}

#===------------------------------------------------------------------------===
# Python environment
#===------------------------------------------------------------------------===

python_is_usable() {
  "$1" - <<'PY' >/dev/null 2>&1
import ensurepip, pathlib, sys, sysconfig, venv
header = pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h"
sys.exit(not (sys.version_info >= (3, 9) and header.exists()))
PY
}

# The interpreter to build for: PYTHON if set, on Debian the system's own.
find_python() {
  local candidate candidates=(python3 /usr/bin/python3)
  if [ -n "${PYTHON:-}" ]; then
    candidates=("$PYTHON")
  elif is_debian_12; then
    candidates=(/usr/bin/python3)
  fi
  for candidate in "${candidates[@]}"; do
    if command -v "$candidate" >/dev/null && python_is_usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# requirements_differ NAME: whether utils/NAME.txt is not what was installed last.
requirements_differ() {
  ! cmp -s "$OMNIMOE_ROOT/utils/$1.txt" "$VENV/installed-$1.txt"
}

# install_requirements NAME: false if pip could not.
install_requirements() {
  try_logged "pip-$1" "$VENV_PYTHON" -m pip install --disable-pip-version-check \
    --progress-bar off -r "$OMNIMOE_ROOT/utils/$1.txt" || return 1
  cp "$OMNIMOE_ROOT/utils/$1.txt" "$VENV/installed-$1.txt"
}

# Puts the package that the build folder holds on the environment's path.
link_package() {
  local site
  site=$("$VENV_PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  if [ "$(cat "$site/omnimoe.pth" 2>/dev/null)" != "$OMNIMOE_ROOT/build/python" ]; then
    echo "$OMNIMOE_ROOT/build/python" >"$site/omnimoe.pth"
  fi
}

# setup_python NAME...: the environment with the requirements of these names.
# Those named "...-optional" may fail: what needs them is skipped.
setup_python() {
  begin_step "Python environment"
  local name python done_notes=()
  if ! [ -x "$VENV_PYTHON" ] || ! "$VENV_PYTHON" -c 'import pip' 2>/dev/null; then
    python=$(find_python) ||
      fail "no usable Python: 3.9 or newer with venv and headers is needed" \
        "(${PYTHON:-python3} is not; set PYTHON to one that is)"
    announce "creating .venv with $("$python" --version)"
    run_logged venv "$python" -m venv --clear "$VENV"
    done_notes+=("created .venv")
  fi
  for name in "$@"; do
    requirements_differ "$name" || continue
    announce "installing $(grep -vE '^(#|$)' "$OMNIMOE_ROOT/utils/$name.txt" | tr '\n' ' ')"
    if install_requirements "$name"; then
      done_notes+=("installed $name")
    elif [[ $name == *-optional ]]; then
      tail -n 3 "$OMNIMOE_LOGS/pip-$name.log" >&2
      done_notes+=("could not install $name on this platform, going on without it")
    else
      tail -n 20 "$OMNIMOE_LOGS/pip-$name.log" >&2
      fail "pip could not install utils/$name.txt (whole log: build/logs/pip-$name.log)"
    fi
  done
  link_package
  if [ ${#done_notes[@]} = 0 ]; then
    end_step "up to date"
  else
    local note
    note=$(printf ', %s' "${done_notes[@]}")
    end_step "${note:2}"
  fi
}

#===------------------------------------------------------------------------===
# Build
#===------------------------------------------------------------------------===

# setup_build PRESET DIRECTORY [CMAKE_OPTION...]: configures where the preset or
# the options changed (ninja itself sees changed CMake files), then builds
# NINJA_TARGETS, by default everything.
setup_build() {
  local preset=$1 directory=$2 wanted
  shift 2
  wanted=$(printf '%s\n' "$preset" "$VENV_PYTHON" "$@" && cat "$OMNIMOE_ROOT/CMakePresets.json")
  begin_step "Configure"
  if [ -e "$directory/build.ninja" ] && [ "$wanted" = "$(cat "$directory/configured" 2>/dev/null)" ]; then
    end_step "up to date"
  else
    announce "cmake --preset $preset"
    # CMake does not take other compilers over an old cache; objects stay.
    rm -rf "$directory/CMakeCache.txt" "$directory/CMakeFiles"
    run_logged "configure-$(basename "$directory")" cmake -S "$OMNIMOE_ROOT" \
      --preset "$preset" -B "$directory" "-DPython_EXECUTABLE=$VENV_PYTHON" \
      "-DCMAKE_PREFIX_PATH=$("llvm-config-$LLVM_VERSION" --prefix)" "$@"
    printf '%s\n' "$wanted" >"$directory/configured"
    end_step "done"
  fi

  begin_step "Build"
  local name
  name=build-$(basename "$directory")
  HEADING="ninja with $(nproc) jobs" NINJA_STATUS='[%f of %t, %es] ' \
    run_logged "$name" ninja -C "$directory" -j "$(nproc)" ${NINJA_TARGETS:-}
  if [ "$(tail -n 1 "$OMNIMOE_LOGS/$name.log")" = "ninja: no work to do." ]; then
    end_step "up to date"
  else
    end_step "done"
  fi
}

# Whether NVIDIA's driver is there for programs to use.
has_nvidia_driver() {
  local python
  python=$(find_python) || return 1
  "$python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null
}

# What no step can do without; before anything newer than POSIX is used.
check_platform() {
  [ "$(uname -s)" = Linux ] ||
    fail "omnimoe builds on Linux, this is $(uname -s): run it in a Debian 12 container or virtual machine"
  [ -n "${EPOCHREALTIME:-}" ] || fail "bash 5 or newer is needed, this is $BASH_VERSION"
}
