"""Every refusal: its type, and a message with the argument, what came, and what
was expected."""

import numpy as np
import pytest

import omnimoe
from helpers import make_experts, make_layer

ARGUMENTS = make_experts(1, 5, 64, 64, 8)
X, UP, DOWN, WEIGHTS, IDS = ARGUMENTS
F32 = np.float32


def replaced(**changes):
    return ARGUMENTS._replace(**changes)


def test_hierarchy():
    assert issubclass(omnimoe.ShapeError, ValueError)
    assert issubclass(omnimoe.ExpertIdError, ValueError)
    assert issubclass(omnimoe.FileError, OSError)
    for name in omnimoe.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(omnimoe, name), omnimoe.OmniMoEError), name


EXPERTS = [
    (dict(x=X[0]), r"x: expected \[T, D\] with D >= 1, got \[64\]"),
    (dict(x=X[None]), r"x: expected \[T, D\] .* got \[1, 5, 64\]"),
    (dict(x=X[:, :0]), r"x: expected \[T, D\] with D >= 1, got \[5, 0\]"),
    (dict(x=X.astype(np.float64)), "x: expected element type one of float32, .* got float64"),
    (dict(x=X.astype(">f4")), "x: expected element type one of float32, .* got >f4"),
    (dict(up=UP[:, :63]), r"up: expected \[N, 64\] or \[N, r, 64\] .*as in x.* got \[64, 63\]"),
    (dict(up=UP[:0]), r"up: expected \[N, 64\] or \[N, r, 64\] .* got \[0, 64\]"),
    (dict(up=UP[0]), r"up: expected \[N, 64\] or \[N, r, 64\] .* got \[64\]"),
    (dict(up=UP.astype(np.float16)), "up: expected element type float32 as in x, got float16"),
    (dict(down=DOWN[:32]), r"down: expected \[64, 64\] as up, got \[32, 64\]"),
    (dict(down=DOWN.astype(np.float16)), "down: expected element type float32 as in x, got float"),
    (dict(weights=WEIGHTS[:4]), r"weights: expected 5 tokens as in x, got \[4, 8\]"),
    (dict(weights=WEIGHTS[:, :0]), r"weights: expected \[T, K\] with K >= 1, got \[5, 0\]"),
    (dict(weights=WEIGHTS.astype(np.int32)), "weights: expected element type .* got int32"),
    (dict(experts=IDS[:, :7]), r"experts: expected \[5, 8\] as weights, got \[5, 7\]"),
    (dict(experts=IDS.astype(np.int64)), "experts: expected element type int32, got int64"),
    (dict(experts=IDS.astype(F32)), "experts: expected element type int32, got float32"),
]


@pytest.mark.parametrize("changes, message", EXPERTS, ids=lambda v: v if type(v) is str else "")
def test_shapes_of_experts(changes, message):
    arguments = dict(x=X, up=UP, down=DOWN, weights=WEIGHTS, experts=IDS)
    with pytest.raises(omnimoe.ShapeError, match=message):
        omnimoe.experts(**{**arguments, **changes})
    # Also when the program for the right arguments is there already.
    omnimoe.experts(**arguments)
    with pytest.raises(omnimoe.ShapeError, match=message):
        omnimoe.experts(**{**arguments, **changes})


@pytest.mark.parametrize("value", [None, 3, [[1.0]], "x", object(), np.ndarray])
def test_not_an_array(value):
    name = getattr(value, "__name__", None) and "type" or type(value).__name__
    with pytest.raises(omnimoe.ArgumentError, match=f"up: expected an array .* got {name}"):
        omnimoe.experts(X, value, DOWN, WEIGHTS, IDS)


NAMES = [
    (dict(activation="gellu"), "activation: expected one of silu, gelu, .* got 'gellu'.*'gelu'"),
    (dict(activation=None), "activation: expected one of silu, .*identity; got None"),
    (dict(activation=["silu"]), r"activation: expected one of .* got \['silu'\]"),
    (dict(schedule="dens"), "schedule: expected one of auto, .* got 'dens'.*did you mean 'dense'"),
    (dict(schedule=7), "schedule: expected one of auto, .* got 7"),
]


@pytest.mark.parametrize("options, message", NAMES, ids=lambda v: str(v)[:30])
def test_unknown_names(options, message):
    with pytest.raises(omnimoe.ArgumentError, match=message):
        omnimoe.experts(*ARGUMENTS, **options)


ROUTE = [
    ((np.zeros(8, F32), np.zeros((1, 8), F32)), r"row_logits: expected \[T, R\] .* got \[8\]"),
    ((np.zeros((1, 0), F32), np.zeros((1, 8), F32)), r"row_logits: .* R >= 1, got \[1, 0\]"),
    ((np.zeros((2, 8), F32), np.zeros((3, 8), F32)), "col_logits: expected 2 tokens as in row_log"),
    ((np.zeros((2, 8)), np.zeros((2, 8), F32)), "row_logits: expected element type .* got float64"),
    ((np.zeros((2, 8), F32), np.zeros((2, 8), int)), "col_logits: expected element .* got int64"),
    (
        (np.zeros((0, 65536), F32), np.zeros((0, 32768), F32)),
        "expected at most 2147483647 experts, got a grid of 65536 x 32768",
    ),
]


@pytest.mark.parametrize("logits, message", ROUTE, ids=lambda v: v if type(v) is str else "")
def test_shapes_of_route(logits, message):
    with pytest.raises(omnimoe.ShapeError, match=message):
        omnimoe.route(*logits, 4)


def test_shapes_of_mlp():
    gate, down = np.zeros((48, 64), F32), np.zeros((64, 48), F32)
    with pytest.raises(omnimoe.ShapeError, match=r"gate: expected \[I, 64\] .* got \[48, 63\]"):
        omnimoe.mlp(X, gate[:, :63], gate, down)
    with pytest.raises(omnimoe.ShapeError, match=r"up: expected \[48, 64\] as gate, got \[47"):
        omnimoe.mlp(X, gate, gate[:47], down)
    with pytest.raises(omnimoe.ShapeError, match=r"down: expected \[64, 48\] .* got \[48, 64\]"):
        omnimoe.mlp(X, gate, gate, gate)
    with pytest.raises(omnimoe.ArgumentError, match="activation: .* got 'swish'"):
        omnimoe.mlp(X, gate, gate, down, activation="swish")


def layer_error(changes, error=omnimoe.ShapeError, **options):
    params = {**make_layer(1), **changes}
    params = {name: array for name, array in params.items() if array is not None}
    with pytest.raises(error) as caught:
        omnimoe.layer(np.zeros((3, 32), F32), params, **{"top_k": 4, **options})
    return str(caught.value)


def test_layer_parameters():
    missing = layer_error({"up_embed": None}, omnimoe.ArgumentError)
    assert "'up_embed' (or 'up_embed.weight')" in missing and "gate_proj" in missing
    variance = layer_error({"router_norm_y.running_var": None}, omnimoe.ArgumentError)
    assert "router_norm_y.running_var" in variance
    assert "experts" in layer_error({"up_embed": np.zeros((47, 32), F32),
                                     "down_embed": np.zeros((47, 32), F32)})
    norm = layer_error({"router_norm_x.running_mean": np.zeros(9, F32)})
    assert norm.startswith("router_norm_x.running_mean: expected [8]") and "got [9]" in norm
    gate = layer_error({"router_gate_y": np.zeros((6, 31), F32)})
    assert gate.startswith("router_gate_y: expected [C, 32]")
    assert "8 x 6" in layer_error({}, omnimoe.ArgumentError, top_k=49)
    weighting = layer_error({}, omnimoe.ArgumentError, weighting="soft")
    assert "weighting: expected one of exp, softmax; got 'soft'" in weighting
    assert "norm_eps" in layer_error({}, omnimoe.ArgumentError, norm_eps=-1.0)


class OnGPU:
    """Says that it is on a CUDA device, and has no memory there."""

    dtype = "float32"

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return (2, 1)

    def __dlpack__(self, **_):
        return _cuda_capsule(self.array)


def _cuda_capsule(array):
    """A DLPack capsule of `array` with the device patched to cuda:1."""
    import ctypes

    capsule = array.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(capsule, b"dltensor")
    device = (ctypes.c_int32 * 2).from_address(address + ctypes.sizeof(ctypes.c_void_p))
    device[0], device[1] = 2, 1
    return capsule


def test_array_on_another_device():
    with pytest.raises(omnimoe.DeviceError, match="down: expected .* on cpu as x, got one on cuda:1"):
        omnimoe.experts(X, UP, OnGPU(DOWN), WEIGHTS, IDS)


def test_broken_dlpack():
    class Broken:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **_):
            return 7

    class Failing(Broken):
        def __dlpack__(self, **_):
            raise BufferError("no export")

    with pytest.raises(omnimoe.ArgumentError, match="no DLPack capsule"):
        omnimoe.experts(Broken(), UP, DOWN, WEIGHTS, IDS)
    with pytest.raises(BufferError, match="no export"):
        omnimoe.experts(Failing(), UP, DOWN, WEIGHTS, IDS)


def test_too_many_dimensions():
    with pytest.raises(omnimoe.ShapeError, match="rank 9"):
        omnimoe.experts(np.zeros([1] * 9, F32), UP, DOWN, WEIGHTS, IDS)


def test_targets():
    assert [target.name for target in omnimoe.targets()] == ["cpu", "sm_90a"]
    assert omnimoe.Target("cpu") == omnimoe.Target() and str(omnimoe.Target()) == "cpu"
    assert omnimoe.Target().chip and "#omnimoe.target" in omnimoe.targets()[0].attribute
    with pytest.raises(omnimoe.DeviceError, match="target: .* 'sm_13'; it can for cpu"):
        omnimoe.Target("sm_13")
    with pytest.raises(omnimoe.DeviceError, match="did you mean 'cpu'"):
        omnimoe.compile("func.func @f() { return }", target="cpuu")


def test_threads_argument():
    for wrong in (-1, 1.5, "2", None, True, 10**6):
        with pytest.raises(omnimoe.ArgumentError, match="threads: expected an integer from 0"):
            omnimoe.set_num_threads(wrong)


def test_an_error_leaves_nothing_behind():
    """A refusal between two calls changes neither."""
    first = omnimoe.experts(*ARGUMENTS)
    for changes in (dict(x=X[:4]), dict(up=UP[:3])):
        with pytest.raises(omnimoe.ShapeError):
            omnimoe.experts(*replaced(**changes))
    np.testing.assert_array_equal(omnimoe.experts(*ARGUMENTS), first)
