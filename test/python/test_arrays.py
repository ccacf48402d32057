"""Arrays of every kind: strides, DLPack, read-only, torch, and what comes back."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnimoe
import reference
from helpers import assert_close, make_experts


def strided(array, kind):
    """An equal array with another layout in memory."""
    if kind == "fortran":
        return np.asfortranarray(array)
    if kind == "reversed":
        return array[::-1].copy()[::-1]
    if kind == "every second":
        double = np.zeros([2 * size for size in array.shape], array.dtype)
        view = double[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if kind == "unaligned":
        raw = np.empty(array.nbytes + 1, np.uint8)
        view = raw[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    if kind == "read only":
        copy = array.copy()
        copy.flags.writeable = False
        return copy
    return array


LAYOUTS = ["plain", "fortran", "reversed", "every second", "unaligned", "read only"]


@given(st.lists(st.sampled_from(LAYOUTS), min_size=5, max_size=5), st.sampled_from([0, 1, 17]))
def test_layouts(layouts, tokens):
    arguments = make_experts(1, tokens, 64, 64, 8)
    y = omnimoe.experts(*[strided(a, layout) for a, layout in zip(arguments, layouts)])
    assert_close(y, reference.experts(*arguments), "f32")


def test_broadcast_array():
    arguments = make_experts(2, 17, 64, 64, 8)
    x = np.broadcast_to(arguments.x[:1], (17, 64))
    y = omnimoe.experts(*arguments._replace(x=x))
    assert_close(y, reference.experts(*arguments._replace(x=x)), "f32")


def test_inputs_are_not_changed():
    arguments = make_experts(3, 17, 64, 64, 8)
    before = [a.copy() for a in arguments]
    omnimoe.experts(*arguments)
    for array, copy in zip(arguments, before):
        np.testing.assert_array_equal(array, copy)


def test_no_torch_unless_the_user_has_it(run_python):
    run_python(
        "import sys, numpy as np, omnimoe\n"
        "z = np.zeros((2, 8), np.float32)\n"
        "omnimoe.route(z, z, 4)\n"
        "assert 'torch' not in sys.modules\n"
    )


class Producer:
    """Speaks DLPack and nothing else; `versioned` as newer producers do."""

    def __init__(self, array, versioned):
        self.array = array
        if versioned:
            self.__class__ = VersionedProducer

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


class VersionedProducer(Producer):
    def __dlpack__(self, stream=None, max_version=None, dl_device=None, copy=None):
        return self.array.__dlpack__(max_version=max_version)


class ArrayInterface:
    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


@pytest.mark.parametrize("layout", ["plain", "fortran", "every second"])
@pytest.mark.parametrize("wrap", ["dlpack", "versioned dlpack", "array interface"])
def test_other_producers(wrap, layout):
    arguments = make_experts(4, 17, 64, 64, 8)
    arrays = [strided(a, layout) for a in arguments]
    if wrap == "array interface":
        wrapped = [ArrayInterface(a) for a in arrays]
    else:
        wrapped = [Producer(a, wrap != "dlpack") for a in arrays]
    references = [sys.getrefcount(a) for a in arrays]
    y = omnimoe.experts(*wrapped)
    assert isinstance(y, np.ndarray)
    assert_close(y, reference.experts(*arguments), "f32")
    assert [sys.getrefcount(a) for a in arrays] == references


def test_results_take_the_kind_of_an_array_namespace():
    class Namespace:
        @staticmethod
        def from_dlpack(array):
            return ("converted", np.from_dlpack(array))

    class Other(VersionedProducer):
        def __init__(self, array):
            self.array = array

        def __array_namespace__(self, api_version=None):
            return Namespace

    arguments = make_experts(5, 3, 64, 64, 8)
    kind, y = omnimoe.experts(Other(arguments.x), *arguments[1:])
    assert kind == "converted"
    assert_close(y, reference.experts(*arguments), "f32")


# torch -----------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch(torch, dtype):
    kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[dtype]
    arguments = make_experts(6, 17, 64, 64, 8)
    tensors = [torch.from_numpy(a) for a in arguments]
    short = [t.to(getattr(torch, dtype)) for t in tensors[:3]] + tensors[3:]
    y = omnimoe.experts(*short)
    assert isinstance(y, torch.Tensor) and y.dtype == getattr(torch, dtype)
    rounded = [t.float().numpy() for t in short[:3]] + list(arguments[3:])
    assert_close(y.float().numpy(), reference.experts(*rounded), kind)


def test_torch_strides_gradients_and_parameters(torch):
    arguments = make_experts(7, 17, 64, 64, 8)
    tensors = [torch.from_numpy(a) for a in arguments]
    expected = reference.experts(*arguments)
    transposed = [t.t().contiguous().t() for t in tensors]
    assert_close(omnimoe.experts(*transposed).numpy(), expected, "f32")
    table = torch.nn.Parameter(tensors[1])
    leaf = tensors[0].clone().requires_grad_()
    y = omnimoe.experts(leaf, table, *tensors[2:])
    assert not y.requires_grad
    assert_close(y.numpy(), expected, "f32")


def test_torch_first_argument_decides(torch):
    arguments = make_experts(8, 3, 64, 64, 8)
    mixed = omnimoe.experts(torch.from_numpy(arguments.x), *arguments[1:])
    assert isinstance(mixed, torch.Tensor)
    mixed = omnimoe.experts(arguments.x, *[torch.from_numpy(a) for a in arguments[1:]])
    assert isinstance(mixed, np.ndarray)
    scores, ids = omnimoe.route(torch.zeros(2, 8), torch.zeros(2, 8), 4)
    assert scores.dtype == torch.float32 and ids.dtype == torch.int32
    assert omnimoe.route(torch.zeros(0, 8), torch.zeros(0, 8), 4)[0].shape == (0, 4)


def test_torch_meta_tensors_are_refused(torch):
    arguments = make_experts(9, 3, 64, 64, 8)
    x = torch.empty(3, 64, device="meta")
    with pytest.raises((omnimoe.OmniMoEError, ValueError, BufferError, RuntimeError)):
        omnimoe.experts(x, *[torch.from_numpy(a) for a in arguments[1:]])


def test_torch_module_as_parameters(torch):
    from helpers import make_layer

    params = make_layer(10)
    module = torch.nn.Module()
    for name, array in params.items():
        if "norm" not in name:
            holder = torch.nn.Module()
            holder.weight = torch.nn.Parameter(torch.from_numpy(array))
            setattr(module, name, holder)
    for axis, size in (("x", 8), ("y", 6)):
        norm = torch.nn.BatchNorm1d(size, affine=False)
        norm.running_mean.copy_(torch.from_numpy(params[f"router_norm_{axis}.running_mean"]))
        norm.running_var.copy_(torch.from_numpy(params[f"router_norm_{axis}.running_var"]))
        setattr(module, f"router_norm_{axis}", norm)
    x = np.random.default_rng(11).standard_normal((17, 32), np.float32)
    expected = omnimoe.layer(x, params, top_k=5)
    for source in (module, module.state_dict()):
        y = omnimoe.layer(torch.from_numpy(x), source, top_k=5)
        np.testing.assert_array_equal(y.numpy(), expected)
