"""Prefix tokens and positions."""

import torch
from torch import Tensor


def join_tokens(
    patches: Tensor,
    covered: list[Tensor],
    uncovered: list[Tensor],
    pos_embed: Tensor | None,
) -> Tensor:
    """Puts the prefix tokens before the patches and adds the positions.

    Args:
        patches: (B, N, D).
        covered: Prefix tokens (1, n, D) that have rows in the position table.
        uncovered: Those that have none; they follow the covered ones.
        pos_embed: (1, covered + N, D), or None.

    Returns:
        (B, covered + uncovered + N, D).
    """
    batch = patches.shape[0]
    x = patches
    if covered:
        x = torch.cat([*(t.expand(batch, -1, -1) for t in covered), x], dim=1)
    if pos_embed is not None:
        x = x + pos_embed
    if uncovered:
        count = sum(t.shape[1] for t in covered)
        rows = [t.expand(batch, -1, -1) for t in uncovered]
        parts = [x[:, :count], *rows, x[:, count:]] if count else [*rows, x]
        x = torch.cat(parts, dim=1)
    return x
