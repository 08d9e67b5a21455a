"""Which dialect a file is written in, and behind which prefix; never by guessing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import printable, refusal
from converters.libraries import NAMES, find, load
from converters.libraries.dropping import first_levels
from converters.libraries.variant import Dialect, Variant
from converters.wording import option, options

_OTHERS = (
    # part of a name, and the family that has it; the first that is found counts
    ("swinViT.", "Swin UNETR"),
    ("rel_pos_h", "SAM's image encoder: windows and relative positions"),
    ("rel_pos_d", "SAM-Med3D: windows and relative positions"),
    (".lambda_1", "BEiT, Data2Vec or InternViT: relative positions or other names"),
    (
        "relative_position_bias_table",
        "a network with relative position bias (Swin, BEiT)",
    ),
    (".attn.rel_pos.", "a ViT with relative positions"),
    ("enc_spatial_transformer", "CT-CLIP's CTViT"),
    ("down_projection.proj", "Primus or EVA of nnU-Net"),
    ("rope_embed.periods", "DINOv3: rotary positions"),
    ("embeddings.patch_embeddings.weight", "DINOv3: rotary positions"),
    ("attn_pool.probe", "Meta's Perception Encoder: rotary positions"),
    ("packing_position_embedding", "PaddleOCR-VL's encoder: rotary positions"),
    ("rope.periods", "SPECTRE: rotary positions"),
    ("rope.freqs", "EVA-02 or RoPE-ViT: rotary positions"),
    ("freqs_cis", "a ViT with rotary positions"),
    ("rotary_emb.", "a ViT with rotary positions"),
    ("audio_spectrogram_transformer.", "AST: patches that overlap"),
    ("predictor.embeddings.mask_tokens", "V-JEPA 2: rotary positions"),
    ("attn_pool_quer", "NaViT: images of several sizes in one sequence"),
    ("temporal_attention.", "TimeSformer: attention over time and space apart"),
    (".stages.0.layers.0.attn.", "Hiera"),
    ("head.norm.weight", "Hiera or another hierarchical network"),
    ("detection_tokens", "YOLOS"),
    ("rms_norm", "AIMv2: another norm"),
    (".attn.proj_l.", "CaiT"),
    ("patch_transformer.layers.", "CaiT"),
    (".attn.temperature", "XCiT"),
    ("patch_embed.backbone.", "a hybrid: convolutions before the blocks"),
    ("embeds.pos_embed", "timm's NaFlexViT"),
    ("blocks.0.in_proj.weight", "a ViT with parallel blocks"),
    ("encoder.layer.0.attention.qkv.", "ViTDet"),
)
_BESIDE = (
    # part of a name beside the model that was chosen, and what that makes it
    ("backbone.projector.", "RF-DETR's backbone: attention in windows"),
    ("backbone.0.projector.", "RF-DETR's backbone: attention in windows"),
)
_LAST = (
    # what a plain ViT may have, too, but not a file that no dialect fits
    ("blocks.0.gamma_1", "a ViT with rotary positions (DINOv3, EVA)"),
    ("blocks.0.attn.q_bias", "EVA or BEiT"),
    ("blocks.0.mlp.fc1_g.", "EVA or AIMv2"),
    (
        "transformer.resblocks.0.attn.in_proj_weight",
        "a CLIP tower in a layout that its tensors do not tell: of open_clip's, give "
        "the folder with its open_clip_config.json",
    ),
)


@dataclass(frozen=True, slots=True)
class Match:
    """One way to read a file.

    Attributes:
        dialect: The dialect.
        variant: The variant of it.
        prefix: What stands before every name, with its dot, or an empty text.
    """

    dialect: Dialect
    variant: Variant
    prefix: str

    @property
    def proof(self) -> frozenset[str]:
        """The names of the file that speak for this reading."""
        return frozenset(self.prefix + name for name in self.variant.signature)

    def __str__(self) -> str:
        where = f' behind "{printable(self.prefix)}"' if self.prefix else ""
        return f"{self.variant.name}{where}"


def recognise(
    names: Collection[str],
    spec: str | None = None,
    prefix: str | None = None,
    file: Path | str = "",
    dropped: Collection[str] = (),
) -> Match:
    """Finds the one variant and prefix whose signature the names have.

    Args:
        names: All names of the file.
        spec: The dialect or variant, where the caller knows it.
        prefix: The prefix, where the caller knows it.
        file: The file, for messages.
        dropped: Those that the caller leaves out: no proof of a model.

    Raises:
        ConversionError: If none fits, or more than one.
    """
    found = matches(names, spec, prefix)
    if len(found) > 1:
        found = [m for m in found if m.proof.isdisjoint(dropped)] or found
    if len(found) == 1:
        family = _family(names, found[0].prefix, _OTHERS) or _family(names, "", _BESIDE)
        if family:
            raise refusal(family, file=file, hint=_NO_WAY)
        return found[0]
    if found:
        listed = "; ".join(str(match) for match in found[:6])
        more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
        raise refusal(
            f"more than one model fits the names: {listed}{more}",
            file=file,
            hint=f"Say which one: {' or '.join(_choices(found))}",
        )
    family = _family(names, "", (*_OTHERS, *_LAST))
    if family:
        raise refusal(family, file=file, hint=_NO_WAY)
    raise refusal(
        _why_none(names, spec, prefix),
        file=file,
        hint=_prefixes_there(names, spec, prefix) or _known(),
    )


def _prefixes_there(
    names: Collection[str], spec: str | None, prefix: str | None
) -> str:
    """Where there is a model, if there is none behind the prefix that was given."""
    if prefix is None:
        return ""
    found = sorted({match.prefix for match in matches(names, spec)})
    if found:
        ways = " or ".join(options(prefix=start) for start in found[:6])
        return f"A model is there with {ways}"
    behind = any(name.startswith(prefix) for name in names)
    tops = ", ".join(f'"{printable(top)}"' for top in first_levels(names)[:8])
    return "" if behind else f"Names begin with {tops}."


def _choices(found: Sequence[Match]) -> list[str]:
    """The option that chooses each of several readings, as it is typed."""
    prefixes = dict.fromkeys(match.prefix for match in found)
    if len(prefixes) == 1:
        return [options(from_dialect=match.variant.name) for match in found[:6]]
    return [options(prefix=prefix) for prefix in list(prefixes)[:6]]


_NO_WAY = "Only plain pre-norm ViTs with LayerNorm and added positions are converted."


def _known() -> str:
    return f"Known dialects ({option('from_dialect')}): {', '.join(NAMES)}."


def matches(
    names: Collection[str], spec: str | None = None, prefix: str | None = None
) -> list[Match]:
    """Every variant and prefix whose signature the names have.

    Where `names` is a mapping to shapes or to what has one, the shapes count, too.
    """
    known = set(names)
    found = []
    for dialect, variants in _asked(spec):
        for variant in variants:
            if not variant.signature or (variant.told and spec != variant.name):
                continue
            asked = [prefix] if prefix is not None else _prefixes(known, variant)
            found += [
                Match(dialect, _numbered(variant, known, start), start)
                for start in asked
                if all(start + name in known for name in variant.signature)
                and not any(start + name in known for name in variant.absent)
                and _shapes_fit(names, variant, start)
            ]
    proofs = [match.proof for match in found]
    # A file that proves more of one reading than of another is the one: what stands
    # behind "vit." is no bare model, although the bare model's names are in it.
    return [
        match
        for match, proof in zip(found, proofs, strict=True)
        if not any(proof < other for other in proofs)
    ]


def _numbered(variant: Variant, names: set[str], start: str) -> Variant:
    """The variant, with the numbers that the names have behind the prefix."""
    if variant.numbered is None:
        return variant
    own = {name.removeprefix(start) for name in names if name.startswith(start)}
    return variant.numbered(own)


def _shapes_fit(names: Collection[str], variant: Variant, start: str) -> bool:
    if not isinstance(names, Mapping):
        return True
    own: dict[str, Any] = {
        name.removeprefix(start): info
        for name, info in names.items()
        if name.startswith(start)
    }
    return variant.fits({n: tuple(getattr(i, "shape", i)) for n, i in own.items()})


def _asked(spec: str | None) -> Iterable[tuple[Dialect, tuple[Variant, ...]]]:
    if spec is not None:
        return [find(spec)]
    return [(load(name), load(name).variants) for name in NAMES]


def _prefixes(names: set[str], variant: Variant) -> list[str]:
    """Whatever stands, up to a dot or slash, before one of the signature's names."""
    anchor = max(variant.signature, key=len)
    ends = (name.removesuffix(anchor) for name in names if name.endswith(anchor))
    return sorted(start for start in ends if not start or start[-1] in "./")


def _family(
    names: Collection[str], prefix: str, known: tuple[tuple[str, str], ...]
) -> str:
    """Whose names these are, in words, if they are not a plain ViT's."""
    own = [name for name in names if name.startswith(prefix)]
    for part, family in known:
        if any(part in name for name in own):
            return f"this looks like {family}, which is not a plain ViT"
    return ""


def _why_none(names: Collection[str], spec: str | None, prefix: str | None) -> str:
    where = "" if prefix is None else f' behind "{printable(prefix)}"'
    if spec is None:
        return f"the names{where} are those of no dialect known here"
    variant = find(spec)[1][0]
    absent = sorted(n for n in variant.signature if (prefix or "") + n not in names)
    odd = sorted(n for n in variant.absent if (prefix or "") + n in names)
    if absent:
        return f'the names{where} are not {spec}\'s: there is no "{absent[0]}"'
    if odd:
        return f'the names{where} are not {spec}\'s, which has no "{odd[0]}"'
    leave = f"leave {option('from_dialect')} out"
    return f"{spec} is not told from others by its names; {leave}"
