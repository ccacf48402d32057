"""Training one model: steps, evaluation, and checkpoints that resume exactly."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch

from examples.language_model import text
from examples.language_model.graph import GraphedStep
from examples.language_model.model import LanguageModel, Sizes, parameter_groups

@dataclass(frozen=True)
class Options:
    """How a model is trained; the same for every kind."""

    steps: int = 150
    batch: int = 16
    rate: float = 4e-3
    warmup: int = 20
    weight_decay: float = 0.1
    clip: float = 1.0
    balance: float = 0.01
    seed: int = 0


@dataclass
class History:
    """What was measured, by step."""

    training: List[Tuple[int, float]] = field(default_factory=list)
    validation: List[Tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


class Run:
    """The state of one training run; `save` and `load` hold all of it."""

    def __init__(
        self,
        kind: str,
        sizes: Sizes,
        options: Options,
        data: Tuple[torch.Tensor, torch.Tensor],
        device: torch.device,
    ) -> None:
        torch.manual_seed(options.seed)
        self.options, self.device = options, device
        self.model = LanguageModel(kind, sizes).to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=torch.tensor(options.rate, device=device) if self._on_gpu else options.rate,
            betas=(0.9, 0.98),
            capturable=self._on_gpu,
        )
        self.training_text, self.validation_text = data
        #: Draws the batches, apart from torch's own generators.
        self.generator = torch.Generator().manual_seed(options.seed)
        self.step = 0
        self.history = History()
        self._graph: Optional[GraphedStep] = None

    def advance(self) -> float:
        """One step; returns its loss in nats a byte."""
        for group in self.optimizer.param_groups:
            rate = self.options.rate * self._fraction()
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        tokens, targets = text.batch(
            self.training_text, self.options.batch, self.model.sizes.window, self.generator
        )
        self.model.train()
        run = self._graph or self.compute
        value = float(run(tokens.to(self.device), targets.to(self.device)))
        self.step += 1
        self.history.training.append((self.step, value))
        return value

    def compute(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Forward, backward and update on a batch; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model.loss(tokens, targets)
        (loss + self.options.balance * self.model.balance_loss()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        return loss.detach()

    def use_graph(self) -> None:
        """Captures the step into one CUDA graph, which the next steps replay."""
        self._graph = GraphedStep(self)

    def _fraction(self) -> float:
        """The learning rate over its peak: a linear rise, then half a cosine
        down to a twentieth."""
        options = self.options
        if self.step < options.warmup:
            return (self.step + 1) / options.warmup
        done = (self.step - options.warmup) / max(options.steps - options.warmup, 1)
        return 0.05 + 0.95 * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    @torch.no_grad()
    def evaluate(self, limit: Optional[int] = None) -> float:
        """Loss in nats a byte on the validation text, or on about its first
        `limit` bytes; noted in the history."""
        self.model.eval()
        total, count = 0.0, 0
        data = self.validation_text if limit is None else self.validation_text[: limit + 1]
        for tokens, targets in text.windows(data, 32, self.model.sizes.window):
            loss = self.model.loss(tokens.to(self.device), targets.to(self.device))
            total += float(loss) * targets.numel()
            count += targets.numel()
        self.history.validation.append((self.step, total / count))
        return total / count

    # Checkpoints -----------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes everything that the steps to come depend on."""
        state = {
            "kind": self.model.kind,
            "sizes": asdict(self.model.sizes),
            "options": asdict(self.options),
            "step": self.step,
            "history": asdict(self.history),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self._on_gpu else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        torch.save(state, unfinished)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        """Continues where the checkpoint stands.

        Raises:
          ValueError: the checkpoint is of another kind, size or plan.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        mine: Dict[str, Any] = {
            "kind": self.model.kind,
            "sizes": asdict(self.model.sizes),
            "options": asdict(self.options),
        }
        for name, value in mine.items():
            if state[name] != value:
                raise ValueError(f"{path}: {name} is {state[name]}, this run has {value}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["batches"])
        torch.set_rng_state(state["random"])
        if self._on_gpu:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.step = state["step"]
        self.history = History(**state["history"])

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"
