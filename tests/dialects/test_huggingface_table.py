"""The tables of Hugging Face's models against transformers 5 and 4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.libraries.huggingface.names import HUGGINGFACE
from tests.dialects.real_names import (
    Listing,
    check,
    check_signature,
    check_values,
    load,
    variant_of,
)

VARIANTS: dict[str, tuple[str, str]] = {
    # model: variant and prefix
    "ViTModel": ("vit-bare", ""),
    "ViTModel-pooled": ("vit-bare", ""),
    "ViTForImageClassification": ("vit", ""),
    "ViTForMaskedImageModeling": ("vit-bare", "vit."),
    "DeiTModel": ("vit-bare", ""),
    "DeiTForImageClassification": ("deit", ""),
    "DeiTForImageClassificationWithTeacher": ("deit-teacher", ""),
    "ViTMAEModel": ("vit-bare", ""),
    "ViTMAEForPreTraining": ("vit-bare", "vit."),
    "ViTMSNModel": ("vit-bare", ""),
    "ViTMSNForImageClassification": ("vit", ""),
    "IJepaModel": ("vit-bare", ""),
    "IJepaForImageClassification": ("ijepa", ""),
    "VivitModel": ("vit-bare", ""),
    "VivitForVideoClassification": ("vivit", ""),
    "Dinov2Model": ("dinov2-bare", ""),
    "Dinov2ForImageClassification": ("dinov2", ""),
    "Dinov2ForImageClassification-swiglu": ("dinov2", ""),
    "Dinov2WithRegistersModel": ("dinov2-bare", ""),
    "Dinov2WithRegistersForImageClassification": ("dinov2-registers", ""),
    "CLIPVisionModel": ("clip", ""),
    "CLIPVisionModelWithProjection": ("clip-projection", ""),
    "CLIPForImageClassification": ("clip-classifier", ""),
    "SiglipVisionModel": ("siglip", ""),
    "SiglipVisionModel-tokens": ("siglip", ""),
    "SiglipForImageClassification": ("siglip-classifier", ""),
    "VideoMAEModel": ("videomae-bare", ""),
    "VideoMAEModel-norm": ("videomae-bare+unbiased", ""),
    "VideoMAEForVideoClassification": ("videomae", ""),
    "VideoMAEForPreTraining": ("videomae-bare", "videomae."),
}


def variant_name(model: str, family: str, generation: str) -> tuple[str, str]:
    name, prefix = VARIANTS[model]
    alike = name.startswith(("clip", "siglip")) or name.endswith("+unbiased")
    if generation == "memory" and not alike:
        name += "+memory"
    if family == "huggingface4" and model.startswith(("CLIPVisionM", "SiglipVisionM")):
        prefix = "" if "Projection" in model else "vision_model."
    if model == "ViTMSNForImageClassification" and (family, generation) == (
        "huggingface",
        "saved",
    ):
        name = "vit-msn"
    return name, prefix


LISTINGS = [
    Listing(family, model, generation)
    for family in ("huggingface", "huggingface4")
    for model, entry in load(family)["models"].items()
    for generation in entry["generations"]
]


def name_of(listing: Listing) -> str:
    return f"{listing.family}-{listing.model}-{listing.generation}"


def test_every_model_is_there() -> None:
    for family in ("huggingface", "huggingface4"):
        assert set(load(family)["models"]) == set(VARIANTS)
    used = {variant_name(x.model, x.family, x.generation)[0] for x in LISTINGS}
    known = {v.name.partition("@")[2] for v in HUGGINGFACE.variants}
    # test_tf_model.py, test_flax_model.py
    known = {name for name in known if not name.endswith(("+tf", "+flax"))}
    assert used == known - {"videomae+unbiased"}  # the two others' parts, joined


@pytest.mark.parametrize("listing", LISTINGS, ids=name_of)
def test_table(listing: Listing) -> None:
    name, prefix = variant_name(listing.model, listing.family, listing.generation)
    variant = variant_of(HUGGINGFACE, name)
    check(listing, variant, prefix)


@pytest.mark.parametrize("listing", LISTINGS, ids=name_of)
def test_signature(listing: Listing) -> None:
    name, _ = variant_name(listing.model, listing.family, listing.generation)
    check_signature(HUGGINGFACE, variant_of(HUGGINGFACE, name), listing)


@pytest.mark.parametrize("model", sorted(VARIANTS))
def test_config_can_be_written(model: str) -> None:
    """The variant that a model comes from does not refuse its config."""
    listing = Listing("huggingface", model, "memory")
    variant = variant_of(HUGGINGFACE, VARIANTS[model][0])
    assert list(variant.holds(listing.config)) == []


@pytest.mark.parametrize("change", ["swap", "transpose"])
def test_a_wrong_table_of_the_right_names_is_seen(change: str) -> None:
    """Query for key, or a square matrix transposed: names and shapes stay the same."""
    variant = variant_of(HUGGINGFACE, "vit")
    rows = list(variant.table.rows)
    name = "qkv.weight" if change == "swap" else "attn.proj.weight"
    at = next(i for i, row in enumerate(rows) if row.targets[0].endswith(name))
    q, *rest = rows[at].sources
    if change == "swap":
        rows[at] = replace(rows[at], sources=(rest[0], q, *rest[1:]))
    else:
        rows[at] = replace(rows[at], pattern="(h e) d -> d (h e)")
    wrong = replace(variant, table=replace(variant.table, rows=tuple(rows)))
    listing = Listing("huggingface", "ViTForImageClassification", "saved")
    with pytest.raises(AssertionError):
        check_values(listing, wrong.plan(listing.config))
    check_values(listing, variant.plan(listing.config))
