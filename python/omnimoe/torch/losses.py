"""What is known of a batch's routing: balance loss and usage counts."""

from __future__ import annotations

import torch


def balance_loss(
    row_log_probs: torch.Tensor, col_log_probs: torch.Tensor, experts: torch.Tensor
) -> torch.Tensor:
    """How unevenly rows and columns of the grid are used; 1 if evenly.

    The load-balancing loss of Switch Transformer (arXiv 2101.03961, equations 4
    to 6) on each axis of the grid: R * sum_i f_i * p_i, with f_i the fraction of
    the chosen experts that lie in row i and p_i the mean probability of row i;
    likewise for columns; the mean of the two. Since the router's probabilities
    factor into rows and columns, even axes make an even grid in expectation, and
    nothing of size R*C is built. The gradient flows through p.

    Args:
      row_log_probs: [..., R].
      col_log_probs: [..., C].
      experts: integers [..., K], ids from 0 to R*C - 1.

    Returns:
      A float32 scalar.
    """
    columns = col_log_probs.shape[-1]
    ids = experts.reshape(-1).long()
    per_row = _axis_balance(row_log_probs, ids // columns)
    per_column = _axis_balance(col_log_probs, ids % columns)
    return (per_row + per_column) / 2


def _axis_balance(log_probs: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    size = log_probs.shape[-1]
    probabilities = log_probs.float().exp().reshape(-1, size).mean(0)
    fractions = usage(chosen, size).to(probabilities.dtype) / max(chosen.numel(), 1)
    return size * (fractions * probabilities).sum()


def usage(experts: torch.Tensor, num_experts: int) -> torch.Tensor:
    """How often each expert was chosen.

    Args:
      experts: integers [...], ids from 0 to num_experts - 1.
      num_experts: N.

    Returns:
      int64 [N].
    """
    ids = experts.reshape(-1).long()
    counts = torch.zeros(num_experts, dtype=torch.int64, device=ids.device)
    return counts.index_add_(0, ids, torch.ones_like(ids))

