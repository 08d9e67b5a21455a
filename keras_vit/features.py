"""What can be read out of a model besides its output."""

from collections.abc import Sequence

from keras import ops

from vit_config.indices import take_indices
from vit_config.taps import Taps


class Features:
    """Mixin of `ViT`: tokens, block outputs, attention maps."""

    def forward_features(self, x, training=False):
        """(B, *spatial, C) -> all tokens after the final norm, (B, N, D)."""
        x = self._embed(x, Taps(False), training)
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x) if self.norm is not None else x

    def forward_intermediates(
        self,
        x,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        reshape: bool = True,
        return_prefix_tokens: bool = False,
        training=False,
    ):
        """Outputs of chosen blocks.

        Args:
            x: (B, *spatial, C).
            indices: None for all blocks, n for the last n, or 0-based (also negative)
                block ids.
            norm: Apply the final norm to each.
            reshape: Patch tokens as a map (B, *grid, D); otherwise (B, N, D).
            return_prefix_tokens: Give (patches, prefix tokens (B, P, D)) for each.
            training: Whether dropout and stochastic depth are on.

        Returns:
            One entry per index, in the order asked for.
        """
        wanted = take_indices(indices, self.config.depth)
        found = {}
        x = self._embed(x, Taps(False), training)
        for i, block in enumerate(self.blocks[: max(wanted, default=-1) + 1]):
            x = block(x, training=training)
            if i in wanted:
                y = self.norm(x) if norm and self.norm is not None else x
                found[i] = self._split_tokens(y, reshape, return_prefix_tokens)
        return [found[i] for i in wanted]

    def attention_maps(self, x, indices: int | Sequence[int] | None = None):
        """Attention weights (B, H, N, N) of chosen blocks, rows summing to one.

        Args:
            x: (B, *spatial, C).
            indices: As in `forward_intermediates`.
        """
        wanted = take_indices(indices, self.config.depth)
        found = {}
        x = self._embed(x, Taps(False))
        for i, block in enumerate(self.blocks[: max(wanted, default=-1) + 1]):
            if i in wanted:
                found[i] = block.attn.maps(block.norm1(x))
            x = block(x, training=False)
        return [found[i] for i in wanted]

    def monai_forward(self, x, training=False):
        """What MONAI's `ViT.forward` returns: (output, hidden_states_out).

        The second is the output of every block, prefix tokens included, not normed.
        """
        hidden_states_out = []
        x = self._embed(x, Taps(False), training)
        for block in self.blocks:
            x = block(x, training=training)
            hidden_states_out.append(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.config.global_pool != "none":
            x = self._head(x, Taps(False), training)
        return x, hidden_states_out

    def _split_tokens(self, x, reshape: bool, return_prefix_tokens: bool):
        """Tokens (B, N, D) -> patches as list or map, and the prefix if wanted."""
        count = self.config.num_prefix_tokens
        prefix, patches = x[:, :count], x[:, count:]
        if reshape:
            shape = (-1, *self.config.grid_size, self.config.embed_dim)
            patches = ops.reshape(patches, shape)
        return (patches, prefix) if return_prefix_tokens else patches
