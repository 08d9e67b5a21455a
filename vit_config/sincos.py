"""The fixed sine-cosine position table that a *fresh* model starts from.

Six incompatible conventions are in use, so a checkpoint's table is always stored and
never recomputed. This one is MAE's in 2D and MONAI 1.6.1's in 3D, one formula: `[sin,
cos]` per axis, the second spatial axis first, `omega_k = temperature ** (-k / K)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vit_config.config import ViTConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEMPERATURE = 10000.0


def sincos_table(config: ViTConfig) -> NDArray[np.float32]:
    """Computes the table of shape (1, num_pos_tokens, embed_dim); prefix rows are 0.

    In 2D the columns are `[sin w, cos w, sin h, cos h]` (facebookresearch/mae
    `get_2d_sincos_pos_embed`, MONAI `build_sincos_position_embedding`), in 3D MONAI's
    `[sin w, cos w, sin h, cos h, sin d, cos d]` for a grid indexed (h, w, d).
    Columns left over, where the axes do not divide the width, are zero (as in
    lucidrains' simple_vit_3d).
    """
    import numpy as np  # the schema itself needs no array library

    width = config.embed_dim // (2 * config.spatial_dims)
    omega = TEMPERATURE ** -(np.arange(width) / max(width, 1))
    axes = np.meshgrid(*(np.arange(n) for n in config.grid_size), indexing="ij")
    order = (1, 0, 2)[: config.spatial_dims]
    columns = []
    for axis in order:
        angle = axes[axis].reshape(-1, 1) * omega
        columns += [np.sin(angle), np.cos(angle)]
    patches = np.concatenate(columns, 1)
    table = np.zeros((1, config.num_pos_tokens, config.embed_dim), np.float32)
    start = config.num_pos_tokens - config.num_patches
    table[0, start:, : patches.shape[1]] = patches  # zeros where the axes do not divide
    return table
