"""The examples of README.md do what it says."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import omnimoe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def omni_opt() -> str:
    """The tool of the build that the package comes from."""
    build = Path(omnimoe.__file__).parents[2]
    found = shutil.which("omni-opt", path=os.pathsep.join([str(build / "bin"), os.environ["PATH"]]))
    assert found, f"omni-opt is neither in {build}/bin nor in PATH"
    return found


def test_python_examples_run_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMOE_CACHE_DIR", str(tmp_path))  # they tune
    # `omnimoe.jit` asks for nothing that only a file has, so exec will do.
    names = {}
    for block in blocks("python"):
        if "import torch" in block and not importlib.util.find_spec("torch"):
            continue
        exec(compile(block, "README.md", "exec"), names)
    assert names["y"].shape == (names["T"], names["D"])
    assert names["experts"].dtype == "int32"


@pytest.mark.parametrize("flag", ["--omnimoe-select-schedule", "--omnimoe-to-llvm"])
def test_omni_opt_example(tmp_path, flag):
    (program,) = blocks("mlir")
    path = tmp_path / "routed.mlir"
    path.write_text(program, encoding="utf-8")
    assert f"routed.mlir {flag}" in README
    done = subprocess.run([omni_opt(), str(path), flag], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = "omnimoe.schedule" if "select" in flag else "llvm.func"
    assert expected in done.stdout


@pytest.mark.parametrize("options", ["-o routed.o --header=routed.h", "-o routed.ptx --target=sm_90a"])
def test_omni_compile_example(tmp_path, options):
    (program,) = blocks("mlir")
    (tmp_path / "routed.mlir").write_text(program, encoding="utf-8")
    assert f"omni-compile routed.mlir {options}" in README
    tool = Path(omni_opt()).with_name("omni-compile")
    command = [str(tool), "routed.mlir", *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / options.split()[1]).stat().st_size > 0


def test_every_public_function_of_the_table_exists():
    table = README.split("## Public functions")[1].split("##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [name for cell in cells for name in re.findall(r"`(\w+)", cell)]
    names = [name for name in names if not name.isupper() and "OMNIMOE_" not in name]
    assert len(names) >= 12
    missing = [name for name in names if not hasattr(omnimoe, name)]
    assert not missing


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
