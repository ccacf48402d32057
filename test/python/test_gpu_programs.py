"""Programs for GPUs that can be judged without one: that they compile, and where
their results lie."""

import pytest

import omnimoe
from omnimoe import TensorSpec
from omnimoe._autodiff import backward_ir

DTYPES = ["float32", "float16", "bfloat16"]


def mlp_text(dtype, hidden, inner):
    sizes = (None, hidden), (inner, hidden), (inner, hidden), (hidden, inner)
    return omnimoe.jit(omnimoe.mlp).program_text([TensorSpec(dtype, s) for s in sizes])[0]


def experts_text(dtype, table):
    hidden = table[-1]
    specs = [TensorSpec(dtype, sizes) for sizes in ((None, hidden), table, table)]
    specs += [TensorSpec("float32", (None, 5)), TensorSpec("int32", (None, 5))]
    return omnimoe.jit(omnimoe.experts).program_text(specs)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "hidden, inner", [(1, 1), (7, 13), (128, 256), (256, 128), (1024, 513), (256, 1024)]
)
def test_mlp_compiles(dtype, hidden, inner):
    """Whatever sizes of tiles suit the one product and the other."""
    assert omnimoe.compile(mlp_text(dtype, hidden, inner), target="sm_90a").target == "sm_90a"


@pytest.mark.parametrize("dtype", DTYPES[::2])
@pytest.mark.parametrize(
    "forward",
    [
        lambda dtype: mlp_text(dtype, 32, 48),
        lambda dtype: experts_text(dtype, (48, 32)),
        lambda dtype: experts_text(dtype, (7, 3, 19)),
    ],
    ids=["mlp", "experts", "wide_experts"],
)
def test_gradients_of_one_type_are_not_copied(dtype, forward):
    """The gradients of two arguments of one type start from one zero; neither is
    computed in the other's memory."""
    text = backward_ir(forward(dtype))
    bufferized = omnimoe.compile(text, target="sm_90a").ir("bufferize")
    copies = [line for line in bufferized.splitlines() if "memref.copy" in line]
    # What a tile reads into its registers is a copy too.
    assert all("%alloc" in line for line in copies)
