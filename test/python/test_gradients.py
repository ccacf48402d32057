"""Gradients of every operation against float64 autograd of PyTorch."""

import math
from typing import Any, Callable, Dict, List, Optional, Sequence

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omnimoe
from helpers import ACTIVATIONS, DTYPES, SCHEDULES, make_experts, make_layer, normal, relative_error
from omnimoe import TensorSpec
from omnimoe._autodiff import backward_ir

torch = pytest.importorskip("torch")

TOLERANCE = {"f32": 1e-5, "f16": 1e-2, "bf16": 1e-2}
TOKENS = st.sampled_from([0, 1, 2, 17, 40])
IDS = st.sampled_from(["random", "one", "wild"])
SEEDS = st.integers(0, 2**32 - 1)


# The other opinion ---------------------------------------------------------


def activate(name: str, x: Any) -> Any:
    if name == "gelu":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    if name == "gelu_tanh":
        return torch.nn.functional.gelu(x, approximate="tanh")
    if name == "relu2":
        return torch.relu(x) ** 2
    return {"silu": torch.nn.functional.silu, "relu": torch.relu, "identity": lambda x: x}[name](x)


def experts(x, up, down, weights, ids, activation="silu"):
    """Pairs of an id outside of [0, N) give nothing."""
    hidden = x.shape[1]
    known = (ids >= 0) & (ids < len(up))
    ids = torch.where(known, ids, 0)
    up, down = (table.reshape(len(table), -1, hidden)[ids] for table in (up, down))
    products = activate(activation, torch.einsum("td,tkrd->tkr", x, up))
    weights = torch.where(known, weights, 0)
    return torch.einsum("tkr,tkrd,tk->td", products, down, weights)


def mlp(x, gate, up, down, activation="silu"):
    return (activate(activation, x @ gate.T) * (x @ up.T)) @ down.T


# Ours ----------------------------------------------------------------------

_programs: Dict[Any, Any] = {}


def text_of(function: Callable[..., Any], arguments: Sequence[np.ndarray], tokens) -> str:
    """The program of `function`, for any T in the arguments that `tokens` lists."""
    specs = [
        TensorSpec(str(a.dtype), ((None,) if i in tokens else a.shape[:1]) + a.shape[1:])
        for i, a in enumerate(arguments)
    ]
    return omnimoe.jit(function).program_text(specs)[0]


def gradients(
    text: str,
    arguments: Sequence[np.ndarray],
    cotangents: Sequence[np.ndarray],
    save: bool = False,
    schedule: str = "auto",
    wrt: Optional[Sequence[int]] = None,
) -> List[np.ndarray]:
    key = (text, save, schedule, wrt)
    if key not in _programs:
        stages = ("forward", "backward") if save else ("backward",)
        _programs[key] = [
            omnimoe.compile(
                backward_ir(text, wrt=wrt, save=save, emit=stage), schedule=schedule
            )
            for stage in stages
        ]
    *forward, backward = _programs[key]
    saved: Sequence[np.ndarray] = ()
    if forward:
        saved = forward[0](*arguments)[len(cotangents) :]
    result = backward(*arguments, *saved, *cotangents)
    return list(result) if isinstance(result, tuple) else [result]


def expected_gradients(function, arguments, cotangents) -> List[np.ndarray]:
    """In float64, for the arguments of a float type."""
    leaves = [
        torch.tensor(a.astype(np.float64), requires_grad=True)
        if a.dtype != np.int32
        else torch.tensor(a).long()
        for a in arguments
    ]
    results = function(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    floats = [leaf for leaf in leaves if leaf.requires_grad]
    found = torch.autograd.grad(
        results, floats, [torch.tensor(c.astype(np.float64)) for c in cotangents], allow_unused=True
    )
    return [
        np.zeros(leaf.shape) if g is None else g.numpy() for leaf, g in zip(floats, found)
    ]


def check(ours, theirs, arguments, tokens, dtype="f32", seed=0, **options):
    """Compares all gradients, for a random cotangent of each result."""
    text = text_of(ours, arguments, tokens)
    rng = np.random.default_rng(seed + 77)
    with torch.no_grad():
        results = theirs(
            *[
                torch.tensor(a.astype(np.float64)) if a.dtype != np.int32 else torch.tensor(a).long()
                for a in arguments
            ]
        )
    results = results if isinstance(results, tuple) else (results,)
    cotangents = [normal(rng, tuple(r.shape), dtype) for r in results]
    found = gradients(text, arguments, cotangents, **options)
    expected = expected_gradients(theirs, arguments, cotangents)
    floats = [a for a in arguments if a.dtype != np.int32]
    assert len(found) == len(expected) == len(floats)
    for argument, mine, right in zip(floats, found, expected):
        assert mine.dtype == argument.dtype
        error = relative_error(mine, right)
        assert error < TOLERANCE[dtype], f"relative error {error:.2e} for {dtype}"


def our_experts(activation="silu"):
    return lambda x, up, down, weights, ids: omnimoe.experts(
        x, up, down, weights, ids, activation=activation
    )


def our_mlp(activation="silu"):
    return lambda x, gate, up, down: omnimoe.mlp(x, gate, up, down, activation=activation)


def check_experts(arguments, activation="silu", dtype="f32", **options):
    check(
        our_experts(activation),
        lambda *a: experts(*a, activation),
        arguments,
        (0, 3, 4),
        dtype,
        **options,
    )


# experts -------------------------------------------------------------------


@settings(max_examples=16)
@given(st.sampled_from(SCHEDULES), st.booleans(), TOKENS, IDS, SEEDS)
def test_experts(schedule, save, tokens, ids, seed):
    arguments = make_experts(seed, tokens, 64, 64, 8, ids=ids)
    check_experts(arguments, schedule=schedule, save=save)


@settings(max_examples=8)
@given(st.sampled_from(SCHEDULES), TOKENS, IDS, SEEDS)
def test_wide_experts(schedule, tokens, ids, seed):
    check_experts(make_experts(seed, tokens, 48, 20, 5, width=3, ids=ids), schedule=schedule)


@settings(max_examples=12)
@given(st.sampled_from(["f16", "bf16"]), st.booleans(), TOKENS, IDS, SEEDS)
def test_experts_of_short_floats(dtype, save, tokens, ids, seed):
    check_experts(make_experts(seed, tokens, 64, 64, 8, dtype=dtype, ids=ids), dtype=dtype, save=save)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    check_experts(make_experts(1, 17, 32, 16, 4), activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_large_products(activation):
    """Where an activation is flat or its exponential overflows."""
    arguments = make_experts(1, 17, 32, 16, 4)
    scale = np.logspace(-4, 3, 17, dtype=np.float32)[:, None]
    check_experts(arguments._replace(x=arguments.x * scale), activation)


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
@pytest.mark.parametrize(
    "hidden, count, top_k",
    [(1, 1, 1), (7, 5, 3), (17, 33, 1), (100, 9, 9), (24, 6, 20)],
    ids=lambda value: str(value),
)
def test_odd_sizes(schedule, hidden, count, top_k):
    for tokens in (0, 1, 17):
        check_experts(make_experts(2, tokens, hidden, count, top_k), schedule=schedule)


def test_zero_weights():
    """A pair of weight zero still has a gradient by its weight."""
    arguments = make_experts(3, 17, 32, 16, 4)
    arguments.weights[:, 1] = 0
    arguments.weights[5] = 0
    check_experts(arguments)


def test_one_expert_twice():
    arguments = make_experts(4, 17, 32, 16, 4)
    arguments.ids[:, 1] = arguments.ids[:, 0]
    check_experts(arguments)
    wide = make_experts(4, 17, 32, 16, 4, width=2)
    wide.ids[:, 1] = wide.ids[:, 0]
    check_experts(wide)


def test_some_arguments_only():
    arguments = make_experts(5, 9, 32, 16, 4)
    text = text_of(our_experts(), arguments, (0, 3, 4))
    cotangent = normal(np.random.default_rng(1), (9, 32), "f32")
    everything = gradients(text, arguments, [cotangent])
    for wrt in ((0,), (3,), (2, 0), (1, 2)):
        some = gradients(text, arguments, [cotangent], wrt=wrt)
        for number, gradient in zip(wrt, some):
            np.testing.assert_allclose(gradient, everything[number], rtol=1e-6, atol=1e-7)


def test_same_bits_for_any_number_of_threads():
    arguments = make_experts(12, 301, 256, 200, 24)
    text = text_of(our_experts(), arguments, (0, 3, 4))
    cotangent = normal(np.random.default_rng(1), (301, 256), "f32")
    before = omnimoe.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            omnimoe.set_num_threads(threads)
            executable = omnimoe.compile(backward_ir(text))
            for _ in range(2):
                results.append(executable(*arguments, cotangent))
    finally:
        omnimoe.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(results[0], result):
            np.testing.assert_array_equal(a, b)


# mlp -----------------------------------------------------------------------


def mlp_arguments(seed, tokens, hidden, inner, dtype="f32"):
    rng = np.random.default_rng(seed)
    return (
        normal(rng, (tokens, hidden), dtype),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (hidden, inner), dtype, inner**-0.5),
    )


@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("sizes", [(32, 48), (64, 128), (7, 5), (1, 1), (100, 33)])
def test_mlp(sizes, dtype, save):
    for tokens in (0, 1, 17, 70):
        arguments = mlp_arguments(tokens, tokens, *sizes, dtype)
        check(our_mlp(), mlp, arguments, (0,), dtype, save=save)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_activations(activation):
    check(
        our_mlp(activation),
        lambda *a: mlp(*a, activation),
        mlp_arguments(1, 17, 32, 48),
        (0,),
    )


# route and layer -----------------------------------------------------------


def route(rows, columns, top_k):
    sums = (rows[:, :, None] + columns[:, None, :]).flatten(1)
    return torch.topk(sums, top_k, dim=1)


def check_route(tokens, rows, columns, top_k, seed=0, **options):
    rng = np.random.default_rng(seed)
    arguments = [normal(rng, (tokens, size), "f32") for size in (rows, columns)]
    check(
        lambda r, c: omnimoe.route(r, c, top_k)[0],
        lambda r, c: route(r, c, top_k)[0],
        arguments,
        (0, 1),
        **options,
    )


@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("grid", [(8, 6, 5), (1, 7, 3), (17, 33, 40), (3, 3, 9), (64, 64, 16)])
def test_route(grid, save):
    for tokens in (0, 1, 17):
        check_route(tokens, *grid, seed=tokens, save=save)


def layer(x, params, top_k, activation="silu", weighting="exp", ids=None, eps=1e-5):
    both = []
    for axis in ("x", "y"):
        logits = x @ params[f"router_gate_{axis}"].T
        norm = f"router_norm_{axis}"
        if f"{norm}.running_mean" in params:
            logits = logits - params[f"{norm}.running_mean"]
            logits = logits / torch.sqrt(params[f"{norm}.running_var"] + eps)
            if f"{norm}.weight" in params:
                logits = logits * params[f"{norm}.weight"] + params[f"{norm}.bias"]
        both.append(torch.log_softmax(logits, 1))
    scores, ids = route(*both, top_k)
    weights = torch.softmax(scores, 1) if weighting == "softmax" else torch.exp(scores)
    routed = experts(x, params["up_embed"], params["down_embed"], weights, ids, activation)
    shared = (params["gate_proj"], params["up_proj"], params["down_proj"])
    return routed + mlp(x, *shared, activation)


def sure_tokens(x, params, top_k) -> np.ndarray:
    """Tokens whose choice of experts does not hang on rounding."""
    import reference

    return reference.layer(x, params, top_k)[1] > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighting": "softmax"},
        {"norm": False, "activation": "gelu"},
        {"affine": True},
        {"width": 2, "activation": "relu2"},
        {"save": True, "weighting": "softmax"},
        {"schedule": "expert_centric"},
        {"schedule": "dense"},
        {"dtype": "bf16"},
        {"dtype": "f16", "save": True},
    ],
    ids=str,
)
def test_layer(options):
    dtype = options.get("dtype", "f32")
    params = make_layer(
        3,
        width=options.get("width"),
        dtype=dtype,
        norm=options.get("norm", True),
        affine=options.get("affine", False),
    )
    layer_options = {k: options[k] for k in ("weighting", "activation") if k in options}
    run_options = {k: options[k] for k in ("save", "schedule") if k in options}
    names = list(params)
    for tokens in (0, 1, 33):
        x = normal(np.random.default_rng(2), (tokens, 32), dtype)
        spec = {name: TensorSpec(str(a.dtype), a.shape) for name, a in params.items()}
        text = omnimoe.jit(
            lambda x, params: omnimoe.layer(x, params, top_k=5, **layer_options)
        ).program_text([TensorSpec(str(x.dtype), (None, 32)), spec])[0]
        cotangent = normal(np.random.default_rng(5), (tokens, 32), dtype)
        cotangent[~sure_tokens(x, params, 5)] = 0
        arguments = [x, *params.values()]
        found = gradients(text, arguments, [cotangent], **run_options)
        expected = expected_gradients(
            lambda x, *values: layer(x, dict(zip(names, values)), 5, **layer_options),
            arguments,
            [cotangent],
        )
        for name, mine, right in zip(["x", *names], found, expected):
            error = relative_error(mine, right)
            assert error < TOLERANCE[dtype], f"{name}: relative error {error:.2e}"


# Functions under jit -------------------------------------------------------


def check_jit(ours, theirs, *arguments, **options):
    check(ours, theirs, arguments, (0, 1), **options)


@pytest.mark.parametrize(
    "name", ["exp", "log", "tanh", "erf", "sqrt", "sigmoid", "abs", "neg", "silu", "gelu", "relu"]
)
def test_element_wise_functions(name):
    x = np.random.default_rng(1).random((17, 33), np.float32) + np.float32(0.1)
    if name not in ("log", "sqrt"):
        x[::2] *= -1
    ours = (lambda x: -x) if name == "neg" else abs if name == "abs" else getattr(omnimoe, name)
    theirs = getattr(torch, name, None) or (lambda x: activate(name, x))
    check_jit(lambda x: ours(x), lambda x: theirs(x), x)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
@pytest.mark.parametrize("shapes", [((5, 7), (5, 7)), ((5, 7), (7,)), ((5, 7), (5, 1)), ((5, 7), ())])
def test_element_wise_pairs(name, shapes):
    rng = np.random.default_rng(2)
    arguments = [np.asarray(rng.random(shape, np.float32) + np.float32(0.2)) for shape in shapes]
    functions = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
    }
    ours = functions.get(name) or getattr(omnimoe, name)
    theirs = functions.get(name) or getattr(torch, name)
    check(lambda x, y: ours(x, y), lambda x, y: theirs(x, y), arguments, ())
    check(lambda y, x: ours(x, y), lambda y, x: theirs(x, y), arguments[::-1], ())


def test_value_used_twice():
    """Adjoints of all uses add up, also those of results and of arguments."""
    arguments = make_experts(6, 9, 32, 16, 4)

    def ours(x, up, down, weights, ids):
        y = omnimoe.experts(x, up, up, weights, ids)
        return omnimoe.experts(y + x, down, up, weights * weights, ids), y

    def theirs(x, up, down, weights, ids):
        y = experts(x, up, up, weights, ids)
        return experts(y + x, down, up, weights * weights, ids), y

    check(ours, theirs, arguments, (0, 3, 4))
    check(ours, theirs, arguments, (0, 3, 4), save=True)


def test_argument_without_a_use():
    arguments = [normal(np.random.default_rng(1), (5, 7), "f32") for _ in range(2)]
    check(lambda x, y: x * x, lambda x, y: x * x, arguments, ())


def test_arguments_that_are_results():
    arguments = [normal(np.random.default_rng(1), (5, 7), "f32") for _ in range(2)]
    check_jit(lambda x, y: (x, y * x, x), lambda x, y: (x, y * x, x), *arguments)
