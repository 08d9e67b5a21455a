"""`ViTConfig`: everything that decides what a ViT computes, in one frozen object.

Field names are timm's, geometry words are MONAI's. Other libraries' names and
defaults enter through `ViTConfig.from_dialect` only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vit_config.base import Frozen
from vit_config.changes import with_axes, with_changes
from vit_config.checks import whole_problems
from vit_config.data import DataConfig, RopeConfig, SourceConfig, StrTuple
from vit_config.errors import ConfigError
from vit_config.strict_json import JsonError, canonical, strict_object

SCHEMA_VERSION = 1

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]

PosResize = Literal[
    "bicubic_aa",
    "bicubic",
    "bicubic_offset",
    "bicubic_align",
    "bilinear",
    "bilinear_aa",
    "zoom1",
]


def _as_size(value: Any, info: ValidationInfo) -> Any:
    """Repeats an int over the axes, so that equal models are equal values."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * info.data.get("spatial_dims", 2)
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[tuple[Count, ...], BeforeValidator(_as_size)]


class ViTConfig(Frozen):
    """A plain pre-norm Vision Transformer in two or three spatial dimensions.

    What a call returns is decided by `num_classes` and `global_pool` alone:
    logits `(B, num_classes)`; without classes the pooled vector
    `(B, head_in_dim)`; with `global_pool="none"` the tokens `(B, N, embed_dim)`.

    Raises:
        ConfigError: With every problem found, each naming the field, the value and
            what would be allowed.

    Attributes:
        schema_version: Version of this schema. A newer one is refused.
        spatial_dims: 2 for images, 3 for volumes and clips. Without it a size of
            three axes means 3.
        img_size: Input size per spatial axis in tensor order; an int is repeated.
        patch_size: Patch size per spatial axis; must divide `img_size`.
        in_chans: Input channels.
        embed_dim: Width of the tokens.
        depth: Number of blocks.
        num_heads: Attention heads.
        head_dim: Width of one head; `None` means `embed_dim // num_heads`.
        mlp_dim: Hidden width of the MLP; for `"swiglu"` the width of one branch.
        patch_bias: Whether the patch projection has a bias.
        patch_norm: `"post"` is a LayerNorm after the projection, `"dual"` one on
            either side (over the flattened patch, channels last, and over the
            result), as lucidrains has it.
        pre_norm: LayerNorm after the embeddings, before the first block (CLIP).
        class_token: Whether there is a class token (row 0).
        dist_token: Whether a distillation token follows it (DeiT).
        reg_tokens: Number of register tokens, after class and distillation token.
        pos_embed: `"learned"`, `"sincos"` (a frozen table, stored with the weights)
            or `"none"`.
        pos_embed_tokens: Which tokens have a position: `"all"`, `"cls"` (class token
            and patches) or `"patch"`.
        pos_resize: Rule that resamples the position table to another grid; `None`
            stands for bicubic_aa in 2D and bilinear in 3D.
        rope: Rotary embedding of the source. The twins refuse it: not yet.
        norm_layer: Kind of normalisation; only LayerNorm so far.
        norm_eps: Epsilon of every norm but `fc_norm`. Libraries disagree (1e-5 torch
            and MONAI, 1e-6 timm, 1e-12 Hugging Face ViT, 1e-3 Keras).
        qkv_bias: True, False, or `"qv"` (query and value only, as VideoMAE).
        proj_bias: Whether the attention's output projection has a bias.
        mlp_bias: Whether the MLP's linear layers have biases.
        qk_norm: LayerNorm on queries and keys, per head.
        init_values: Layer scale is on when not None; its initial value.
        act_layer: Activation of the MLP. `"gelu"` is the exact one (erf).
        mlp_layer: `"mlp"` or `"swiglu"` (needs `act_layer="silu"`).
        final_norm: LayerNorm on all tokens after the last block.
        fc_norm: LayerNorm on the pooled vector.
        fc_norm_eps: Its epsilon; `None` means `norm_eps`.
        global_pool: `"token"` (class token), `"avg"`, `"max"`, `"token_avg"` (class
            token and mean of the patches, concatenated), `"map"` (attention pooling)
            or `"none"`.
        pool_include_prefix: Whether avg, max and map see the prefix tokens too.
        distilled: Class and distillation token both count: two heads whose outputs
            are averaged, or without classes the mean of the two vectors.
        representation_size: Width of a Linear + tanh before the head, or None.
        num_classes: Outputs of the head; 0 means no head.
        head_bias: Whether the head has a bias.
        head_act: Activation on the head's output: None or `"tanh"` (MONAI).
        drop_rate: Dropout before the head.
        pos_drop_rate: Dropout after the position embedding.
        proj_drop_rate: Dropout after attention projection and in the MLP.
        attn_drop_rate: Dropout on the attention weights.
        drop_path_rate: Stochastic depth at the last block; grows linearly from 0.
        weight_init: Whose initialisation: `"timm"`, `"jax"`, `"mae"` or `"monai"`.
        problem_type: What the head's outputs mean; probabilities exist only when it
            is stated: the softmax (`"single_label"`) or sigmoid (`"multi_label"`) of
            the logits, or of the tanh outputs that `head_act` makes.
        data: Preprocessing the weights expect.
        labels: Names of the classes, in order.
        source: Origin of the weights.
    """

    part: ClassVar[str] = "this schema"
    schema_version: int = SCHEMA_VERSION
    # geometry
    spatial_dims: Literal[2, 3] = 2
    img_size: Size
    patch_size: Size
    in_chans: Count = 3
    # size
    embed_dim: Count
    depth: Count
    num_heads: Count
    head_dim: Count | None = None
    mlp_dim: Count
    # stem
    patch_bias: bool = True
    patch_norm: Literal["none", "post", "dual"] = "none"
    pre_norm: bool = False
    # tokens and positions
    class_token: bool = True
    dist_token: bool = False
    reg_tokens: CountOrZero = 0
    pos_embed: Literal["learned", "sincos", "none"] = "learned"
    pos_embed_tokens: Literal["all", "cls", "patch"] = "all"
    pos_resize: PosResize | None = None
    rope: RopeConfig | None = None
    # block
    norm_layer: Literal["layernorm"] = "layernorm"
    norm_eps: Epsilon = 1e-6
    qkv_bias: bool | Literal["qv"] = True
    proj_bias: bool = True
    mlp_bias: bool = True
    qk_norm: bool = False
    init_values: float | None = None
    act_layer: Literal["gelu", "gelu_tanh", "quick_gelu", "silu", "relu"] = "gelu"
    mlp_layer: Literal["mlp", "swiglu"] = "mlp"
    # output
    final_norm: bool = True
    fc_norm: bool = False
    fc_norm_eps: Epsilon | None = None
    global_pool: Literal["token", "avg", "map", "token_avg", "max", "none"] = "token"
    pool_include_prefix: bool = False
    distilled: bool = False
    representation_size: Count | None = None
    num_classes: CountOrZero = 0
    head_bias: bool = True
    head_act: Literal["tanh"] | None = None
    # regularisation, in training only
    drop_rate: Rate = 0.0
    pos_drop_rate: Rate = 0.0
    proj_drop_rate: Rate = 0.0
    attn_drop_rate: Rate = 0.0
    drop_path_rate: Rate = 0.0
    weight_init: Literal["timm", "jax", "mae", "monai"] = "timm"
    # meaning and origin
    problem_type: Literal["single_label", "multi_label", "regression"] | None = None
    data: DataConfig | None = None
    labels: StrTuple | None = None
    source: SourceConfig | None = None

    if not TYPE_CHECKING:  # type checkers keep the signature made from the fields

        def __init__(self, **fields: Any) -> None:
            version = fields.get("schema_version", SCHEMA_VERSION)
            if isinstance(version, int) and version > SCHEMA_VERSION:
                # First and alone: what a newer schema means cannot be guessed.
                raise ConfigError(
                    [
                        f"schema_version: {version} was written by a newer vit-duet; "
                        f"this one reads up to {SCHEMA_VERSION}. Please upgrade"
                    ]
                )
            super().__init__(**with_axes(fields))

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        problems = whole_problems(self)
        if self.schema_version != SCHEMA_VERSION:
            problems.append(
                f"schema_version: {self.schema_version}; this vit-duet writes and "
                f"reads {SCHEMA_VERSION}"
            )
        if problems:
            context = {"problems": problems}
            raise PydanticCustomError("vit_duet", "{problems}", context)
        return self

    # ---- derived values -------------------------------------------------------

    @property
    def classification(self) -> bool:
        """Whether the model has a head."""
        return self.num_classes > 0

    @property
    def grid_size(self) -> tuple[int, ...]:
        """Patches along each spatial axis."""
        return tuple(
            i // p for i, p in zip(self.img_size, self.patch_size, strict=True)
        )

    @property
    def num_patches(self) -> int:
        """Patch tokens of one input."""
        return math.prod(self.grid_size)

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens."""
        return int(self.class_token) + int(self.dist_token) + self.reg_tokens

    @property
    def num_tokens(self) -> int:
        """All tokens that the blocks see."""
        return self.num_prefix_tokens + self.num_patches

    @property
    def num_pos_tokens(self) -> int:
        """Rows of the position table (0 without one)."""
        if self.pos_embed == "none":
            return 0
        prefix = {
            "all": self.num_prefix_tokens,
            "cls": int(self.class_token),
            "patch": 0,
        }[self.pos_embed_tokens]
        return prefix + self.num_patches

    @property
    def attn_head_dim(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.embed_dim // self.num_heads

    @property
    def attn_dim(self) -> int:
        """Width of all attention heads together."""
        return self.num_heads * self.attn_head_dim

    @property
    def head_norm_eps(self) -> float:
        """Epsilon of `fc_norm`."""
        return self.norm_eps if self.fc_norm_eps is None else self.fc_norm_eps

    @property
    def pool_dim(self) -> int:
        """Width of the pooled vector, before `representation_size`."""
        return self.embed_dim * (2 if self.global_pool == "token_avg" else 1)

    @property
    def head_in_dim(self) -> int:
        """Width of what the head sees, and of the pooled output without a head."""
        return self.representation_size or self.pool_dim

    @property
    def pos_resize_rule(self) -> str:
        """`pos_resize` with its default resolved."""
        default = "bicubic_aa" if self.spatial_dims == 2 else "bilinear"
        return self.pos_resize or default

    @property
    def drop_path_rates(self) -> tuple[float, ...]:
        """Stochastic depth rate of each block, linear from 0 to `drop_path_rate`."""
        last = max(self.depth - 1, 1)
        return tuple(self.drop_path_rate * i / last for i in range(self.depth))

    # ---- comparing, storing ---------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """What two models must share to be equal: all but data, labels, source.

        Optional fields stand with their resolved values, so that `head_dim=None`
        and the same width written out are one architecture.
        """
        fields = self.model_dump(mode="json", exclude={"data", "labels", "source"})
        fields["head_dim"] = self.attn_head_dim
        fields["fc_norm_eps"] = self.head_norm_eps if self.fc_norm else None
        fields["pos_resize"] = self.pos_resize_rule
        if self.num_pos_tokens in (0, self.num_tokens):
            fields["pos_embed_tokens"] = "all"  # no prefix token that could differ
        return fields

    def architecture_hash(self) -> str:
        """SHA-256 of `architecture()` as canonical JSON, in hexadecimal."""
        return hashlib.sha256(canonical(self.architecture()).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. Equal configs, equal bytes."""
        return canonical(self.to_dict())

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ConfigError: As the constructor.
        """
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ConfigError: As the constructor; also for text that is not a JSON object,
                a key that stands twice, and NaN or infinite numbers.
        """
        try:
            fields = strict_object(text)
        except JsonError as error:
            raise ConfigError([str(error)]) from None
        return cls(**fields)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated anew.

        Args:
            **changes: Fields; `"data.mean"` is one field of `data` alone.

        Raises:
            ConfigError: If the result describes no model.
        """
        return type(self)(**with_changes(self.to_dict(), changes))

    @classmethod
    def from_dialect(cls, dialect: str, fields: Mapping[str, Any]) -> Self:
        """Reads another library's configuration, with that library's own defaults.

        Every field is consumed, checked equal to the constant this schema assumes,
        or refused by name.

        Args:
            dialect: `"monai"`, `"huggingface"`, `"timm"`, `"torchvision"` or
                `"lucidrains"`.
            fields: The library's constructor arguments, or its `config.json`.

        Raises:
            ConfigError: With every problem found.
        """
        from converters.libraries.config import (
            from_dialect,  # the table imports this module
        )

        return cls(**from_dialect(dialect, fields))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """A named configuration, for example `"vit-b16-224"` or `"m3d-clip"`.

        Args:
            name: Of the preset.
            **changes: As of `replace`.

        Raises:
            ConfigError: If there is no such preset, or the changes do not fit.
        """
        from vit_config.presets import preset_fields

        return cls(**with_changes(preset_fields(name), changes))
