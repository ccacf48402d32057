"""Tests on a real GPU. Without one every test is skipped, with the reason.

Run all: `pytest integration_test/GPU`. Those marked `sanitizer` are small and
touch every kernel: utils/sanitize-gpu runs them under compute-sanitizer.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# The float64 reference and the inputs are those of the Python tests.
sys.path.insert(0, str(ROOT / "test" / "python"))

CACHE = tempfile.mkdtemp(prefix="omnimoe-gpu-test-cache-")
os.environ.setdefault("OMNIMOE_CACHE_DIR", CACHE)

try:
    import omnimoe
except ImportError:
    sys.path.insert(0, str(ROOT / "build" / "python"))
    import omnimoe


def _missing() -> str:
    """Why nothing here can run; empty if it can."""
    try:
        if not any(device.target for device in omnimoe.devices()):
            return "omnimoe cannot compile for any GPU of this machine"
    except omnimoe.DeviceError as error:
        return f"no GPU: {error}"
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} does not see the GPU"
    return ""


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "sanitizer: small, to be run under compute-sanitizer (utils/sanitize-gpu)"
    )


def pytest_collection_modifyitems(items):
    here = [item for item in items if HERE in Path(item.path).parents]
    reason = _missing() if here else ""
    if reason:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish(session, exitstatus):
    shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_error_left_behind(request):
    """Kernels run after the call that enqueued them: a fault belongs to the test
    that is running, not to the next."""
    yield
    if "torch" in sys.modules and not request.node.get_closest_marker("skip"):
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
