"""A training step as one CUDA graph."""

from __future__ import annotations

import copy
from typing import Any

import torch


class GraphedStep:
    """Captures `run.compute`: forward, backward, clipping and the optimizer.

    A graph replays the same kernels on the same memory, so batches are copied
    into fixed tensors, and the learning rate is a tensor as well. Steps before
    the capture, which allocate what the optimizer keeps, are undone.
    """

    def __init__(self, run: Any, warmup: int = 3) -> None:
        shape = (run.options.batch, run.model.sizes.window)
        self.tokens, self.targets = (
            torch.zeros(shape, dtype=torch.int64, device=run.device) for _ in range(2)
        )
        tensors = [*run.model.parameters(), *run.model.buffers()]
        values = [tensor.detach().clone() for tensor in tensors]
        optimizer = copy.deepcopy(run.optimizer.state_dict()["state"])
        run.model.train()
        side = torch.cuda.Stream(run.device)
        side.wait_stream(torch.cuda.current_stream(run.device))
        with torch.cuda.stream(side):
            for _ in range(warmup):
                run.compute(self.tokens, self.targets)
        torch.cuda.current_stream(run.device).wait_stream(side)

        with torch.no_grad():
            for tensor, value in zip(tensors, values):
                tensor.copy_(value)
        for number, state in run.optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                if number in optimizer:
                    tensor.copy_(optimizer[number][name])
                else:
                    tensor.zero_()
        run.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = run.compute(self.tokens, self.targets)

    def __call__(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One step on a batch; the loss is overwritten by the next."""
        self.tokens.copy_(tokens)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss
