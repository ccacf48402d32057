"""Environment variables, dump folders, and the number of threads."""

import numpy as np
import pytest

import omnimoe
import reference
from helpers import assert_close, make_experts

ARGUMENTS = make_experts(1, 17, 24, 9, 3)


def weighted(x, up, down, weights, ids):
    return omnimoe.experts(x, up, down, weights, ids)


def test_dump_of_compile(tmp_path):
    stages = omnimoe._settings.stages()
    everything = tmp_path / "all"
    omnimoe.compile(weighted, args=ARGUMENTS, dump=everything)
    names = sorted(path.name for path in everything.iterdir())
    assert len(names) == len(stages)
    for stage in stages:
        assert any(stage in name for name in names), stage
    some = tmp_path / "some"
    omnimoe.compile(weighted, args=ARGUMENTS, dump=f"schedule,llvm:{some}")
    assert len(list(some.iterdir())) == 2
    assert any("define" in path.read_text() for path in some.iterdir())


def test_dump_by_environment(tmp_path, monkeypatch, fresh_cache):
    omnimoe.experts(*ARGUMENTS)
    omnimoe.clear_cache(disk=False)  # an entry on disk must not hide the dump
    monkeypatch.setenv("OMNIMOE_DUMP", f"input,schedule:{tmp_path / 'dump'}")
    omnimoe.experts(*ARGUMENTS)
    omnimoe.experts(*ARGUMENTS, schedule="dense")
    folders = list((tmp_path / "dump").iterdir())
    assert len(folders) == 2 and all(f.name.startswith("experts-") for f in folders)
    assert all(len(list(folder.iterdir())) == 2 for folder in folders)


@pytest.mark.parametrize(
    "value, message",
    [
        ("nonsense:dir", "unknown stage 'nonsense'; stages are all, input"),
        ("all:", "with a folder"),
    ],
)
def test_wrong_dump(monkeypatch, value, message, fresh_cache):
    with pytest.raises(omnimoe.ArgumentError, match=f"dump: .*{message}"):
        omnimoe.compile(weighted, args=ARGUMENTS, dump=value)
    monkeypatch.setenv("OMNIMOE_DUMP", value)
    with pytest.raises(omnimoe.ArgumentError, match=f"OMNIMOE_DUMP: .*{message}"):
        omnimoe.experts(*ARGUMENTS)


def test_target_by_environment(monkeypatch, fresh_cache):
    text = omnimoe.compile(weighted, args=ARGUMENTS).ir("input")
    monkeypatch.setenv("OMNIMOE_TARGET", "abacus")
    with pytest.raises(omnimoe.DeviceError, match="OMNIMOE_TARGET: .*'abacus'; it can for cpu"):
        omnimoe.compile(text)
    assert omnimoe.compile(text, target="cpu").target == "cpu"
    # Where there are arrays, they decide.
    assert omnimoe.compile(weighted, args=ARGUMENTS).target == "cpu"
    assert omnimoe.experts(*ARGUMENTS).shape == (17, 24)
    monkeypatch.setenv("OMNIMOE_TARGET", "cpu")
    assert omnimoe.compile(text).target == "cpu"


def test_threads_by_environment(run_python):
    script = "import omnimoe; print(omnimoe.get_num_threads())"
    assert run_python(script, OMNIMOE_NUM_THREADS=1).stdout.split() == ["1"]
    wrong = run_python(script, OMNIMOE_NUM_THREADS="many")
    assert "OMNIMOE_NUM_THREADS: expected an integer" in wrong.stderr


def test_set_num_threads():
    before = omnimoe.get_num_threads()
    assert before >= 1
    expected = reference.experts(*ARGUMENTS)
    try:
        for threads in (1, 2, 3):
            omnimoe.set_num_threads(threads)
            assert omnimoe.get_num_threads() == threads
            assert_close(omnimoe.experts(*ARGUMENTS), expected, "f32")
    finally:
        omnimoe.set_num_threads(0)
    assert omnimoe.get_num_threads() == before


def test_log_by_environment(run_python):
    script = (
        "import numpy as np, omnimoe\n"
        "z = np.zeros((2, 8), np.float32)\n"
        "omnimoe.route(z, z, 4)\n"
    )
    assert "omnimoe INFO: " in run_python(script, OMNIMOE_LOG="info").stderr
    assert run_python(script).stderr == ""
    assert "OMNIMOE_LOG: unknown level 'LOUD'" in run_python(script, OMNIMOE_LOG="loud").stderr


def test_version_and_exports():
    assert omnimoe.__version__.count(".") >= 1
    for name in omnimoe.__all__:
        assert getattr(omnimoe, name).__doc__, name


def test_results_of_a_call_are_new_arrays():
    first = omnimoe.experts(*ARGUMENTS)
    kept = first.copy()
    second = omnimoe.experts(*ARGUMENTS._replace(x=-ARGUMENTS.x))
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
