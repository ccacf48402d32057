"""A small byte-level transformer: pre-norm, rotary positions, causal attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List

import torch
import torch.nn.functional as F
from torch import nn

from examples.language_model import feed_forward

VOCABULARY = 256


@dataclass(frozen=True)
class Sizes:
    """What all kinds have in common; `inner` is that of the dense layer."""

    hidden: int = 128
    inner: int = 384
    layers: int = 4
    heads: int = 4
    window: int = 128


class Attention(nn.Module):
    """Causal self-attention with rotary positions, [B, S, D] -> [B, S, D]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.inputs = nn.Linear(sizes.hidden, 3 * sizes.hidden, bias=False)
        self.output = nn.Linear(sizes.hidden, sizes.hidden, bias=False)
        size = sizes.hidden // sizes.heads
        frequencies = 10000.0 ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.arange(sizes.window).float()[:, None] * frequencies
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.inputs(x).unflatten(-1, (3, self.heads, -1)).movedim(1, 3)
        q, k, v = parts.unbind(1)  # each [B, heads, S, size]
        y = F.scaled_dot_product_attention(self._rotate(q), self._rotate(k), v, is_causal=True)
        return self.output(y.transpose(1, 2).flatten(2))

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        cosine, sine = self.cosine[: x.shape[2]], self.sine[: x.shape[2]]
        even, odd = x.chunk(2, dim=-1)
        return torch.cat((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)


class Block(nn.Module):
    def __init__(self, sizes: Sizes, layer: nn.Module) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(sizes.hidden)
        self.attention = Attention(sizes)
        self.feed_forward_norm = nn.RMSNorm(sizes.hidden)
        self.feed_forward = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class LanguageModel(nn.Module):
    """Bytes int64 [B, S] -> logits of the next byte [B, S, 256].

    `active_parameters` counts the parameters that one token's computation reads,
    without embedding and output.
    """

    def __init__(self, kind: str, sizes: Sizes) -> None:
        super().__init__()
        self.kind, self.sizes = kind, sizes
        self.embedding = nn.Embedding(VOCABULARY, sizes.hidden)
        nn.init.normal_(self.embedding.weight)
        layers = [feed_forward.make(kind, sizes.hidden, sizes.inner) for _ in range(sizes.layers)]
        self.blocks = nn.ModuleList(Block(sizes, layer.module) for layer in layers)
        self.norm = nn.RMSNorm(sizes.hidden)
        self.output = nn.Linear(sizes.hidden, VOCABULARY, bias=False)
        attention = 4 * sizes.hidden**2
        self.active_parameters = sum(layer.active + attention for layer in layers)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))

    def loss(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy in nats a byte."""
        return F.cross_entropy(self(tokens).flatten(0, 1).float(), targets.flatten())

    def balance_loss(self) -> torch.Tensor:
        """The mean over its layers of what a mixture's balance loss was in the
        last training step; 0 for kinds without one."""
        losses = [
            block.feed_forward.auxiliary_loss
            for block in self.blocks
            if getattr(block.feed_forward, "auxiliary_loss", None) is not None
        ]
        return torch.stack(losses).mean() if losses else self.output.weight.new_zeros(())

    @torch.no_grad()
    def generate(
        self, prompt: bytes, length: int, temperature: float, generator: torch.Generator
    ) -> bytes:
        """`prompt` and `length` bytes that the model finds likely after it."""
        self.eval()
        device = self.output.weight.device
        text = list(prompt)
        for _ in range(length):
            tokens = torch.tensor([text[-self.sizes.window :]], device=device)
            logits = self(tokens)[0, -1].float().cpu() / temperature
            text.append(int(torch.multinomial(logits.softmax(-1), 1, generator=generator)))
        return bytes(text)


def parameter_groups(model: LanguageModel, weight_decay: float) -> List[Dict[str, Any]]:
    """Parameters for the optimizer: matrices with weight decay; vectors, and
    tables of which a token reads a few rows, without."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        table = "_embed." in name or name.startswith("embedding.")
        (others if table or parameter.dim() < 2 else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
