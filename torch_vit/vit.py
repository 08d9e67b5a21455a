"""The Vision Transformer, 2D and 3D, classification and features."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from torch_vit.attn_pool import AttentionPool
from torch_vit.block import Block
from torch_vit.features import Features
from torch_vit.init import init_weights
from torch_vit.linear import Linear
from torch_vit.patch_embed import PatchEmbed
from torch_vit.pos_embed import join_tokens
from vit_config import ConfigError, ViTConfig
from vit_config.taps import Taps


class ViT(Features, nn.Module):
    """A plain pre-norm Vision Transformer (Dosovitskiy et al., 2021).

    `state_dict()` is the canonical weight layout of this project (timm's names).

    Args:
        config: What to build.
        attn_impl: `"fused"` or `"explicit"`, see `set_attn_impl`.
        device: Device of the weights; on `"meta"` nothing is drawn.
        dtype: Type of the weights.

    Raises:
        ConfigError: If the config asks for what this twin does not compute yet.
    """

    def __init__(
        self,
        config: ViTConfig,
        *,
        attn_impl: Literal["fused", "explicit"] = "fused",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if config.rope is not None:
            raise ConfigError(["rope: not yet computed by this version"], "torch_vit")
        factory = {"device": device, "dtype": dtype}
        dim = config.embed_dim
        self.config = config
        self.grad_checkpointing = False

        self.cls_token = None
        self.dist_token = None
        self.reg_token = None
        self.pos_embed = None
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim, **factory))
        if config.dist_token:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, dim, **factory))
        if config.reg_tokens:
            shape = (1, config.reg_tokens, dim)
            self.reg_token = nn.Parameter(torch.zeros(shape, **factory))
        if config.pos_embed != "none":
            shape = (1, config.num_pos_tokens, dim)
            self.pos_embed = nn.Parameter(
                torch.zeros(shape, **factory),
                requires_grad=config.pos_embed == "learned",
            )
        self.patch_embed = PatchEmbed(config, **factory)
        self.pos_drop = nn.Dropout(config.pos_drop_rate)
        self.norm_pre = None
        if config.pre_norm:
            self.norm_pre = nn.LayerNorm(dim, eps=config.norm_eps, **factory)
        self.blocks = nn.ModuleList(
            Block(config, i, **factory) for i in range(config.depth)
        )
        self.norm = None
        if config.final_norm:
            self.norm = nn.LayerNorm(dim, eps=config.norm_eps, **factory)
        self.attn_pool = None
        if config.global_pool == "map":
            self.attn_pool = AttentionPool(config, **factory)
        self.fc_norm = None
        if config.fc_norm:
            eps = config.head_norm_eps
            self.fc_norm = nn.LayerNorm(config.pool_dim, eps=eps, **factory)
        self.pre_logits = None
        if config.representation_size:
            size = config.representation_size
            self.pre_logits = Linear(config.pool_dim, size, **factory)
        self.head_drop = nn.Dropout(config.drop_rate)
        self.head = None
        self.head_dist = None
        if config.num_classes:
            size, classes = config.head_in_dim, config.num_classes
            self.head = Linear(size, classes, config.head_bias, **factory)
            if config.distilled:
                self.head_dist = Linear(size, classes, config.head_bias, **factory)

        self.set_attn_impl(attn_impl)
        if not self.patch_embed.proj.weight.is_meta:
            self.init_weights()

    def init_weights(self) -> None:
        """Draws all weights anew, as `config.weight_init` says."""
        init_weights(self, self.config)

    def set_attn_impl(self, attn_impl: Literal["fused", "explicit"]) -> None:
        """Chooses how attention is computed; the outputs agree up to rounding.

        Args:
            attn_impl: `"fused"` (fast) or `"explicit"` (scores, softmax, sum: the
                operations of MONAI, and what exposes attention maps as taps).
        """
        if attn_impl not in ("fused", "explicit"):
            raise ValueError(f"attn_impl={attn_impl!r}; use 'fused' or 'explicit'")
        for block in self.blocks:
            block.attn.attn_impl = attn_impl

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recomputes each block in the backward pass instead of keeping it."""
        self.grad_checkpointing = enable

    def forward(self, x: Tensor) -> Tensor:
        """Logits, pooled vector or tokens, as the config says.

        Args:
            x: (B, in_chans, *img_size).

        Returns:
            (B, num_classes); without classes (B, head_in_dim); with
            `global_pool="none"` (B, N, embed_dim).
        """
        return self._forward(x)

    def forward_taps(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output of `forward` and every named intermediate result.

        Names are the same in both twins: `patch_embed`, `pos_embed`,
        `blocks.0.norm1`, `blocks.0.attn.qkv`, ..., `norm`, `pool`, `head`. Attention
        maps are among them under `attn_impl="explicit"`.
        """
        return self._forward(x, return_taps=True)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pools tokens and applies the head.

        Args:
            x: Tokens (B, N, D) as `forward_features` gives them.
            pre_logits: Stop before the head: (B, head_in_dim).
        """
        return self._head(x, Taps(False), pre_logits)

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str],
        *,
        num_classes: int | None = None,
        image_size: int | Sequence[int] | None = None,
        drop_rates: Mapping[str, float] | None = None,
        config: ViTConfig | Mapping[str, Any] | str | PathLike[str] | None = None,
        preset: str | None = None,
        changes: Mapping[str, Any] | None = None,
        dialect: str | None = None,
        prefix: str | None = None,
        drop: str | Sequence[str] = (),
        head: str | None = None,
        base: str | PathLike[str] | None = None,
    ) -> Self:
        """Loads a checkpoint of any kind that `vit-duet convert` reads.

        Args:
            source: A file or folder, `"hf://org/name@revision"`, or a live model.
            num_classes: Another number of classes: the head is drawn anew.
            image_size: Another image size, one number or one per spatial axis: the
                position table is resampled by `config.pos_resize`.
            drop_rates: Dropout rates to train with, by their names in the config:
                `{"drop_path_rate": 0.1}`. The others are the source's.
            config: The model's config (object, dict or JSON file), where the source
                does not hold one: ours, or the arguments of its library.
            preset: Name of a preset, instead of a config.
            changes: Fields of our config, which stand above config and preset.
            dialect: Dialect of the tensor names, `"monai"`; recognised if None.
            prefix: What stands before the model's names; found if None.
            drop: Patterns of tensors to leave out, which are not the model's.
            head: Name of a linear layer beside the model, to take for its head.
            base: Of a PEFT adapter: the model it was trained on.

        Raises:
            converters.ConversionError: If anything does not fit, with every problem.
        """
        from converters.conversion.pretrained import load_torch

        return load_torch(
            cls,
            source,
            num_classes=num_classes,
            image_size=image_size,
            drop_rates=drop_rates,
            config=config,
            preset=preset,
            changes=changes,
            from_dialect=dialect,
            prefix=prefix,
            drop=drop,
            head=head,
            base=base,
        )

    def save_pretrained(
        self, path: str | PathLike[str], *, force: bool = False
    ) -> None:
        """Saves config and weights to a `.safetensors`, a `.keras` or a folder.

        Args:
            path: Where to; the suffix decides the format, none means a folder.
            force: Replace what is there.
        """
        from converters.conversion.pretrained import save_torch

        save_torch(self, path, force=force)

    def _forward(self, x: Tensor, return_taps: bool = False) -> Tensor:
        taps = Taps(return_taps)
        x = self._embed(x, taps)
        for i, block in enumerate(self.blocks):
            x = taps.of(f"blocks.{i}", self._run(block, x, return_taps))
        if self.norm is not None:
            x = taps("norm", self.norm(x))
        if self.config.global_pool != "none":
            x = self._head(x, taps)
        return taps.give(x)

    def _embed(self, x: Tensor, taps: Taps) -> Tensor:
        """(B, C, *spatial) -> tokens before the first block (B, N, D)."""
        self._check_input(x)
        x = taps("patch_embed", self.patch_embed(x))
        x = self.pos_drop(taps("pos_embed", self._join(x)))
        if self.norm_pre is not None:
            x = taps("norm_pre", self.norm_pre(x))
        return x

    def _join(self, x: Tensor) -> Tensor:
        """Patches (B, num_patches, D) -> all tokens with positions (B, N, D)."""
        tokens = [self.cls_token, self.dist_token, self.reg_token]
        tokens = [token for token in tokens if token is not None]
        count = {"all": len(tokens), "cls": 1, "patch": 0}[self.config.pos_embed_tokens]
        return join_tokens(x, tokens[:count], tokens[count:], self.pos_embed)

    def _head(self, x: Tensor, taps: Taps, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, D) -> (B, num_classes) or (B, head_in_dim)."""
        x = taps("pool", self._pool(x))
        if self.fc_norm is not None:
            x = taps("fc_norm", self.fc_norm(x))
        if self.pre_logits is not None:
            x = taps("pre_logits", self._represent(x))
        x = self.head_drop(x)
        if self.head is None or pre_logits:
            return (x[:, 0] + x[:, 1]) / 2 if self.config.distilled else x
        return taps("head", self._classify(x))

    def _represent(self, x: Tensor) -> Tensor:
        """(B, pool_dim) -> (B, representation_size); distilled (B, 2, ...)."""
        return torch.tanh(self.pre_logits(x))

    def _classify(self, x: Tensor) -> Tensor:
        """(B, head_in_dim) -> (B, num_classes); distilled (B, 2, head_in_dim)."""
        if self.head_dist is not None:
            x = (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        else:
            x = self.head(x)
        return torch.tanh(x) if self.config.head_act == "tanh" else x

    def _pool(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, pool_dim); distilled (B, 2, D): class and distillation."""
        config = self.config
        if config.global_pool == "none":
            raise ValueError("global_pool is 'none': there is nothing to pool with")
        if config.global_pool == "token":
            return x[:, :2] if config.distilled else x[:, 0]
        rest = x if config.pool_include_prefix else x[:, config.num_prefix_tokens :]
        if self.attn_pool is not None:
            return self.attn_pool(rest)
        if config.global_pool == "max":
            return rest.amax(dim=1)
        mean = rest.mean(dim=1)
        if config.global_pool == "token_avg":
            return torch.cat([x[:, 0], mean], dim=-1)
        return mean

    def _run(self, block: Block, x: Tensor, return_taps: bool = False) -> Tensor:
        if self.grad_checkpointing and self.training and not return_taps:
            return checkpoint(block, x, use_reentrant=False)
        return block(x, return_taps=return_taps)

    def _check_input(self, x: Tensor) -> None:
        wanted = (self.config.in_chans, *self.config.img_size)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(
                f"input of shape {tuple(x.shape)}; this model takes (batch, "
                f"{', '.join(map(str, wanted))}): channels first, then img_size"
            )
