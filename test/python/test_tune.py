"""Schedules that are chosen by what was measured."""

import json

import numpy as np
import pytest

import omnimoe
import reference
from helpers import assert_close, make_experts
from omnimoe import _tune, _tuned

TOKENS, HIDDEN, COUNT, TOP_K = 40, 32, 64, 4
BLOCK = f"f32-n{COUNT}-r1-d{HIDDEN}-k{TOP_K}"
ARGUMENTS = make_experts(1, TOKENS, HIDDEN, COUNT, TOP_K)


def write_table(folder, machine, blocks):
    path = folder / "tuned" / f"{machine}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"blocks": blocks}))
    return path


def times(**seconds):
    """A table's points: the same at every T."""
    return {"1": seconds}


@pytest.fixture
def dense_wins(monkeypatch):
    """No clock: dense is fastest from 16 tokens on."""
    measured = []

    def least_seconds(calls, like):
        tokens = len(like)
        measured.append((tokens, sorted(calls)))
        for call in calls.values():
            assert call().shape == (tokens, HIDDEN)
        ratio = 0.1 if tokens >= 16 else 10
        return {name: 1e-3 * (ratio if name == "dense" else 1) for name in calls}

    monkeypatch.setattr(_tune, "least_seconds", least_seconds)
    return measured


def test_tuning_is_stored_and_found(fresh_cache, run_python):
    tuned = omnimoe.compile(omnimoe.experts, args=ARGUMENTS, tune=True)
    assert_close(tuned(*ARGUMENTS), reference.experts(*ARGUMENTS), "f32")
    assert {choice.reason for choice in tuned.schedules} == {"measured"}
    assert {choice.block for choice in tuned.schedules} == {BLOCK}
    for choice in tuned.schedules:
        assert set(choice.measured) == set(choice.estimates)
        assert 0 < min(choice.measured.values()) < 1

    (path,) = (fresh_cache / "tuned").iterdir()
    points = json.loads(path.read_text())["blocks"][BLOCK]
    assert list(points) == ["1", "4", "16", "40"]

    omnimoe.clear_cache()
    assert path.exists()
    found = run_python(
        "import omnimoe\n"
        "from helpers import make_experts\n"
        f"args = make_experts(2, 3, {HIDDEN}, {COUNT}, {TOP_K})\n"
        "print(repr(omnimoe.compile(omnimoe.experts, args=args).schedules))\n"
    )
    assert found.stdout.strip() == repr(tuned.schedules)


def test_tuning_changes_the_choice(fresh_cache, dense_wins):
    @omnimoe.jit
    def function(x, tables, weights, ids):
        return omnimoe.experts(x, tables["up"], tables["down"], weights, ids)

    x, up, down, weights, ids = ARGUMENTS
    args = (x, {"up": up, "down": down}, weights, ids)
    function(*args)
    assert function.executables[0].schedule == "token_centric"
    tuned = omnimoe.compile(function, args=args, tune=True)
    each = ["dense", "expert_centric", "hybrid", "token_centric"]
    assert dense_wins == [(tokens, each) for tokens in (1, 4, 16, 40)]
    assert tuned.schedule_for(TOKENS) == "dense" and tuned.schedule_for(1) != "dense"
    assert_close(function(*args), reference.experts(*ARGUMENTS), "f32")
    assert function.executables[0].schedules == tuned.schedules
    tuned.save(fresh_cache / "program")
    assert "measured = {" in omnimoe.load(fresh_cache / "program").ir("schedule")


def test_text_with_a_static_number_of_tokens(fresh_cache, dense_wins):
    text = """
    func.func @f(%x: tensor<40x32xf32>, %w: tensor<64x32xf32>, %e: tensor<40x4xi32>,
        %y0: tensor<40x32xf32>) -> tensor<40x32xf32> {
      %s0 = tensor.empty() : tensor<40x4xf32>
      %s = omnimoe.grouped_matmul
        ins(%x, %w, %e : tensor<40x32xf32>, tensor<64x32xf32>, tensor<40x4xi32>)
        outs(%s0 : tensor<40x4xf32>) -> tensor<40x4xf32>
      %y = omnimoe.combine to_tokens
        ins(%s, %w, %e : tensor<40x4xf32>, tensor<64x32xf32>, tensor<40x4xi32>)
        outs(%y0 : tensor<40x32xf32>) -> tensor<40x32xf32>
      return %y : tensor<40x32xf32>
    }"""
    x, up, _, _, ids = ARGUMENTS
    tuned = omnimoe.compile(text, args=(x, up, ids, np.zeros_like(x)), tune=True)
    assert [tokens for tokens, _ in dense_wins] == [TOKENS]
    assert tuned.schedule == "dense" and tuned.schedules[0].reason == "measured"


def test_what_fails_is_left_out(fresh_cache, monkeypatch):
    compile_text = _tune.compile_text

    def refuse_dense(text, **options):
        if "dense" in options["measured"]:
            raise omnimoe.CompileError("no")
        return compile_text(text, **options)

    monkeypatch.setattr(_tune, "compile_text", refuse_dense)
    tuned = omnimoe.compile(omnimoe.experts, args=ARGUMENTS, tune=True)
    assert set(tuned.schedules[0].measured) == {"expert_centric", "hybrid", "token_centric"}


def test_without_a_cache_folder(fresh_cache, dense_wins, monkeypatch, caplog):
    monkeypatch.setenv("OMNIMOE_CACHE_DIR", "")
    tuned = omnimoe.compile(omnimoe.experts, args=ARGUMENTS, tune=True)
    assert tuned.schedule_for(TOKENS) == "dense"
    assert "not stored" in caplog.text
    assert omnimoe.compile(omnimoe.experts, args=ARGUMENTS).schedule == "token_centric"


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"blocks": 3}', json.dumps({"blocks": {BLOCK: {"1": {"fast": 1}}}}),
     json.dumps({"blocks": {BLOCK: {"0": {"dense": 1}}}}),
     json.dumps({"blocks": {BLOCK: {"1": {"dense": "soon"}}}})],
)  # fmt: skip
def test_a_damaged_table_counts_as_none(fresh_cache, content, caplog):
    write_table(fresh_cache, _tuned.machine("cpu"), {}).write_text(content)
    assert omnimoe.compile(omnimoe.experts, args=ARGUMENTS).schedules[0].reason == "estimated"
    assert "holds no measured schedules" in caplog.text


def refused(match, args=None, function=omnimoe.experts, **options):
    with pytest.raises(omnimoe.ArgumentError, match=match):
        omnimoe.compile(function, args=args, tune=True, **options)


def test_errors(fresh_cache):
    x, up, down, weights, ids = ARGUMENTS
    refused("schedule: expected 'auto' to tune, got 'dense'", ARGUMENTS, schedule="dense")
    refused("expert blocks of one shape, got one without any", (x, up, up, up.T.copy()), omnimoe.mlp)
    refused("at least one token", (x[:0], up, down, weights[:0], ids[:0]))
    spec = omnimoe.TensorSpec("float32", (TOKENS, HIDDEN))
    refused("x: expected an array to tune with, got a TensorSpec", (spec, *ARGUMENTS[1:]))

    text = omnimoe.compile(omnimoe.experts, args=ARGUMENTS).ir("input")
    refused("args: expected the program's arguments", function=text)
    refused("expected 5 arrays, got 1", (x,), text)
    refused("up: expected an array .*, got int", (x, 3, down, weights, ids), text)
    attribute = f"omnimoe.target = {omnimoe.targets()[0].attribute}"
    stated = text.replace("module {", f"module attributes {{{attribute}}} {{")
    refused("without omnimoe.target", ARGUMENTS, stated)

    def different(x, up, narrow, other, weights, ids):
        first = omnimoe.experts(x, up, up, weights, ids)
        return first, omnimoe.experts(narrow, other, other, weights, ids)

    args = (x, up, x[:, :8].copy(), up[:, :8].copy(), weights, ids)
    refused("got 2: f32-n64-r1-d32-k4, f32-n64-r1-d8-k4", args, different)
    assert not (fresh_cache / "tuned").exists()


# Tables for a GPU, without one ----------------------------------------------

GPU_BLOCK = "bf16-n4096-r1-d128-k8"


def for_gpu(**options):
    def tensor(dtype, *shape):
        return omnimoe.TensorSpec(dtype, shape)

    table = tensor("bfloat16", 4096, 128)
    args = (
        tensor("bfloat16", None, 128),
        table,
        table,
        tensor("float32", None, 8),
        tensor("int32", None, 8),
    )
    return omnimoe.compile(omnimoe.experts, args=args, target="sm_90a", **options)


@pytest.fixture(params=["user", "shipped"])
def gpu_table(request, fresh_cache, tmp_path, monkeypatch):
    """Writes the user's or the shipped table of the GPU."""
    monkeypatch.setattr(_tuned, "SHIPPED", tmp_path / "package" / "tuned")
    folder = fresh_cache if request.param == "user" else tmp_path / "package"
    return lambda blocks: write_table(folder, _tuned.machine("sm_90a"), blocks)


def test_a_table_for_a_gpu(gpu_table):
    before = for_gpu()
    assert before.schedule_for(1) == "token_centric"
    assert before.schedules[0].reason == "estimated"
    gpu_table({GPU_BLOCK: times(token_centric=2e-3, expert_centric=1e-3)})
    after = for_gpu()
    assert after.schedule == "expert_centric" and not after.cached
    assert "measured = {expert_centric" in after.ir("schedule")
    # So it is where the order of sums is not to matter.
    exact = for_gpu(deterministic=True)
    assert exact.schedule == "expert_centric" and "omnimoe.exact" in exact.ir("schedule")
    assert "omnimoe.exact" not in after.ir("schedule")
    assert for_gpu(schedule="token_centric").schedules[0].reason == "estimated"


def test_only_what_may_be_in_a_program_is_part_of_its_key(gpu_table):
    wins = times(expert_centric=1e-3)
    gpu_table({GPU_BLOCK: wins})
    assert not for_gpu().cached
    others = ("f16-n4096-r1-d128-k8", "bf16-n4095-r1-d128-k8", "bf16-n4096-r2-d128-k8x",
              "bf16-n4096-r1-d64-k8", "bf16-n4096-r1-d128-k9")  # fmt: skip
    gpu_table({GPU_BLOCK: wins, **dict.fromkeys(others, wins)})
    assert for_gpu().cached


def test_the_users_table_stands_above_the_shipped_one(fresh_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(_tuned, "SHIPPED", tmp_path / "tuned")
    name = _tuned.machine("sm_90a")
    write_table(tmp_path, name, {GPU_BLOCK: times(expert_centric=1e-3)})
    assert for_gpu().schedule == "expert_centric"
    write_table(fresh_cache, name, {GPU_BLOCK: times(token_centric=1e-3)})
    assert for_gpu().schedule == "token_centric"


def test_names_of_machines(monkeypatch):
    def device(index, description):
        return omnimoe.DeviceInfo(f"cuda:{index}", description, (9, 0), 132, "sm_90a")

    monkeypatch.setattr(_tuned, "_gpus", lambda: ())
    assert _tuned.machine("sm_90a") == "nvidia-h100-80gb-hbm3"
    two = (device(0, "NVIDIA H200"), device(1, "NVIDIA H100 80GB HBM3 MIG 1g.10gb"))
    monkeypatch.setattr(_tuned, "_gpus", lambda: two)
    assert _tuned.machine("sm_90a") == "nvidia-h200"
    assert _tuned.machine("sm_90a", "cuda:1") == "nvidia-h100-80gb-hbm3-mig-1g-10gb"
    assert _tuned.machine("cpu").endswith(f"-{omnimoe.get_num_threads()}-threads")


def test_a_gpu_like_the_one_of_a_shipped_table(tmp_path, monkeypatch):
    def found(description, units):
        gpu = omnimoe.DeviceInfo("cuda:0", description, (9, 0), units, "sm_90a")
        monkeypatch.setattr(_tuned, "_gpus", lambda: (gpu,))
        return _tuned._shipped(_tuned.machine("sm_90a"), "sm_90a")

    monkeypatch.setattr(_tuned, "SHIPPED", tmp_path / "tuned")
    monkeypatch.setattr(_tuned, "_gpus", lambda: ())
    write_table(tmp_path, _tuned.machine("sm_90a"), {GPU_BLOCK: times(dense=1e-3)})
    assert GPU_BLOCK in found("NVIDIA H200", 132)
    assert not found("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 16)
    write_table(tmp_path, "nvidia-h200", {"its own": times(dense=1e-3)})
    assert list(found("NVIDIA H200", 132)) == ["its own"]


def test_shipped_tables_can_be_read():
    for path in _tuned.SHIPPED.glob("*.json"):
        assert _tuned._parse(path, 0), path
