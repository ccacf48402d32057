"""compile, Executable, save and load."""

import os

import numpy as np
import pytest

import omnimoe
import reference
from helpers import assert_close, make_experts

ARGUMENTS = make_experts(1, 17, 64, 64, 8)

TEXT = """
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @twice(%x: tensor<?x20xf32>) -> tensor<?x20xf32> {
  %c0 = arith.constant 0 : index
  %T = tensor.dim %x, %c0 : tensor<?x20xf32>
  %init = tensor.empty(%T) : tensor<?x20xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%x : tensor<?x20xf32>) outs(%init : tensor<?x20xf32>) {
  ^bb0(%a: f32, %b: f32):
    %sum = arith.addf %a, %a : f32
    linalg.yield %sum : f32
  } -> tensor<?x20xf32>
  return %y : tensor<?x20xf32>
}
"""
X = np.arange(60, dtype=np.float32).reshape(3, 20)


def weighted(x, up, down, weights, ids):
    return omnimoe.experts(x, up, down, weights, ids)


@pytest.fixture(scope="module")
def executable():
    return omnimoe.compile(weighted, args=ARGUMENTS, schedule="token_centric")


def test_text_and_path(tmp_path):
    from_text = omnimoe.compile(TEXT)
    np.testing.assert_array_equal(from_text(X), 2 * X)
    assert from_text.entry == "twice" and from_text.schedule == ""
    path = tmp_path / "twice.mlir"
    path.write_text(TEXT)
    for source in (path, str(path)):
        np.testing.assert_array_equal(omnimoe.compile(source)(X), 2 * X)


def test_function_with_arrays_or_specs(executable):
    assert_close(executable(*ARGUMENTS), reference.experts(*ARGUMENTS), "f32")
    specs = [
        omnimoe.TensorSpec("float32", (None, 64)),
        omnimoe.TensorSpec("f32", (64, 64)),
        omnimoe.TensorSpec("f32", (64, 64)),
        omnimoe.TensorSpec("f32", (None, 8)),
        omnimoe.TensorSpec("int32", (None, 8)),
    ]
    assert omnimoe.compile(weighted, args=specs).ir("input") == executable.ir("input")


def test_jitted_function_compiled_again():
    jitted = omnimoe.jit(weighted)
    with pytest.raises(omnimoe.ArgumentError, match="args: .* 0 sets of types"):
        omnimoe.compile(jitted)
    y = jitted(*ARGUMENTS)
    again = omnimoe.compile(jitted, schedule="dense")
    assert again.schedule == "dense"
    np.testing.assert_allclose(again(*ARGUMENTS), y, rtol=1e-4, atol=1e-5)


def test_what_an_executable_says(executable):
    assert [str(tensor) for tensor in executable.inputs] == [
        "x: float32 [T, 64]",
        "up: float32 [64, 64]",
        "down: float32 [64, 64]",
        "weights: float32 [T, 8]",
        "ids: int32 [T, 8]",
    ]
    (result,) = executable.outputs
    assert (result.dtype, result.shape) == ("float32", (None, 64))
    assert executable.target == "cpu" and executable.chip == omnimoe.Target().chip
    assert executable.schedule == "token_centric" == executable.schedule_for(1)
    assert executable.schedules[0].min_tokens == 0
    assert executable.schedules[-1].max_tokens is None
    assert executable.estimates["token_centric"] > 0
    assert executable.compile_seconds > 0
    assert executable.workspace_size(0) >= 0
    assert executable.workspace_size(1000) >= executable.workspace_size(1)
    assert "weighted(x: float32 [T, 64]" in repr(executable)


def test_auto_chooses_among_estimates():
    auto = omnimoe.compile(weighted, args=ARGUMENTS)
    assert set(auto.estimates) >= {"token_centric", "expert_centric", "dense"}
    for choice in auto.schedules:
        assert choice.schedule in choice.estimates
    for tokens in (0, 1, 10, 10**6):
        assert auto.schedule_for(tokens) in auto.estimates


def test_ir_after_each_stage(executable):
    marks = {
        "input": "omnimoe.grouped_matmul",
        "schedule": "#omnimoe.schedule<token_centric",
        "bufferize": "memref<",
        "llvm-dialect": "llvm.func",
        "llvm": "define ",
        "asm": ".text",
    }
    for stage, mark in marks.items():
        assert mark in executable.ir(stage), stage
    assert executable.llvm == executable.ir("llvm")
    with pytest.raises(omnimoe.ArgumentError, match="stage: .*input, .*asm; got 'lvm'.*'llvm'"):
        executable.ir("lvm")
    with pytest.raises(omnimoe.DeviceError, match="ptx: expected a program for a CUDA GPU"):
        executable.ptx


def test_wrong_calls(executable):
    x, up, down, weights, ids = ARGUMENTS
    cases = [
        ((x, up, down, weights), omnimoe.ArgumentError, "expected 5 arrays, got 4"),
        ((x[:, :63], up, down, weights, ids), omnimoe.ShapeError,
         r"x: expected float32 \[T, 64\], got float32 \[17, 63\]"),
        ((x, up[0], down, weights, ids), omnimoe.ShapeError,
         r"up: expected float32 \[64, 64\], got float32 \[64\]"),
        ((x, up, down, weights[:4], ids), omnimoe.ShapeError,
         "weights: expected T = 17 tokens as in x, got 4"),
        ((x, up, down, weights, ids.astype(np.int64)), omnimoe.ShapeError,
         r"ids: expected int32 \[T, 8\], got int64 \[17, 8\]"),
        ((None, up, down, weights, ids), omnimoe.ArgumentError, "x: expected an array .* NoneType"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            executable(*arguments)


def test_invoke_refusals(executable):
    out = np.empty((17, 64), np.float32)
    with pytest.raises(omnimoe.ArgumentError, match="5 inputs and 1 outputs, got 5 arrays"):
        executable.invoke(*ARGUMENTS)
    with pytest.raises(omnimoe.ShapeError, match="expected a row-major contiguous"):
        executable.invoke(*ARGUMENTS, np.empty((64, 17), np.float32).T)
    with pytest.raises(omnimoe.ShapeError, match="expected T = 17 tokens as in x, got 3"):
        executable.invoke(*ARGUMENTS, out[:3])
    out.flags.writeable = False
    with pytest.raises(omnimoe.ArgumentError, match="can be written to"):
        executable.invoke(*ARGUMENTS, out)
    with pytest.raises(omnimoe.ArgumentError, match="workspace: expected a writable buffer"):
        executable.invoke(*ARGUMENTS, out.copy(), workspace=3)
    needed = executable.workspace_size(17)
    if needed:
        with pytest.raises(omnimoe.ArgumentError, match=f"at least {needed} bytes .* got 0"):
            executable.invoke(*ARGUMENTS, out.copy(), workspace=bytearray())
    with pytest.raises(omnimoe.ArgumentError, match="tokens: expected 0 or more, got -1"):
        executable.workspace_size(-1)


def test_save_and_load(executable, tmp_path, run_python):
    path = tmp_path / "program.omni"
    executable.save(path)
    y = executable(*ARGUMENTS)
    loaded = omnimoe.load(str(path))
    np.testing.assert_array_equal(loaded(*ARGUMENTS), y)
    assert loaded.inputs == executable.inputs and loaded.schedules == executable.schedules
    assert loaded.ir("input") == executable.ir("input")
    np.save(tmp_path / "y.npy", y)
    run_python(
        "import numpy as np, omnimoe\n"
        "from helpers import make_experts\n"
        f"program = omnimoe.load({str(path)!r})\n"
        "y = program(*make_experts(1, 17, 64, 64, 8))\n"
        f"np.testing.assert_array_equal(y, np.load({str(tmp_path / 'y.npy')!r}))\n",
        OMNIMOE_CACHE_DIR="",
    )


def test_files_that_are_no_program(executable, tmp_path):
    with pytest.raises(omnimoe.FileError, match="nowhere"):
        omnimoe.load(tmp_path / "nowhere")
    with pytest.raises(omnimoe.FileError):
        executable.save(tmp_path / "no" / "folder" / "x.omni")
    whole = tmp_path / "whole.omni"
    executable.save(whole)
    content = whole.read_bytes()
    broken = tmp_path / "broken.omni"
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 0x40
    for damage in (b"", b"\0" * 100, content[:-1], content[: len(content) // 2], bytes(flipped)):
        broken.write_bytes(damage)
        with pytest.raises(omnimoe.FileError):
            omnimoe.load(broken)


def test_text_that_is_no_program():
    with pytest.raises(omnimoe.CompileError) as caught:
        omnimoe.compile("func.func @f(%x: tensor<?x20xf32>) -> tensor<?x20xf32> {\n oops\n}")
    assert any("error: " in text and ":2:" in text for text in caught.value.diagnostics)
    with pytest.raises(omnimoe.CompileError):
        omnimoe.compile("")
    with pytest.raises(omnimoe.CompileError) as caught:
        omnimoe.compile(TEXT.replace("ins(%x : tensor<?x20xf32>)", "ins(%x : tensor<?x21xf32>)"))
    assert caught.value.diagnostics
    with pytest.raises(omnimoe.FileError, match="cannot read 'no/such/file.mlir'"):
        omnimoe.compile("no/such/file.mlir")
    with pytest.raises(omnimoe.ArgumentError, match="expected MLIR text, a path or a function"):
        omnimoe.compile(7)
    with pytest.raises(omnimoe.ArgumentError, match="schedule: .* got 'fast'"):
        omnimoe.compile(TEXT, schedule="fast")


def test_ir_that_verifies_but_cannot_be_lowered():
    text = (
        "func.func private @unknown(tensor<?x20xf32>) -> tensor<?x20xf32>\n"
        "func.func @f(%x: tensor<?x20xf32>) -> tensor<?x20xf32> {\n"
        "  %y = func.call @unknown(%x) : (tensor<?x20xf32>) -> tensor<?x20xf32>\n"
        "  return %y : tensor<?x20xf32>\n}\n"
    )
    with pytest.raises(omnimoe.CompileError) as caught:
        omnimoe.compile(text)
    assert caught.value.diagnostics
    if caught.value.reproducer:
        assert os.path.exists(caught.value.reproducer)


def test_run_pipeline():
    assert "func.func @twice" in omnimoe.run_pipeline(TEXT, "omnimoe-select-schedule")
    assert "llvm.func" in omnimoe.run_pipeline(TEXT, "omnimoe-to-llvm")
    with pytest.raises(omnimoe.ArgumentError, match="no-such-pass"):
        omnimoe.run_pipeline(TEXT, "no-such-pass")
    with pytest.raises(omnimoe.CompileError):
        omnimoe.run_pipeline("oops", "omnimoe-to-llvm")
