"""Models that have a plain ViT's tensors and compute something else.

Rotary positions, windows and the place of a norm leave no tensor. Where the names and
shapes of a file are also those of such a model, reading asks; where no plain model is
known to have them, the family is named as well. The lists were made by building every
architecture of timm 1.0.31, open_clip 3.3.0, transformers 5.23.0 and vit-pytorch
1.26.11 and reading its state dict as a plain ViT's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converters.libraries.given import BLOCK, Given
from converters.libraries.variant import Doubt, Shapes, Variant

_LOST = "rotary positions, which leave no tensor"


def doubts(variant: Variant, says: Mapping[str, Any], shapes: Shapes) -> list[Doubt]:
    """Everything that a file leaves open beside the fields of its config.

    Args:
        variant: Whose names it has.
        says: Fields of the config that its names and shapes say.
        shapes: Its names, in the file's order, and shapes.
    """
    found = [*variant.doubts(says, shapes)]
    if says["pos_embed"] == "none" and not any(d.field == "rope" for d in found):
        found.append(
            Doubt("rope", f"there is no position table: the model has {_LOST}, or none")
        )
    return found


def unanswered(found: list[Doubt], given: Given) -> list[Doubt]:
    """The doubts that the caller's config, preset or fields do not settle."""
    return [doubt for doubt in found if not _answered(doubt, given)]


def _answered(doubt: Doubt, given: Given) -> bool:
    if doubt.field in given.changes:
        return True
    if given.config is not None:
        return doubt.field not in given.unstated
    return given.preset is not None and doubt.plain_too


@dataclass(frozen=True, slots=True)
class _Order:
    """Where norms and layers of the first block stand in a file.

    `torch.save` keeps the order in which a module makes its parts, and a block makes
    them in the order in which it calls them. A sorted file shows nothing.
    """

    places: tuple[int, ...]

    @classmethod
    def of(cls, shapes: Shapes, start: str) -> _Order:
        names = list(shapes)
        parts = ("norm1.weight", "attn.proj.weight", "norm2.weight", "mlp.fc2.weight")
        wanted = [f"{start}blocks.0.{part}" for part in parts]
        if not all(name in shapes for name in wanted):
            return cls(())
        return cls(tuple(names.index(name) for name in wanted))

    @property
    def pre_norm(self) -> bool:
        return bool(self.places) and tuple(sorted(self.places)) == self.places

    @property
    def post_norm(self) -> bool:
        if not self.places:
            return False
        norm1, attention, norm2, mlp = self.places
        return attention < norm1 < mlp < norm2


def nothing(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """No other model is known to have such tensors."""
    return iter(())


def of_timm(
    says: Mapping[str, Any], shapes: Shapes, start: str = ""
) -> Iterator[Doubt]:
    """What else has the names of timm's `VisionTransformer`.

    Args:
        says: Fields of the config that names and shapes say.
        shapes: Names and shapes of the file.
        start: What stands before timm's names.
    """
    unnormed = not says["final_norm"] and not says["fc_norm"]
    bare = not (says["class_token"] or says["reg_tokens"])
    if says["pre_norm"] and says.get("global_pool") == "map":
        yield _perception("norm_pre beside attn_pool", "PE core")
    elif says["pre_norm"] and unnormed:
        yield _perception("norm_pre and no norm after the blocks", "PE lang, spatial")
    elif says.get("spatial_dims") == 3 and not says["class_token"]:
        yield from _v_jepa(says)
    elif says["pos_embed"] != "none" and unnormed and bare:
        yield Doubt(
            "rope",
            f"no class token and no norm after the blocks; it has {_LOST}",
            "the encoder of Qwen3-VL (timm's qwen3_vit)",
        )
    order = _Order.of(shapes, start)
    if order.post_norm:
        yield Doubt(
            BLOCK,
            "in the file's order attention and MLP come before their norms",
            "a ViT with post-norm blocks (timm's ResPost, EVA-02-E)",
        )
    elif bare and not order.pre_norm and _like_rpn(says):
        yield Doubt(
            BLOCK,
            "timm's vit_*_rpn_* have these names, and their norms come after "
            "attention and MLP",
            plain_too=True,
        )


def _like_rpn(says: Mapping[str, Any]) -> bool:
    """What timm's ResPost models have, and no plain one: no bias in qkv, and so on."""
    scaled = says["init_values"] is not None
    return bool(says["fc_norm"]) and not says["qkv_bias"] and not scaled


def of_v_jepa(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """V-JEPA's names and table are also V-JEPA 2's."""
    yield from _v_jepa(says)


def _v_jepa(says: Mapping[str, Any]) -> Iterator[Doubt]:
    if says["pos_embed"] != "none":
        yield Doubt(
            "rope",
            f"V-JEPA 2 has V-JEPA's names and {_LOST}; its files may hold a position "
            "table that it does not read",
            plain_too=True,
        )
    else:
        yield Doubt(
            "rope",
            f"patches of a volume, no class token, no position table; it has {_LOST}",
            "V-JEPA 2",
        )


def of_deit3(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """RoPE-ViT with a position table has every tensor of DeiT-3, and no other."""
    found = [*of_timm(says, shapes)]
    yield from found
    if not any(doubt.field == "rope" for doubt in found):
        yield Doubt(
            "rope",
            f"RoPE-ViT (timm's vit_*_rope_ape_*) has DeiT-3's names and {_LOST}",
            plain_too=True,
        )


def of_clip(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """CLIP's tower always has a norm after the blocks and a projection."""
    lacking = [
        name
        for name, there in (
            ("ln_post", says["final_norm"]),
            ("proj", says["num_classes"]),
        )
        if not there
    ]
    if lacking:
        yield _perception(f"CLIP's names without {' and '.join(lacking)}", "PE")


def of_siglip(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """Without its pooling a Siglip tower is not told from PaddleOCR-VL's."""
    if says.get("global_pool") == "none":
        yield Doubt(
            "rope",
            f"PaddleOCR-VL's encoder has the names of a Siglip without a head and "
            f"{_LOST}",
            plain_too=True,
        )


def of_dinov2(says: Mapping[str, Any], shapes: Shapes) -> Iterator[Doubt]:
    """RF-DETR's backbone is a Dinov2 whose blocks attend in windows."""
    yield Doubt(
        BLOCK,
        "RF-DETR's backbone has these names, and its attention stays in windows",
        plain_too=True,
    )


def _perception(sign: str, which: str) -> Doubt:
    return Doubt(
        "rope", f"{sign}; it has {_LOST}", f"Meta's Perception Encoder ({which})"
    )
