"""Products of gathered rows on the GPU, against float64."""

import numpy as np
import pytest
from gpu_arrays import all_to_gpu, assert_close, poison, torch
from products import gathered_arguments, gathered_reference, gathered_text

import omnimoe


def check(count, of, columns, summed, *, dynamic=False, **options):
    shape = count, of, columns, summed
    about = {name: options[name] for name in ("dtype", "matrices") if name in options}
    arguments = gathered_arguments(count, *shape, **about)
    text = gathered_text(None if dynamic else count, *shape[1:], **options)
    program = omnimoe.compile(text, target=omnimoe.devices()[0].target)
    expected = gathered_reference(*arguments)
    poison()
    y = program(*all_to_gpu(arguments))
    assert_close(y, expected, options.get("result") or options["dtype"])
    nowhere = torch.from_numpy(~expected.any(axis=1)).cuda()
    assert not y[nowhere].any(), "rows of nothing are zeros"
    return program


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(
    "shape",
    [(129, 1, 256, 64), (128, 7, 288, 72), (300, 50, 320, 2056), (1001, 3000, 512, 1000)],
)
def test_sizes(dtype, shape):
    """A tile that is not full, in rows, columns and along the sums."""
    assert "cp.async.mbarrier" in check(*shape, dtype=dtype).ptx


def test_tiles_of_a_block():
    check(20000, 900, 512, 264, dtype="bf16")


@pytest.mark.parametrize("count", [150, 700])
def test_sums_in_parts(count):
    program = check(count, 900, 1024, 4096, dtype="bf16")
    assert "omnimoe.parts" in program.ir("tile")


@pytest.mark.parametrize("options", [{"matrices": 2}, {"result": "f32"}, {"guarded": True}])
def test_epilogues(options):
    check(515, 300, 800, 520, dtype="bf16", **options)


@pytest.mark.parametrize("count", [0, 1, 32, 33, 600, 5000])
def test_any_number_of_rows(count):
    """Few are gathered by another kernel, which needs the program's own guard."""
    check(count, 900, 1024, 1024, dtype="bf16", dynamic=True, guarded=True)


def test_same_bits_every_time():
    arguments = gathered_arguments(5, 4000, 600, 1024, 1024, dtype="bf16")
    text = gathered_text(4000, 600, 1024, 1024, dtype="bf16")
    program = omnimoe.compile(text, target=omnimoe.devices()[0].target)
    gpu = all_to_gpu(arguments)
    first = program(*gpu)
    for _ in range(50):
        poison()
        assert torch.equal(program(*gpu), first)
    # A row gives the same wherever it is.
    rows = torch.arange(4000, dtype=torch.int32).cuda() % 600
    again = program(rows, *gpu[1:])
    assert torch.equal(again[:600], again[600:1200])
    assert np.isfinite(again.float().cpu().numpy()).all()
