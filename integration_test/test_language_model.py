"""The language model learns, resumes bit for bit, and reports."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examples.language_model import feed_forward, text, training  # noqa: E402
from examples.language_model.model import LanguageModel, Sizes  # noqa: E402

TINY = Sizes(hidden=32, inner=48, layers=1, window=32)
#: Nats a byte by which the short run below must lower the validation loss.
REDUCTION = 1.5


def start(kind="omnimoe", **options):
    data = text.split(text.read(None), TINY.window)
    plan = training.Options(**{"steps": 60, "batch": 8, "warmup": 5, "rate": 1e-2, **options})
    return training.Run(kind, TINY, plan, data, torch.device("cpu"))


def test_a_short_run_learns():
    run = start()
    before = run.evaluate(2048)
    for _ in range(run.options.steps):
        run.advance()
    after = run.evaluate(2048)
    assert before > 5.4  # about log 256: nothing is known yet
    assert after < before - REDUCTION
    assert run.model.balance_loss() > 0
    assert run.model.blocks[0].feed_forward.expert_usage.sum() > 0
    sample = run.model.generate(b"The ", 8, 0.7, torch.Generator().manual_seed(0))
    assert sample.startswith(b"The ") and len(sample) == 12


def everything(run):
    """All tensors and numbers that a run consists of."""
    state = dict(run.model.state_dict())
    for number, parameter in run.optimizer.state_dict()["state"].items():
        state.update({f"{number}.{name}": value for name, value in parameter.items()})
    state["batches"] = run.generator.get_state()
    return state, run.step, run.history.training, run.history.validation


def test_resuming_changes_no_bit(tmp_path):
    whole = start()
    for step in range(8):
        whole.advance()
        if step == 3:
            whole.evaluate(512)
    first = start()
    for _ in range(4):
        first.advance()
    first.evaluate(512)
    first.save(tmp_path / "model.pt")

    second = start()
    torch.manual_seed(123)  # as another process would have it
    second.load(tmp_path / "model.pt")
    assert torch.equal(torch.get_rng_state(), torch.load(tmp_path / "model.pt")["random"])
    for _ in range(4):
        second.advance()
    (state, *numbers), (expected, *expected_numbers) = everything(second), everything(whole)
    assert numbers == expected_numbers
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name

    with pytest.raises(ValueError, match="options"):
        start(steps=9).load(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", feed_forward.KINDS)
def test_kinds_are_of_equal_size_and_learn(kind):
    sizes = Sizes()
    active = LanguageModel(kind, sizes).active_parameters
    dense = sizes.layers * (4 * sizes.hidden**2 + 3 * sizes.hidden * sizes.inner)
    assert abs(active / dense - 1) < 2e-3
    run = start(kind, steps=30)
    losses = [run.advance() for _ in range(30)]
    assert sum(losses[-3:]) / 3 < losses[0] - 0.8
    assert all(p.grad is not None for p in run.model.parameters())


def test_text_splits_and_windows(tmp_path):
    training_part, validation = text.split(bytes(range(256)) * 400, 16)
    assert len(training_part) + len(validation) == 102400
    assert 0.05 < len(validation) / 102400 < 0.15
    batches = list(text.windows(validation, 32, 16))
    assert torch.equal(batches[0][0][0, 1:], batches[0][1][0, :-1])
    assert sum(targets.numel() for _, targets in batches) > len(validation) - 17
    inputs, targets = text.batch(training_part, 4, 16, torch.Generator().manual_seed(0))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    with pytest.raises(ValueError, match="too few"):
        text.split(b"short", 16)


def run_example(*arguments):
    command = [sys.executable, str(ROOT / "examples/language_model/run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_command(tmp_path):
    (tmp_path / "text").write_bytes(Path(__file__).read_bytes() * 4)
    arguments = "--kinds omnimoe,dense --steps 4 --batch 2 --window 16 --hidden 16 --inner 24"
    arguments = [*arguments.split(), "--layers", "1", "--checkpoint-every", "2", "--sample", "8"]
    arguments += ["--text", str(tmp_path / "text"), "--output", str(tmp_path / "out")]
    done = run_example(*arguments)
    assert done.returncode == 0, done.stderr
    for part in ("omnimoe", "dense", "validation", "bits/byte", "written by omnimoe"):
        assert part in done.stdout, part
    rows = list(csv.DictReader((tmp_path / "out" / "losses.csv").open()))
    assert sum(row["kind"] == "dense" and row["part"] == "training" for row in rows) == 4
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "install matplotlib" in done.stdout
    else:
        assert (tmp_path / "out" / "losses.png").read_bytes().startswith(b"\x89PNG")

    resumed = run_example(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    again = list(csv.DictReader((tmp_path / "out" / "losses.csv").open()))
    assert [r for r in again if r["part"] == "training"] == [
        r for r in rows if r["part"] == "training"
    ]
    other = run_example(*arguments, "--resume", "--seed", "1")
    assert other.returncode == 1 and "--resume: " in other.stderr


def test_command_refuses_what_it_cannot_do():
    done = run_example("--kinds", "sparse")
    assert done.returncode == 2 and "expected some of omnimoe, dense" in done.stderr
    done = run_example("--text", "/nonexistent")
    assert done.returncode == 1 and done.stderr.startswith("--text: ")
