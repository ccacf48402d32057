"""The wheel works by itself: installed in a fresh environment, without the
build, the checkout or LLVM's libraries.

utils/package makes it (a second run finds it made); see docs/Testing.md.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PACKAGE = ROOT / "python" / "omnimoe"
MOST_BYTES = 30e6

# Run in the fresh environment; prints where everything came from.
SCRIPT = """
import numpy as np
import omnimoe

rng = np.random.default_rng(0)
normal = lambda *shape: rng.standard_normal(shape, np.float32)
rows, columns = normal(17, 8), normal(17, 6)
scores, ids = omnimoe.route(rows, columns, 5)
sums = (rows[:, :, None] + columns[:, None, :]).reshape(17, 48)
assert (ids == np.argsort(-sums, axis=1, kind="stable")[:, :5]).all()
assert (scores == np.take_along_axis(sums, ids, 1)).all()

x, up, down = normal(17, 33), normal(48, 33), normal(48, 33)
y = omnimoe.experts(x, up, down, scores, ids, activation="relu")
products = np.maximum(np.einsum("td,tkd->tk", x, up[ids]), 0) * scores
expected = np.einsum("tk,tkd->td", products, down[ids])
assert np.linalg.norm(y - expected) < 1e-5 * np.linalg.norm(expected)

program = omnimoe.compile(
    lambda a, b: omnimoe.route(a, b, 5), args=(rows, columns)
)
assert "omnimoe.route" in program.ir("input")
print(omnimoe.__file__)
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "/" in line}), sep="\\n")
"""


def package(*arguments: str) -> None:
    done = subprocess.run(
        [str(ROOT / "utils" / "package"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def tag_of(python: str) -> str:
    code = "import sys; print('cp%d%d' % sys.version_info[:2])"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def wheel_for(python: str) -> Path:
    tag = tag_of(python)
    (found,) = (ROOT / "dist").glob(f"omnimoe-*-{tag}-{tag}-*.whl")
    return found


def contents(wheel: Path) -> dict:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()
        }


def environment(folder: Path, **extra: str) -> dict:
    """Variables for a program that must not see what this process sees."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "OMNIMOE_CACHE_DIR": str(folder / "cache"), **extra}


@pytest.fixture(scope="module")
def wheel() -> Path:
    package()
    return wheel_for(str(ROOT / ".venv" / "bin" / "python"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs Python in an environment that holds the wheel; NumPy and what else
    the examples need is taken from the environment of the tests."""
    if tag_of(sys.executable) not in wheel.name:
        pytest.skip("these tests run in another Python than .venv's, which the wheel is for")
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--no-index", "--no-deps", "-q", str(wheel)], check=True
    )
    # A folder on PYTHONPATH has its .pth files, such as the build's, not read.
    variables = environment(folder, PYTHONPATH=sysconfig.get_paths()["purelib"])

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [python, *arguments], env=variables, cwd=folder, capture_output=True, text=True
        )

    run.folder = folder
    return run


def test_size_and_contents(wheel):
    assert wheel.stat().st_size < MOST_BYTES
    assert "-manylinux_2_" in wheel.name
    names = set(contents(wheel))
    sources = {str(p.relative_to(ROOT / "python")) for p in PACKAGE.rglob("*.py")}
    assert names >= sources | {f"omnimoe/{name}" for name in ("libomnimoe.so", "libomp.so.5", "py.typed")}
    assert sum(name.startswith("omnimoe/_core.") and name.endswith(".so") for name in names) == 1
    assert all(name.startswith("omnimoe") for name in names)


def test_runs_without_the_build(installed):
    done = installed("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    origin, *mapped = done.stdout.splitlines()
    assert origin.startswith(str(installed.folder))
    ours = [path for path in mapped if "omnimoe" in Path(path).name or "_core" in path]
    assert any(path.endswith("libomnimoe.so") for path in ours)
    for path in mapped:
        assert not path.startswith(str(ROOT / "build")), path
        assert "libomp" not in path or path.startswith(str(installed.folder)), path
        assert "libLLVM" not in path and "libMLIR" not in path, path


def test_example_runs_from_the_wheel(installed):
    output = installed.folder / "ir"
    example = ROOT / "examples" / "real_text" / "run.py"
    done = installed(str(example), "--tokens", "100", "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert "Experts used" in done.stdout
    assert any(output.iterdir())


def other_python() -> str:
    """An interpreter of another version that a wheel can be built for."""
    code = "import os, sys, sysconfig, venv, ensurepip; "
    code += "sys.exit(not os.path.exists(sysconfig.get_paths()['include'] + '/Python.h'))"
    mine = "%d.%d" % sys.version_info[:2]
    candidates = [shutil.which(f"python{v}") or "" for v in VERSIONS if v != mine]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        if version != mine:
            candidates += map(str, pyenv.glob(f"{version}.*/bin/python{version}"))
    for python in candidates:
        if python and subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
            return python
    return ""


def test_another_python_over_the_same_library(wheel, tmp_path):
    python = other_python()
    if not python:
        pytest.skip("this machine has one version of Python (3.9 or newer, with headers)")
    package("--python", python)
    other = wheel_for(python)
    mine, theirs = contents(wheel), contents(other)
    assert mine["omnimoe/libomnimoe.so"] == theirs["omnimoe/libomnimoe.so"]
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    fresh = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([fresh, "-m", "pip", "install", "-q", str(other)], check=True)
    done = subprocess.run(
        [fresh, "-c", SCRIPT],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--python"], "--python: expected an interpreter"),
        (["--python", "/nowhere/python"], "there is no '/nowhere/python'"),
        (["--python", "/bin/false"], "'/bin/false' is not usable"),
        (["--nonsense"], "unknown argument '--nonsense'"),
    ],
)
def test_package_refuses(arguments, message):
    done = subprocess.run(
        [str(ROOT / "utils" / "package"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""
