"""jit: one program per types and static shapes, with the value of the function."""

import numpy as np
import pytest

import omnimoe
import reference
from helpers import assert_close, make_experts, make_layer, normal

EXPERTS = make_experts(1, 17, 64, 64, 8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def test_functions_and_operators_together():
    @omnimoe.jit
    def moe(x, rows, columns, up, down, scale, top_k=8):
        scores, ids = omnimoe.route(rows, columns, top_k)
        y = omnimoe.experts(x, up, down, omnimoe.sigmoid(scores), ids)
        return x + scale * y, ids

    rng = np.random.default_rng(2)
    scale = rng.random(64, np.float32)
    for tokens in (17, 1, 0, 40):
        x = rng.standard_normal((tokens, 64), np.float32)
        rows, columns = (rng.standard_normal((tokens, 8), np.float32) for _ in range(2))
        y, ids = moe(x, rows, columns, EXPERTS.up, EXPERTS.down, scale)
        scores, expected_ids = reference.route(rows, columns, 8)
        np.testing.assert_array_equal(ids, expected_ids)
        routed = reference.experts(x, EXPERTS.up, EXPERTS.down, sigmoid(scores), ids)
        assert_close(y, x + scale * routed, "f32")
    assert len(moe.executables) == 1, "T must not make a new program"
    moe(x, rows, columns, EXPERTS.up, EXPERTS.down, scale, top_k=4)
    moe(x=x, rows=rows, columns=columns, up=EXPERTS.up, down=EXPERTS.down, scale=scale)
    assert len(moe.executables) == 2
    text = moe.executables[0].ir("input")
    assert text.count("func.func @moe") == 1 and 'omnimoe.name = "columns"' in text


X = np.linspace(-4, 4, 17 * 20, dtype=np.float32).reshape(17, 20)
POSITIVE = np.abs(X) + np.float32(0.1)
#: Function, its value in NumPy, and its argument.
UNARY = {
    "exp": (omnimoe.exp, np.exp, X),
    "log": (omnimoe.log, np.log, POSITIVE),
    "sqrt": (omnimoe.sqrt, np.sqrt, POSITIVE),
    "tanh": (omnimoe.tanh, np.tanh, X),
    "erf": (omnimoe.erf, lambda x: reference._erf(x), X),
    "sigmoid": (omnimoe.sigmoid, sigmoid, X),
    "negative": (lambda x: -x, lambda x: -x, X),
    "abs": (abs, abs, X),
    **{
        name: (getattr(omnimoe, name), lambda x, name=name: reference.activate(name, x), X)
        for name in ("silu", "gelu", "gelu_tanh", "relu", "relu2")
    },
}


def test_unary_functions():
    """All in one program: each result is a function of its argument."""

    @omnimoe.jit
    def many(x, positive):
        given = {id(X): x, id(POSITIVE): positive}
        return tuple(function(given[id(argument)]) for function, _, argument in UNARY.values())

    for result, (_, expected, argument) in zip(many(X, POSITIVE), UNARY.values()):
        assert_close(result, expected(argument.astype(np.float64)), "f32")


def test_binary_operators_numbers_and_broadcasting():
    @omnimoe.jit
    def f(x, y, row, column):
        return (
            (x + y) * (x - y) / (2 + omnimoe.maximum(y, 0.5)),
            1 - 3 * x + y / 2,
            x * row + column,
            omnimoe.minimum(x, y) + row,
            np.exp(x) + np.maximum(1.0, y) - np.float32(2) * x,
        )

    rng = np.random.default_rng(3)
    for tokens in (17, 1, 0):
        x, y = (rng.standard_normal((tokens, 20), np.float32) for _ in range(2))
        row, column = rng.random(20, np.float32), rng.random((tokens, 1), np.float32)
        results = f(x, y, row, column)
        x, y, row, column = (a.astype(np.float64) for a in (x, y, row, column))
        expected = (
            (x + y) * (x - y) / (2 + np.maximum(y, 0.5)),
            1 - 3 * x + y / 2,
            x * row + column,
            np.minimum(x, y) + row,
            np.exp(x) + np.maximum(1.0, y) - 2 * x,
        )
        for result, wanted in zip(results, expected):
            assert_close(result, wanted, "f32")


def test_short_floats():
    import ml_dtypes

    @omnimoe.jit
    def f(x, y):
        return omnimoe.silu(x) * y, x + y * 0.5

    x, y = (normal(np.random.default_rng(s), (17, 20), "bf16") for s in (1, 2))
    product, mixed = f(x, y)
    assert product.dtype == ml_dtypes.bfloat16
    wide = x.astype(np.float64), y.astype(np.float64)
    assert_close(product, reference.activate("silu", wide[0]) * wide[1], "bf16")
    assert_close(mixed, wide[0] + wide[1] * 0.5, "bf16")
    assert f(x, y.astype(np.float32))[0].dtype == np.float32


def test_layer_with_parameters_in_a_mapping():
    params = make_layer(4)

    @omnimoe.jit
    def block(x, params):
        return x + omnimoe.layer(x, params, top_k=5)

    x = normal(np.random.default_rng(5), (17, 32), "f32")
    np.testing.assert_allclose(
        block(x, params), x + omnimoe.layer(x, params, top_k=5), rtol=1e-5, atol=1e-5
    )
    assert any(t.name == "params.up_embed" for t in block.executables[0].inputs)


def test_a_value_used_several_times():
    @omnimoe.jit
    def f(x, gate, up, down):
        once = omnimoe.mlp(x, gate, up, down)
        shared = omnimoe.tanh(once)
        return omnimoe.mlp(shared, gate, up, down) + shared, shared * once

    rng = np.random.default_rng(6)
    x = normal(rng, (17, 20), "f32")
    gate, up = (normal(rng, (24, 20), "f32", 0.3) for _ in range(2))
    down = normal(rng, (20, 24), "f32", 0.3)
    first, second = f(x, gate, up, down)
    once = reference.mlp(x, gate, up, down)
    shared = np.tanh(once)
    assert_close(first, reference.mlp(shared, gate, up, down) + shared, "f32")
    assert_close(second, shared * once, "f32")


def test_jitted_functions_call_each_other():
    @omnimoe.jit
    def inner(x, y):
        return omnimoe.silu(x) * y

    @omnimoe.jit
    def outer(x):
        return inner(x, x) + 1

    expected = reference.activate("silu", X) * X + 1
    assert_close(outer(X), expected, "f32")
    assert not inner.executables and len(outer.executables) == 1


def test_traced_once():
    traces = []

    @omnimoe.jit
    def f(x):
        traces.append(x.shape)
        return x * 2

    for tokens in (3, 3, 5, 1):
        f(np.ones((tokens, 20), np.float32))
    assert traces == [(3, 20)]
    f(np.ones((3, 21), np.float32))
    assert traces == [(3, 20), (3, 21)]


def test_schedule_of_the_program():
    def f(x, up, down, weights, ids):
        return omnimoe.experts(x, up, down, weights, ids, schedule="dense") * 2

    jitted = omnimoe.jit(f)
    assert_close(jitted(*EXPERTS), 2 * reference.experts(*EXPERTS), "f32")
    assert jitted.executables[0].schedule == "dense"
    forced = omnimoe.jit(schedule="token_centric")(f)
    forced(*EXPERTS)
    assert forced.executables[0].schedule == "token_centric"

    @omnimoe.jit
    def two(x, up, down, weights, ids):
        y = omnimoe.experts(x, up, down, weights, ids, schedule="dense")
        return omnimoe.experts(y, up, down, weights, ids, schedule="token_centric")

    with pytest.raises(omnimoe.ArgumentError, match="one program has one schedule, got dense, tok"):
        two(*EXPERTS)


def refuses(error, message, function, *args):
    with pytest.raises(error, match=message):
        omnimoe.jit(function)(*args)


def test_refusals():
    wrong = omnimoe.ArgumentError
    refuses(wrong, "no data while the function is traced", lambda x: x if x > 0 else -x, X)
    refuses(wrong, "no data while the function is traced", lambda x: x[0], X)
    refuses(wrong, "cannot use numpy.sin here; it can use", lambda x: np.sin(x), X)
    refuses(wrong, "got ndarray; pass arrays as arguments", lambda x: x + X, X)
    refuses(wrong, "return values made of its arguments, got ndarray", lambda x: X, X)
    refuses(wrong, "return values made of its arguments, got NoneType", lambda x: None, X)
    refuses(wrong, "at least one value", lambda x: (), X)
    refuses(wrong, "missing a required argument: 'y'", lambda x, y: x, X)
    refuses(wrong, "x: expected an array", lambda x: x, object())
    refuses(wrong, "up: expected a value of the jitted function, got ndarray",
            lambda x: omnimoe.mlp(x, x, X, X), X)
    refuses(omnimoe.ShapeError, "do not broadcast", lambda x, y: x + y, X, X[:, :3])
    refuses(omnimoe.ShapeError, "add: expected element type", lambda x, i: x + i, X, X.astype("i4"))
    square = np.zeros((20, 20), np.float32)
    refuses(omnimoe.ShapeError, "used both as",
            lambda x, down: omnimoe.mlp(x, x, x, down), square, square)
    with pytest.raises(wrong, match="args: a jitted function has a fixed list"):
        omnimoe.jit(lambda *args: args[0])
    with pytest.raises(wrong, match="expected a callable, got int"):
        omnimoe.jit(3)
    with pytest.raises(wrong, match="exp: expected a value of a function that is being traced"):
        omnimoe.exp(X)


def test_keyword_names_and_metadata():
    @omnimoe.jit
    def documented(x, *, factor=2):
        """Says what it does."""
        return x * factor

    assert documented.__doc__ == "Says what it does." and documented.__name__ == "documented"
    np.testing.assert_array_equal(documented(x=X, factor=3), X * 3)
    np.testing.assert_array_equal(documented(X, factor=3.0), X * 3)


@pytest.mark.parametrize("name", ["acc", "e0", "v0", "T", "c0", "cst", "naïve", "value"])
def test_argument_names_that_the_text_uses_too(name):
    scope = {}
    exec(f"def f({name}): return {name} * 2 + 1", scope)
    np.testing.assert_array_equal(omnimoe.jit(scope["f"])(X), X * 2 + 1)
