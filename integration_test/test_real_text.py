"""The example runs, reports, and leaves the IR of each stage."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "real_text"


def run(*arguments: str) -> subprocess.CompletedProcess:
    script = str(EXAMPLE / "run.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)


def test_report_and_ir(tmp_path):
    done = run("--tokens", "300", "--output", str(tmp_path / "ir"))
    assert done.returncode == 0, done.stderr
    for part in ("router", "experts", "MLP", "layer", "NumPy", "chosen", "cold", "Experts used"):
        assert part in done.stdout, part
    assert str(tmp_path / "ir") in done.stdout
    stages = " ".join(path.name for path in (tmp_path / "ir").iterdir())
    for stage in ("input", "schedule", "vector", "llvm"):
        assert stage in stages, stages


def test_refuses_more_tokens_than_text():
    done = run("--tokens", "999999999")
    assert done.returncode == 2
    assert "--tokens: expected 1 to" in done.stderr
