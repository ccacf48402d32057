"""Two narrow products of the same rows and their softmax, against float64."""

import numpy as np
import pytest
from gpu_arrays import all_to_gpu, assert_close, poison
from helpers import normal

import omnimoe
from omnimoe._build import Module, Value
from omnimoe._expr import apply


def make_text(hidden, sizes, dtype, kind):
    module = Module("f")
    x = module.argument("x", dtype, (None, hidden))
    weights = [module.argument(f"w{i}", dtype, (n, hidden)) for i, n in enumerate(sizes)]
    shifts = [module.argument(f"b{i}", "f32", (n,)) for i, n in enumerate(sizes)]
    results = []
    for weight, shift in zip(weights, shifts):
        logits = module.linear(x, weight)
        if kind == "chained" and results:
            inner = logits.element() * results[-1].element()
            logits = module.elementwise(inner, "f32", logits.shape)
        if kind == "tanh":
            inner = apply("tanh", logits.element() + shift.element(1))
            logits = module.elementwise(inner, "f32", logits.shape)
        rows = module.softmax(logits) if kind == "softmax" else module.log_softmax(logits)
        results.append(module.cast(rows, dtype) if kind == "rounded" else rows)
    return module.text(results[-1:] if kind == "chained" else results)


def check(tokens, hidden, sizes, dtype, kind="log", kernels=1):
    rng = np.random.default_rng(tokens + hidden)
    x = normal(rng, (tokens, hidden), dtype)
    weights = [normal(rng, (n, hidden), dtype) for n in sizes]
    shifts = [normal(rng, (n,), "f32") for n in sizes]
    program = omnimoe.compile(
        make_text(hidden, sizes, dtype, kind), target=omnimoe.devices()[0].target
    )
    assert program.ptx.count(".entry") == kernels
    poison()
    results = program(*all_to_gpu([x, *weights, *shifts]))
    expected = []
    for weight, shift in zip(weights, shifts):
        logits = x.astype(np.float64) @ weight.astype(np.float64).T
        if kind == "chained" and expected:
            logits *= expected[-1]
        if kind == "tanh":
            logits = np.tanh(logits + shift)
        shifted = logits - logits.max(axis=1, keepdims=True)
        rows = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        expected.append(np.exp(rows) if kind == "softmax" else rows)
    if kind == "chained":
        results, expected = [results], expected[-1:]
    for result, known in zip(results, expected):
        # Nothing but the sums' order and the hardware's exponential is inexact.
        assert_close(result, known, dtype if kind == "rounded" else "f32", times=10)


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(
    "hidden, sizes", [(64, (64, 64)), (200, (48, 61)), (100, (5, 128)), (33, (1, 2))]
)
def test_sizes(dtype, hidden, sizes):
    """Rows that 16 bytes do not divide, columns that no tile is full of."""
    check(100, hidden, sizes, dtype)


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 5000])
def test_any_number_of_rows(tokens):
    check(tokens, 1024, (64, 64), "bf16")


@pytest.mark.parametrize("kind", ["softmax", "tanh", "rounded"])
@pytest.mark.parametrize("sizes", [(128, 128), (96, 33)])
def test_what_is_made_of_rows(kind, sizes):
    check(70, 256, sizes, "bf16", kind)


@pytest.mark.parametrize("sizes", [(64, 64), (100, 100)])
def test_one_needs_the_other(sizes):
    """One tile with both, by way of shared memory."""
    check(150, 256, sizes, "bf16", "chained")


def test_three_products():
    """Two share a kernel; the third has its own."""
    check(70, 256, (64, 64, 64), "bf16", kernels=2)


def test_other_rows_are_no_siblings():
    check(70, 256, (64, 129), "bf16", kernels=3)


# What random programs make of [T, n], here and in float64.


def log_softmax(rows):
    shifted = rows - rows.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def centred(module: Module, rows: Value) -> Value:
    total = module._reduce("add", 0.0, rows.element(), rows.shape[:1])
    return module.elementwise(rows.element() - total.element(0), "f32", rows.shape)


STEPS = {
    "log_softmax": (Module.log_softmax, log_softmax),
    "softmax": (Module.softmax, lambda rows: np.exp(log_softmax(rows))),
    "centred": (centred, lambda rows: rows - rows.sum(axis=1, keepdims=True)),
    "tanh": (
        lambda module, rows: module.elementwise(apply("tanh", rows.element()), "f32", rows.shape),
        np.tanh,
    ),
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed):
    """One to three products, with what may and may not share a tile."""
    rng = np.random.default_rng(seed)
    tokens, hidden = int(rng.integers(1, 200)), int(rng.choice([24, 33, 64, 256]))
    sizes = [int(rng.choice([rng.integers(1, 129), 32, 64])) for _ in range(rng.integers(1, 4))]
    dtype = str(rng.choice(["f16", "bf16"]))
    module = Module("f")
    x = module.argument("x", dtype, (None, hidden))
    arrays = [normal(rng, (tokens, hidden), dtype)]
    results, expected = [], []
    for size in sizes:
        arrays.append(normal(rng, (size, hidden), dtype))
        rows = module.linear(x, module.argument(f"a{len(arrays)}", dtype, (size, hidden)))
        known = arrays[0].astype(np.float64) @ arrays[-1].astype(np.float64).T
        for name in rng.choice([*STEPS, "scaled", "kept"], int(rng.integers(1, 5))):
            if name == "kept":
                results.append(rows)
                expected.append(known)
            elif name == "scaled":
                arrays.append(normal(rng, known.shape, "f32"))
                scale = module.argument(f"a{len(arrays)}", "f32", (None, size))
                scaled = rows.element() * scale.element()
                rows = module.elementwise(scaled, "f32", rows.shape)
                known = known * arrays[-1]
            else:
                build, compute = STEPS[name]
                rows, known = build(module, rows), compute(known)
        results.append(rows)
        expected.append(known)
    program = omnimoe.compile(module.text(results), target=omnimoe.devices()[0].target)
    poison()
    outputs = program(*all_to_gpu(arrays))
    for output, known in zip(outputs if len(results) > 1 else [outputs], expected):
        assert_close(output, known, "f32", times=40)
