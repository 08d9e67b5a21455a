"""Prefix tokens and positions."""

from keras import ops


def join_tokens(patches, covered, uncovered, pos_embed):
    """Puts the prefix tokens before the patches and adds the positions.

    Args:
        patches: (B, N, D).
        covered: Prefix tokens (1, n, D) that have rows in the position table.
        uncovered: Those that have none; they follow the covered ones.
        pos_embed: (1, covered + N, D), or None.

    Returns:
        (B, covered + uncovered + N, D).
    """
    batch = ops.shape(patches)[0]
    x = patches
    if covered:
        x = ops.concatenate([*(expand(t, batch) for t in covered), x], axis=1)
    if pos_embed is not None:
        x = x + pos_embed
    if uncovered:
        count = sum(t.shape[1] for t in covered)
        rows = [expand(t, batch) for t in uncovered]
        # No part without tokens: LiteRT's runtime cannot take one.
        parts = [x[:, :count], *rows, x[:, count:]] if count else [*rows, x]
        x = ops.concatenate(parts, axis=1)
    return x


def expand(token, batch):
    """(1, n, D) -> (B, n, D)."""
    return ops.broadcast_to(token, (batch, *token.shape[1:]))
