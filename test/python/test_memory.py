"""Calls give back all the memory they take."""

from pathlib import Path

import numpy as np
import pytest

import omnimoe
from helpers import SCHEDULES, make_experts, make_layer, normal
from test_arrays import Producer

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="needs Linux's /proc")

ARGUMENTS = make_experts(1, 64, 64, 64, 8)
#: Pages of 4 KiB that 1,500 calls may add: half a KiB a call is a leak.
LIMIT = 190


def grown(call):
    """Pages that the process grew by over many calls."""
    for _ in range(200):
        call()
    before = int(STATM.read_text().split()[1])
    for _ in range(1500):
        call()
    return int(STATM.read_text().split()[1]) - before


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
def test_experts(schedule):
    assert grown(lambda: omnimoe.experts(*ARGUMENTS, schedule=schedule)) < LIMIT


def test_route_and_layer():
    params = make_layer(1)
    x = normal(np.random.default_rng(2), (40, 32), "f32")
    logits = normal(np.random.default_rng(3), (40, 32), "f32")
    assert grown(lambda: omnimoe.route(logits, logits, 16)) < LIMIT
    assert grown(lambda: omnimoe.layer(x, params, top_k=5)) < LIMIT


def test_copies_and_exports():
    """What is copied or exported for a call goes with it."""
    logits = normal(np.random.default_rng(3), (64, 32), "f32")
    turned = np.asfortranarray(logits)
    assert grown(lambda: omnimoe.route(turned, turned, 1)) < LIMIT
    assert grown(lambda: omnimoe.route(Producer(turned, True), Producer(logits, False), 1)) < LIMIT


def test_torch():
    torch = pytest.importorskip("torch")
    logits = torch.randn(64, 32)
    turned = logits.t().contiguous().t()
    assert grown(lambda: omnimoe.route(turned, logits, 1)) < LIMIT


def test_refusals():
    def refused():
        with pytest.raises(omnimoe.ShapeError):
            omnimoe.experts(*ARGUMENTS._replace(x=ARGUMENTS.x[:3]))

    assert grown(refused) < LIMIT
