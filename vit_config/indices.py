"""Which blocks a caller means."""

from __future__ import annotations

from collections.abc import Sequence


def take_indices(indices: int | Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Resolves block ids as timm does.

    Args:
        indices: None for all blocks, an int n for the last n, or 0-based block ids of
            which negative ones count from the end.
        depth: Number of blocks.

    Returns:
        Ids in 0..depth-1, in the order asked for.

    Raises:
        ValueError: For an id outside the model, or a count outside 1..depth.
    """
    if indices is None:
        return tuple(range(depth))
    if isinstance(indices, int):
        if not 1 <= indices <= depth:
            raise ValueError(
                f"indices={indices} asks for the last {indices} of {depth} blocks; "
                f"1 to {depth} would be right"
            )
        return tuple(range(depth - indices, depth))
    wrong = [i for i in indices if not -depth <= i < depth]
    if wrong:
        raise ValueError(
            f"indices={tuple(indices)}: no block {wrong[0]} in a model of depth "
            f"{depth}; -{depth} to {depth - 1} would be right"
        )
    return tuple(i % depth for i in indices)
