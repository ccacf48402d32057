"""Schedules that are measured on the GPU."""

import pytest
import reference
from gpu_arrays import all_to_gpu, assert_close, make_experts

import omnimoe
from omnimoe import _tuned


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMOE_CACHE_DIR", str(tmp_path))
    yield tmp_path
    omnimoe.clear_cache(disk=False)


@pytest.mark.parametrize("deterministic", [False, True])
def test_tune(fresh_cache, deterministic):
    arguments = make_experts(3, 130, 64, 256, 16, dtype="bf16")
    given = all_to_gpu(arguments)
    tuned = omnimoe.compile(omnimoe.experts, args=given, tune=True, deterministic=deterministic)
    assert_close(tuned(*given), reference.experts(*arguments, "silu"), "bf16")
    available = {"token_centric", "expert_centric", "dense"}
    if not deterministic:
        available.add("hybrid")
    for choice in tuned.schedules:
        assert choice.reason == "measured" and set(choice.measured) == available
        assert all(1e-6 < seconds < 1e-2 for seconds in choice.measured.values())
    name = _tuned.machine("sm_90a", f"cuda:{given[0].device.index or 0}")
    assert (fresh_cache / "tuned" / f"{name}.json").exists()
    again = omnimoe.compile(omnimoe.experts, args=given, deterministic=deterministic)
    assert again.schedules == tuned.schedules
