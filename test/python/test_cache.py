"""The caches: cold, hit, broken entries, several processes and threads."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import omnimoe
import reference
from helpers import assert_close, make_experts

ARGUMENTS = make_experts(1, 5, 24, 9, 3)
EXPECTED = reference.experts(*ARGUMENTS)
CALL = (
    "import sys, omnimoe\n"
    "from helpers import make_experts\n"
    "omnimoe.experts(*make_experts(1, 5, 24, 9, 3))\n"
    "print(omnimoe.cache_info().disk_hits)\n"
)


def entries(folder):
    return sorted(folder.glob("*.omni"))


def test_cold_then_hit(fresh_cache, run_python):
    assert omnimoe.cache_info().disk_programs == 0
    before = omnimoe.cache_info()
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")
    cold = omnimoe.cache_info()
    assert cold.misses == before.misses + 1 and cold.hits == before.hits
    assert cold.programs == 1 and cold.disk_programs == 1 and cold.disk_bytes > 0
    assert cold.directory == str(fresh_cache) and len(entries(fresh_cache)) == 1

    omnimoe.experts(*ARGUMENTS)
    assert omnimoe.cache_info().hits == cold.hits + 1

    omnimoe.clear_cache(disk=False)
    assert omnimoe.cache_info().programs == 0
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")
    assert omnimoe.cache_info().disk_hits == cold.disk_hits + 1
    assert run_python(CALL).stdout.split() == ["1"]


def test_options_are_part_of_the_key(fresh_cache):
    for schedule in ("token_centric", "dense"):
        for deterministic in (False, True):
            omnimoe.experts(*ARGUMENTS, schedule=schedule, deterministic=deterministic)
    assert len(entries(fresh_cache)) == 4
    assert omnimoe.cache_info().programs == 4


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "folder"])
def test_broken_entry_is_compiled_again(fresh_cache, damage):
    omnimoe.experts(*ARGUMENTS)
    (entry,) = entries(fresh_cache)
    content = bytearray(entry.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "empty":
        content.clear()
    elif damage == "foreign":
        content[:] = os.urandom(5000)
    entry.unlink()
    if damage == "folder":
        entry.mkdir()
    else:
        entry.write_bytes(content)
    omnimoe.clear_cache(disk=False)
    hits = omnimoe.cache_info().disk_hits
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")
    assert omnimoe.cache_info().disk_hits == hits
    if damage != "folder":  # the entry is whole again
        omnimoe.clear_cache(disk=False)
        omnimoe.experts(*ARGUMENTS)
        assert omnimoe.cache_info().disk_hits == hits + 1


def test_cache_that_cannot_be_written(fresh_cache, monkeypatch):
    fresh_cache.parent.mkdir(exist_ok=True)
    fresh_cache.write_text("a file where the folder should be")
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")


def test_no_disk_cache(fresh_cache, monkeypatch):
    monkeypatch.setenv("OMNIMOE_CACHE_DIR", "")
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")
    info = omnimoe.cache_info()
    assert info.directory is None and info.disk_programs == 0
    assert not fresh_cache.exists()


def test_default_folder(run_python, tmp_path):
    script = "import omnimoe; print(omnimoe.cache_info().directory)"
    environment = {"HOME": tmp_path, "XDG_CACHE_HOME": ""}
    variables = {k: v for k, v in os.environ.items() if k != "OMNIMOE_CACHE_DIR"}
    variables.update({k: str(v) for k, v in environment.items()})
    variables["PYTHONPATH"] = str(Path(omnimoe.__file__).parent.parent)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / ".cache" / "omnimoe"), done.stderr


def test_clear_cache(fresh_cache):
    omnimoe.experts(*ARGUMENTS)
    other = fresh_cache / "notes.txt"
    other.write_text("not ours")
    omnimoe.clear_cache()
    assert not entries(fresh_cache) and other.exists()
    assert_close(omnimoe.experts(*ARGUMENTS), EXPECTED, "f32")


def test_clearing_keeps_what_is_held(fresh_cache):
    executable = omnimoe.compile(
        lambda x, up, down, w, e: omnimoe.experts(x, up, down, w, e), args=ARGUMENTS
    )
    omnimoe.clear_cache()
    assert_close(executable(*ARGUMENTS), EXPECTED, "f32")


def test_many_processes_at_once(fresh_cache, run_python):
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: run_python(CALL), range(4)))
    assert all(run.stdout.strip() in ("0", "1") for run in done)
    assert len(entries(fresh_cache)) == 1
    assert not [path for path in fresh_cache.iterdir() if path.suffix == ".tmp"]
    assert run_python(CALL).stdout.split() == ["1"]


def test_many_threads_compile_once(fresh_cache):
    before = omnimoe.cache_info()
    barrier = threading.Barrier(4)

    def call(_):
        barrier.wait()
        return omnimoe.experts(*ARGUMENTS)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, range(4)))
    for y in results:
        assert_close(y, EXPECTED, "f32")
    assert omnimoe.cache_info().programs == 1
    assert omnimoe.cache_info().disk_hits == before.disk_hits


def test_threads_share_an_executable():
    executable = omnimoe.compile(
        lambda x, up, down, w, e: omnimoe.experts(x, up, down, w, e), args=ARGUMENTS
    )
    inputs = [make_experts(1, tokens, 24, 9, 3) for tokens in (0, 1, 5, 33)]
    expected = [reference.experts(*arguments) for arguments in inputs]

    def call(index):
        return [executable(*inputs[(index + i) % 4]) for i in range(50)]

    with ThreadPoolExecutor(4) as pool:
        for index, results in enumerate(pool.map(call, range(4))):
            for i, y in enumerate(results):
                assert_close(y, expected[(index + i) % 4], "f32")


def test_other_threads_run_while_one_compiles(fresh_cache):
    """The interpreter's lock is free during a compilation."""
    ticks = []
    done = threading.Event()

    def tick():
        while not done.wait(0.002):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        omnimoe.experts(*make_experts(1, 5, 28, 9, 3))
    finally:
        done.set()
        thread.join()
    assert len(ticks) > 5
