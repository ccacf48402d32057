"""The scripts in utils/ and benchmarks/: arguments, and how results are summed up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LIT = """<testsuites><testsuite name="omnimoe">
<testcase classname="omnimoe.IR" name="ops.mlir"/>
<testcase classname="omnimoe.IR" name="ptx.mlir"><skipped message="Missing required feature"/>
</testcase>
<testcase classname="omnimoe.IR" name="other.mlir">
<skipped message="Test not selected (--filter, --max-tests)"/></testcase>
</testsuite></testsuites>"""

FAILING = """<testsuites><testsuite name="pytest">
<testcase classname="test_route" name="test_ties"><failure message="no">x</failure></testcase>
<testcase classname="test_route" name="test_nan"/></testsuite></testsuites>"""


def sum_up(folder: Path, *runners: str) -> subprocess.CompletedProcess:
    script = str(ROOT / "utils" / "sum_up_tests.py")
    return subprocess.run(
        [sys.executable, script, str(folder), *runners], capture_output=True, text=True
    )


def last_line(done: subprocess.CompletedProcess) -> str:
    return done.stdout.splitlines()[-1]


def test_sum_of_two_runners(tmp_path):
    (tmp_path / "lit.xml").write_text(LIT)
    (tmp_path / "pytest.xml").write_text(FAILING)
    done = sum_up(tmp_path, "lit=0", "pytest=1")
    assert done.returncode == 1
    assert last_line(done) == "2 passed, 1 failed, 1 skipped"
    assert "FAILED test_route::test_ties" in done.stdout


def test_all_passed(tmp_path):
    (tmp_path / "lit.xml").write_text(LIT)
    done = sum_up(tmp_path, "lit=0")
    assert done.returncode == 0
    assert last_line(done) == "1 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize("content", [None, "<testsuites>", "<testsuites/>"])
def test_a_runner_that_broke_down_is_a_failure(tmp_path, content):
    if content is not None:
        (tmp_path / "pytest.xml").write_text(content)
    done = sum_up(tmp_path, "pytest=139")
    assert done.returncode == 1
    assert last_line(done) == "0 passed, 1 failed, 0 skipped"


def test_no_test_is_no_success(tmp_path):
    (tmp_path / "lit.xml").write_text("<testsuites/>")
    assert sum_up(tmp_path, "lit=0").returncode == 1


@pytest.mark.parametrize("script", ["utils/quickstart", "utils/test"])
def test_unknown_arguments_are_refused_before_anything_is_done(script):
    done = subprocess.run([str(ROOT / script), "--nonsense"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "--nonsense" in done.stderr
    assert done.stdout == ""


def test_benchmark_refuses_an_unknown_section():
    script = str(ROOT / "benchmarks" / "cpu.py")
    done = subprocess.run(
        [sys.executable, script, "--only", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "unknown section 'nonsense'" in done.stderr


def gpu_benchmark(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Where the CUDA driver cannot be found."""
    environment = {**os.environ, "OMNIMOE_CUDA_DRIVER": str(folder / "none")}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_gpu_benchmark_says_what_is_missing(tmp_path):
    done = gpu_benchmark(tmp_path)
    assert done.returncode == 2
    assert "gpu.py: there is no GPU to measure on: " in done.stderr
    assert "driver" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--beside", "nonsense"], "unknown name 'nonsense'"),
        (["--peers", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_gpu_benchmark_refuses(tmp_path, arguments, message):
    done = gpu_benchmark(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_sanitize_gpu_refuses():
    script = str(ROOT / "utils" / "sanitize-gpu")
    done = subprocess.run([script, "--nonsense"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "unknown argument '--nonsense'" in done.stderr


def test_tuning_benchmark_says_what_is_missing(tmp_path):
    environment = {**os.environ, "OMNIMOE_CUDA_DRIVER": str(tmp_path / "none")}
    command = [sys.executable, str(ROOT / "benchmarks" / "tune.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "tune.py: there is no GPU to measure on: " in done.stderr


def test_tuning_benchmark_sums_up(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from benchmarks import tune
shapes = [(tune.Sizes(*sizes), tokens) for *sizes, counts in tune.GRID for tokens in counts]
assert len(set(shapes)) == len(shapes) >= 40
few, many = (tune.expected(tune.Sizes(320, 1024, 512), tokens) for tokens in (1, 4096))
assert (few.chosen, many.chosen) == ("token_centric", "expert_centric")
few.seconds, many.seconds = dict(few.estimates), {{"token_centric": 2e-3, "expert_centric": 3e-3}}
assert "at 1; worst: 50 % at T=4096" in tune.summary([few, many])
few.failure = "no memory"
assert tune.table_of([few, many]) == {{"bf16-n102400-r1-d1024-k512": {{4096: many.seconds}}}}
assert "no memory" in tune.line(few) and "loss  50 %" in tune.line(many)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
