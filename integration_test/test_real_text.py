"""The example runs, reports, and leaves the IR of each stage."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "real_text"


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, str(EXAMPLE / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_report_and_ir(tmp_path):
    done = run("--tokens", "300", "--device", "cpu", "--output", str(tmp_path / "ir"))
    assert done.returncode == 0, done.stderr
    for part in ("router", "experts", "MLP", "layer", "NumPy", "chosen", "cold", "Experts used"):
        assert part in done.stdout, part
    assert str(tmp_path / "ir") in done.stdout
    stages = " ".join(path.name for path in (tmp_path / "ir").iterdir())
    for stage in ("input", "schedule", "vector", "llvm"):
        assert stage in stages, stages


def test_says_why_it_is_not_on_a_gpu(tmp_path):
    environment = {**os.environ, "OMNIMOE_CUDA_DRIVER": str(tmp_path / "none")}
    arguments = ("--tokens", "20", "--output", str(tmp_path / "ir"))
    done = run(*arguments, env=environment)
    assert done.returncode == 0, done.stderr
    assert "on the CPU: " in done.stdout
    done = run(*arguments, "--device", "gpu", env=environment)
    assert done.returncode == 1
    assert "--device gpu: " in done.stderr and "driver" in done.stderr


def test_refuses_more_tokens_than_text():
    done = run("--tokens", "999999999")
    assert done.returncode == 2
    assert "--tokens: expected 1 to" in done.stderr
