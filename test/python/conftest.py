"""Settings of the Python tests.

The disk cache is a folder of this run, so that nothing is found that another
version left, and nothing stays behind.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

CACHE = tempfile.mkdtemp(prefix="omnimoe-test-cache-")
os.environ["OMNIMOE_CACHE_DIR"] = CACHE
for name in ("OMNIMOE_DUMP", "OMNIMOE_TARGET", "OMNIMOE_LOG", "OMNIMOE_NUM_THREADS"):
    os.environ.pop(name, None)

# Beside a checkout that is not installed, take the module from the build.
_BUILT = Path(__file__).resolve().parents[2] / "build" / "python"
try:
    import omnimoe
except ImportError:
    sys.path.insert(0, str(_BUILT))
    import omnimoe

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "omnimoe",
    deadline=None,  # the first example of a shape compiles
    max_examples=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("omnimoe")


def pytest_sessionfinish(session, exitstatus):
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    """An empty disk cache, and nothing in memory, for one test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OMNIMOE_CACHE_DIR", str(folder))
    omnimoe.clear_cache(disk=False)
    yield folder
    omnimoe.clear_cache(disk=False)


@pytest.fixture
def run_python():
    """Runs a script in a fresh interpreter that finds the same omnimoe."""
    import subprocess

    package = str(Path(omnimoe.__file__).parent.parent)

    def run(script, check=True, **environment):
        variables = {**os.environ, **{k: str(v) for k, v in environment.items()}}
        paths = [package, str(Path(__file__).parent), variables.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def run_on_fake_gpu(run_python, tmp_path):
    """Runs a script where a driver for tests takes the launches of a GPU."""
    driver = Path(omnimoe.__file__).parents[2] / "test" / "Runtime" / "libomnimoe-fake-cuda.so"
    if not driver.exists():
        pytest.skip(f"the driver for tests is not built: {driver}")
    return lambda script: run_python(
        script,
        OMNIMOE_CUDA_DRIVER=driver,
        OMNIMOE_CACHE_DIR=tmp_path / "cache",
        FAKE_CUDA="devices=1",
    )
