"""What can be read out of a model besides its output."""

from collections.abc import Sequence

from torch import Tensor

from vit_config.indices import take_indices
from vit_config.taps import Taps


class Features:
    """Mixin of `ViT`: tokens, block outputs, attention maps."""

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> all tokens after the final norm, (B, N, D)."""
        x = self._embed(x, Taps(False))
        for block in self.blocks:
            x = self._run(block, x)
        return self.norm(x) if self.norm is not None else x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        reshape: bool = True,
        return_prefix_tokens: bool = False,
    ) -> list[Tensor] | list[tuple[Tensor, Tensor]]:
        """Outputs of chosen blocks.

        Args:
            x: (B, C, *spatial).
            indices: None for all blocks, n for the last n, or 0-based (also negative)
                block ids.
            norm: Apply the final norm to each.
            reshape: Patch tokens as a map (B, D, *grid); otherwise (B, N, D).
            return_prefix_tokens: Give (patches, prefix tokens (B, P, D)) for each.

        Returns:
            One entry per index, in the order asked for.
        """
        wanted = take_indices(indices, self.config.depth)
        found = {}
        x = self._embed(x, Taps(False))
        for i, block in enumerate(self.blocks[: max(wanted, default=-1) + 1]):
            x = self._run(block, x)
            if i in wanted:
                y = self.norm(x) if norm and self.norm is not None else x
                found[i] = self._split_tokens(y, reshape, return_prefix_tokens)
        return [found[i] for i in wanted]

    def attention_maps(
        self, x: Tensor, indices: int | Sequence[int] | None = None
    ) -> list[Tensor]:
        """Attention weights (B, H, N, N) of chosen blocks, rows summing to one.

        Args:
            x: (B, C, *spatial).
            indices: As in `forward_intermediates`.
        """
        wanted = take_indices(indices, self.config.depth)
        found = {}
        x = self._embed(x, Taps(False))
        for i, block in enumerate(self.blocks[: max(wanted, default=-1) + 1]):
            if i in wanted:
                found[i] = block.attn.maps(block.norm1(x))
            x = block(x)
        return [found[i] for i in wanted]

    def monai_forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What MONAI's `ViT.forward` returns: (output, hidden_states_out).

        The second is the output of every block, prefix tokens included, not normed.
        """
        hidden_states_out = []
        x = self._embed(x, Taps(False))
        for block in self.blocks:
            x = self._run(block, x)
            hidden_states_out.append(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.config.global_pool != "none":
            x = self._head(x, Taps(False))
        return x, hidden_states_out

    def _split_tokens(self, x: Tensor, reshape: bool, return_prefix_tokens: bool):
        """Tokens (B, N, D) -> patches as list or map, and the prefix if wanted."""
        count = self.config.num_prefix_tokens
        prefix, patches = x[:, :count], x[:, count:]
        if reshape:
            batch, _, dim = patches.shape
            patches = patches.reshape(batch, *self.config.grid_size, dim)
            patches = patches.movedim(-1, 1)
        return (patches, prefix) if return_prefix_tokens else patches
