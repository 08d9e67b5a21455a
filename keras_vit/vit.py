"""The Vision Transformer, 2D and 3D, classification and features."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import keras
from keras import layers, ops

from keras_vit.attn_pool import AttentionPool
from keras_vit.block import Block
from keras_vit.dropout import Dropout
from keras_vit.features import Features
from keras_vit.guard import WeightsGuard, check_built, layer_at
from keras_vit.init import init_weights, loading
from keras_vit.linear import Linear
from keras_vit.named_weights import NamedWeights
from keras_vit.patch_embed import PatchEmbed
from keras_vit.pos_embed import join_tokens
from keras_vit.saving import Saved
from vit_config import ConfigError, ViTConfig
from vit_config.taps import Taps


@keras.saving.register_keras_serializable(package="vit_duet")
class ViT(Features, Saved, NamedWeights, keras.Model):
    """A plain pre-norm Vision Transformer (Dosovitskiy et al., 2021).

    All children and weights are made here, in `__init__`, from the config: nothing is
    left to be built later, so nothing can be missing after a reload.

    Args:
        config: What to build; a `ViTConfig` or its dict.
        attn_impl: `"fused"` or `"explicit"`, see `set_attn_impl`.
        frozen: Paths of the layers and weights below the model that are not trainable.
        quantized: Dtype policies of quantised layers by path, as `get_config` has them.
        name: Name of the model.
        dtype: Dtype or dtype policy, for example `"mixed_bfloat16"`.
        trainable: Whether the model is trainable at all.

    Raises:
        ConfigError: If the config asks for what this twin does not compute yet.
        WeightsError: If the weights made are not those that the config has.
    """

    def __init__(
        self,
        config: ViTConfig | dict,
        *,
        attn_impl: Literal["fused", "explicit"] = "fused",
        frozen: Sequence[str] = (),
        quantized: Mapping[str, dict] | None = None,
        name: str = "vit",
        dtype=None,
        trainable: bool = True,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        if not isinstance(config, ViTConfig):
            config = ViTConfig.from_dict(config)
        if config.rope is not None:
            raise ConfigError(["rope: not yet computed by this version"], "keras_vit")
        factory = {"dtype": self.dtype_policy}
        norm = {"epsilon": config.norm_eps, **factory}
        self.config = config

        self.cls_token = None
        self.dist_token = None
        self.reg_token = None
        self.pos_embed = None
        if config.class_token:
            self.cls_token = self._add_token("cls_token", 1)
        if config.dist_token:
            self.dist_token = self._add_token("dist_token", 1)
        if config.reg_tokens:
            self.reg_token = self._add_token("reg_token", config.reg_tokens)
        if config.pos_embed != "none":
            self.pos_embed = self._add_token(
                "pos_embed",
                config.num_pos_tokens,
                trainable=config.pos_embed == "learned",
            )
        self.patch_embed = PatchEmbed(config, name="patch_embed", **factory)
        self.pos_drop = Dropout(config.pos_drop_rate, name="pos_drop", **factory)
        self.norm_pre = None
        if config.pre_norm:
            self.norm_pre = layers.LayerNormalization(name="norm_pre", **norm)
        self.blocks = [
            Block(config, i, name=f"blocks_{i}", **factory) for i in range(config.depth)
        ]
        self.norm = None
        if config.final_norm:
            self.norm = layers.LayerNormalization(name="norm", **norm)
        self.attn_pool = None
        if config.global_pool == "map":
            self.attn_pool = AttentionPool(config, name="attn_pool", **factory)
        self.fc_norm = None
        if config.fc_norm:
            self.fc_norm = layers.LayerNormalization(
                epsilon=config.head_norm_eps, name="fc_norm", **factory
            )
        self.pre_logits = None
        if config.representation_size:
            size = config.representation_size
            self.pre_logits = Linear(size, name="pre_logits", **factory)
        self.head_drop = Dropout(config.drop_rate, name="head_drop", **factory)
        self.head = None
        self.head_dist = None
        if config.num_classes:
            classes, bias = config.num_classes, config.head_bias
            self.head = Linear(classes, bias, name="head", **factory)
            if config.distilled:
                self.head_dist = Linear(classes, bias, name="head_dist", **factory)

        # Private, so that Keras' loader meets it in `layers` only, after all others.
        self._guard = WeightsGuard(self, name="guard")
        self.set_attn_impl(attn_impl)
        for path, policy in (quantized or {}).items():
            layer_at(self, path).dtype_policy = keras.dtype_policies.get(policy)
        image = (None, *config.img_size, config.in_chans)
        self.build(image)
        if not loading():
            # Traces `call` once, so that what is wrong is raised here. Not `self(...)`:
            # a node of our own would shift those that a Functional model counts. What
            # is loaded was traced when it was made, and this is half of its time.
            self.compute_output_spec(keras.KerasTensor(image, dtype=self.compute_dtype))
        check_built(self)
        self.init_weights()
        self._freeze_as_saved(frozen)

    def build(self, input_shape):
        """Builds every child for images (B, *spatial, C)."""
        config = self.config
        tokens = (None, config.num_tokens, config.embed_dim)
        pooled = (None, config.pool_dim)
        self.patch_embed.build(input_shape)
        for block in self.blocks:
            block.build(tokens)
        for child in (self.norm_pre, self.norm, self.attn_pool):
            if child is not None:
                child.build(tokens)
        for child in (self.fc_norm, self.pre_logits):
            if child is not None:
                child.build(pooled)
        for child in (self.head, self.head_dist):
            if child is not None:
                child.build((None, config.head_in_dim))

    def init_weights(self) -> None:
        """Draws all weights anew, as `config.weight_init` says."""
        init_weights(self, self.config)

    def set_attn_impl(self, attn_impl: Literal["fused", "explicit"]) -> None:
        """Chooses how attention is computed; the outputs agree up to rounding.

        Functions that Keras compiled before (`fit`, `predict`) keep their choice.

        Args:
            attn_impl: `"fused"` (fast) or `"explicit"` (scores, softmax, sum: the
                operations of MONAI, and what exposes attention maps as taps).
        """
        if attn_impl not in ("fused", "explicit"):
            raise ValueError(f"attn_impl={attn_impl!r}; use 'fused' or 'explicit'")
        for block in self.blocks:
            block.attn.attn_impl = attn_impl

    def call(self, x, training=None):
        """Logits, pooled vector or tokens, as the config says.

        Args:
            x: (B, *img_size, in_chans).
            training: Whether dropout and stochastic depth are on.

        Returns:
            (B, num_classes); without classes (B, head_in_dim); with
            `global_pool="none"` (B, N, embed_dim).
        """
        return self._forward(x, training)

    def forward_taps(self, x, training=False):
        """The output of `call` and every named intermediate result.

        Names are the same in both twins: `patch_embed`, `pos_embed`,
        `blocks.0.norm1`, `blocks.0.attn.qkv`, ..., `norm`, `pool`, `head`. Attention
        maps are among them under `attn_impl="explicit"`.
        """
        return self._forward(x, training, return_taps=True)

    def forward_head(self, x, pre_logits: bool = False, training=False):
        """Pools tokens and applies the head.

        Args:
            x: Tokens (B, N, D) as `forward_features` gives them.
            pre_logits: Stop before the head: (B, head_in_dim).
            training: Whether dropout is on.
        """
        return self._head(x, Taps(False), training, pre_logits)

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
        dtype=None,
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
            dtype: Dtype or dtype policy, for example `"mixed_bfloat16"`; that of the
                source if None.

        Raises:
            converters.ConversionError: If anything does not fit, with every problem.
        """
        from converters.conversion.pretrained import load_keras

        return load_keras(
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
            dtype=dtype,
        )

    def save_pretrained(
        self, path: str | PathLike[str], *, force: bool = False
    ) -> None:
        """Saves config and weights to a `.safetensors`, a `.keras` or a folder.

        Args:
            path: Where to; the suffix decides the format, none means a folder.
            force: Replace what is there.
        """
        from converters.conversion.pretrained import save_keras

        save_keras(self, path, force=force)

    def _add_token(self, name: str, count: int, trainable: bool = True):
        shape = (1, count, self.config.embed_dim)
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", trainable=trainable
        )

    def _forward(self, x, training, return_taps: bool = False):
        taps = Taps(return_taps)
        x = self._embed(x, taps, training)
        for i, block in enumerate(self.blocks):
            y = block(x, training=training, return_taps=return_taps)
            x = taps.of(f"blocks.{i}", y)
        if self.norm is not None:
            x = taps("norm", self.norm(x))
        if self.config.global_pool != "none":
            x = self._head(x, taps, training)
        return taps.give(x)

    def _embed(self, x, taps: Taps, training=False):
        """(B, *spatial, C) -> tokens before the first block (B, N, D)."""
        self._check_input(x)
        x = ops.cast(x, self.compute_dtype)
        x = taps("patch_embed", self.patch_embed(x))
        x = self.pos_drop(taps("pos_embed", self._join(x)), training=training)
        if self.norm_pre is not None:
            x = taps("norm_pre", self.norm_pre(x))
        return x

    def _join(self, x):
        """Patches (B, num_patches, D) -> all tokens with positions (B, N, D)."""
        tokens = [self.cls_token, self.dist_token, self.reg_token]
        tokens = [ops.cast(token, x.dtype) for token in tokens if token is not None]
        pos_embed = self.pos_embed
        if pos_embed is not None:
            pos_embed = ops.cast(pos_embed, x.dtype)
        count = {"all": len(tokens), "cls": 1, "patch": 0}[self.config.pos_embed_tokens]
        return join_tokens(x, tokens[:count], tokens[count:], pos_embed)

    def _head(self, x, taps: Taps, training=False, pre_logits: bool = False):
        """Tokens (B, N, D) -> (B, num_classes) or (B, head_in_dim)."""
        x = taps("pool", self._pool(x))
        if self.fc_norm is not None:
            x = taps("fc_norm", self.fc_norm(x))
        if self.pre_logits is not None:
            x = taps("pre_logits", self._represent(x))
        x = self.head_drop(x, training=training)
        if self.head is None or pre_logits:
            return (x[:, 0] + x[:, 1]) / 2 if self.config.distilled else x
        return taps("head", self._classify(x))

    def _represent(self, x):
        """(B, pool_dim) -> (B, representation_size); distilled (B, 2, ...)."""
        return ops.tanh(self.pre_logits(x))

    def _classify(self, x):
        """(B, head_in_dim) -> (B, num_classes); distilled (B, 2, head_in_dim)."""
        if self.head_dist is not None:
            x = (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        else:
            x = self.head(x)
        return ops.tanh(x) if self.config.head_act == "tanh" else x

    def _pool(self, x):
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
            return ops.max(rest, axis=1)
        mean = ops.mean(rest, axis=1)
        if config.global_pool == "token_avg":
            return ops.concatenate([x[:, 0], mean], axis=-1)
        return mean

    def _check_input(self, x) -> None:
        wanted = (*self.config.img_size, self.config.in_chans)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(
                f"input of shape {tuple(x.shape)}; this model takes (batch, "
                f"{', '.join(map(str, wanted))}): img_size, then channels last"
            )
