"""The tables of torchvision, OpenAI CLIP, vit-pytorch and the Flax files."""

from __future__ import annotations

import pytest

from converters.libraries.jax.names import JAX
from converters.libraries.lucidrains.names import LUCIDRAINS
from converters.libraries.openai_clip.names import OPENAI_CLIP
from converters.libraries.torchvision.names import TORCHVISION
from converters.libraries.variant import Dialect
from tests.dialects.real_names import Listing, check, check_signature, load, variant_of


def _lucidrains(model: str) -> str:
    return model.partition(".")[0]


CASES: list[tuple[Dialect, str, Listing, str]] = [
    *(
        (TORCHVISION, release, Listing("torchvision", model, generation), "")
        for model in load("torchvision")["models"]
        for generation, release in (("memory", "0.13"), ("older", "0.12"))
    ),
    (OPENAI_CLIP, "", Listing("openai_clip", "CLIP", "memory"), "visual."),
    *(
        (LUCIDRAINS, _lucidrains(model), Listing("lucidrains", model, "memory"), "")
        for model in load("lucidrains")["models"]
    ),
    *(
        (JAX, generation, Listing("jax_npz", model, generation), "")
        for model, entry in load("jax_npz")["models"].items()
        for generation in entry["generations"]
    ),
]


@pytest.mark.parametrize(
    ("dialect", "name", "listing", "prefix"),
    CASES,
    ids=[f"{c[2].family}-{c[2].model}-{c[2].generation}" for c in CASES],
)
def test_table(dialect: Dialect, name: str, listing: Listing, prefix: str) -> None:
    variant = variant_of(dialect, name) if name else dialect.variants[0]
    check(listing, variant, prefix)
    check_signature(dialect, variant, listing)
    assert list(variant.holds(listing.config)) == []
    if prefix:  # a tower on its own: the same without what stands around it
        config = listing.config
        bare = variant.plan(config).source_shapes
        assert {prefix + name for name in bare} == set(
            variant.plan(config, prefix).source_shapes
        )
