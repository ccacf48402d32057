"""mlp, layer and compiled programs on the GPU."""

import subprocess
import sys

import numpy as np
import pytest
import reference
from gpu_arrays import (
    DTYPES,
    all_to_gpu,
    assert_close,
    make_experts,
    params_to_gpu,
    poison,
    take,
    to_gpu,
    to_numpy,
    torch,
)
from helpers import ACTIVATIONS, make_layer, normal

import omnimoe

# A layer's choices may differ from float64's where scores are this close.
UNDECIDED = {"f32": 1e-5, "f16": 1e-3, "bf16": 1e-3}


def make_mlp(seed, tokens, hidden, inner, dtype):
    rng = np.random.default_rng(seed)
    return (
        normal(rng, (tokens, hidden), dtype),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (hidden, inner), dtype, inner**-0.5),
    )


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden, inner", [(64, 128), (40, 24)])
def test_mlp_small(dtype, hidden, inner):
    arguments = make_mlp(1, 70, hidden, inner, dtype)
    poison()
    assert_close(omnimoe.mlp(*all_to_gpu(arguments)), reference.mlp(*arguments), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden, inner", [(1, 1), (7, 13), (33, 100), (128, 256), (1024, 513)])
def test_mlp_sizes(dtype, hidden, inner):
    x, *matrices = make_mlp(2, 300, hidden, inner, dtype)
    for tokens in (0, 1, 17, 300):
        poison()
        y = omnimoe.mlp(*all_to_gpu((x[:tokens], *matrices)))
        assert_close(y, reference.mlp(x[:tokens], *matrices), dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_activations(activation):
    arguments = make_mlp(3, 40, 64, 96, "bf16")
    y = omnimoe.mlp(*all_to_gpu(arguments), activation=activation)
    assert_close(y, reference.mlp(*arguments, activation), "bf16")


def check_layer(x, params, dtype, **options):
    poison()
    y = omnimoe.layer(to_gpu(x), params_to_gpu(params), **options)
    assert y.is_cuda and y.shape == x.shape
    known = {k: v for k, v in options.items() if k in ("top_k", "activation", "weighting")}
    expected, gap = reference.layer(x, params, **known)
    decided = gap > UNDECIDED[dtype]
    assert decided.sum() >= 0.7 * len(x)
    # Logits out of short floats, and their exponential, add to the products'.
    assert_close(y[torch.from_numpy(decided).cuda()], expected[decided], dtype, times=2)
    return y


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_small(dtype):
    x = normal(np.random.default_rng(4), (19, 32), dtype)
    check_layer(x, make_layer(5, dtype=dtype), dtype, top_k=5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, columns, top_k", [(8, 6, 1), (8, 6, 48), (5, 9, 7), (16, 16, 16)])
def test_layer_sizes(dtype, rows, columns, top_k):
    params = make_layer(6, 40, 56, rows, columns, dtype=dtype)
    x = normal(np.random.default_rng(7), (100, 40), dtype)
    for tokens in (0, 1, 17, 100):
        check_layer(x[:tokens], params, dtype, top_k=top_k)


@pytest.mark.parametrize("weighting", ["exp", "softmax"])
@pytest.mark.parametrize("norm, affine", [(False, False), (True, True)])
def test_layer_options(weighting, norm, affine):
    params = make_layer(8, 64, 96, 8, 8, norm=norm, affine=affine)
    x = normal(np.random.default_rng(9), (50, 64), "f32")
    check_layer(x, params, "f32", top_k=6, weighting=weighting, activation="relu2")


def test_layer_with_wide_experts():
    params = make_layer(10, 48, 64, 6, 6, width=3)
    x = normal(np.random.default_rng(11), (30, 48), "f32")
    check_layer(x, params, "f32", top_k=4)


def test_layer_agrees_with_the_cpu():
    params = make_layer(12, 64, 96, 12, 12)
    x = normal(np.random.default_rng(13), (200, 64), "f32")
    y = omnimoe.layer(to_gpu(x), params_to_gpu(params), top_k=8)
    on_cpu = omnimoe.layer(x, params, top_k=8)
    # A choice that rounding turns moves one token only.
    far = np.linalg.norm(to_numpy(y) - on_cpu, axis=1) > 1e-4 * np.linalg.norm(on_cpu, axis=1)
    assert far.sum() <= 2


# Compiled programs -----------------------------------------------------------


@omnimoe.jit
def routed(x, up, down, rows, columns):
    scores, ids = omnimoe.route(rows, columns, 6)
    return omnimoe.experts(x, up, down, omnimoe.sigmoid(scores), ids)


def routed_arguments(tokens=25):
    rng = np.random.default_rng(14)
    x, up, down, _, _ = make_experts(14, tokens, 48, 56, 6)
    return x, up, down, normal(rng, (tokens, 8), "f32"), normal(rng, (tokens, 7), "f32")


def routed_reference(x, up, down, rows, columns):
    scores, ids = reference.route(rows, columns, 6)
    return reference.experts(x, up, down, 1 / (1 + np.exp(-scores.astype(np.float64))), ids)


def test_jit():
    arguments = routed_arguments()
    for tokens in (0, 1, 25):
        few = tuple(a if i in (1, 2) else a[:tokens] for i, a in enumerate(arguments))
        poison()
        assert_close(routed(*all_to_gpu(few)), routed_reference(*few), "f32")


def test_executable_save_and_load(tmp_path):
    arguments = routed_arguments()
    gpu = all_to_gpu(arguments)
    program = omnimoe.compile(routed, args=gpu)
    assert program.chip.startswith("sm_") and ".target sm_" in program.ptx
    expected = program(*gpu)
    assert_close(expected, routed_reference(*arguments), "f32")
    program.save(tmp_path / "routed.omnimoe")
    loaded = omnimoe.load(tmp_path / "routed.omnimoe")
    poison()
    assert torch.equal(loaded(*gpu), expected)
    out = torch.full_like(expected, float("nan"))
    loaded.invoke(*gpu, out)
    assert torch.equal(out, expected)


def test_disk_cache_serves_another_process(tmp_path):
    script = (
        "import torch, omnimoe\n"
        "x = torch.arange(96., device='cuda').reshape(4, 24).sin()\n"
        "up = torch.ones(6, 24, device='cuda')\n"
        "ids = torch.zeros(4, 2, dtype=torch.int32, device='cuda')\n"
        "w = torch.ones(4, 2, device='cuda')\n"
        "f = lambda x, up, w, ids: omnimoe.experts(x, up, up, w, ids)\n"
        "program = omnimoe.compile(f, args=(x, up, w, ids))\n"
        "print(program.cached, program(x, up, w, ids).double().sum().item())\n"
    )
    import os

    found = []
    for _ in range(2):
        variables = {**os.environ, "OMNIMOE_CACHE_DIR": str(tmp_path)}
        variables["PYTHONPATH"] = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", script], env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert [cached for cached, _ in found] == ["False", "True"]
    assert found[0][1] == found[1][1]


def test_results_are_of_the_framework_of_the_first_argument():
    cupy = pytest.importorskip("cupy")
    arguments = make_experts(15, 9, 32, 16, 4)
    gpu = all_to_gpu(arguments)
    expected = omnimoe.experts(*gpu)
    y = omnimoe.experts(*(cupy.asarray(a) for a in arguments))
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(y), expected.cpu().numpy())


def test_few_of_many_tokens_are_a_prefix():
    """A program for any T: the first tokens of a large call are a small call's."""
    arguments = make_experts(16, 500, 128, 64, 8)
    whole = omnimoe.experts(*all_to_gpu(arguments), schedule="token_centric")
    for tokens in (1, 64, 499):
        part = omnimoe.experts(*all_to_gpu(take(arguments, tokens)), schedule="token_centric")
        assert_close(part, to_numpy(whole[:tokens]), "f32")
