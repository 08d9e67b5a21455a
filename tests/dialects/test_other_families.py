"""Networks that are no plain ViTs are refused, and by their names.

`other_families.json` holds what the real libraries call their tensors; it is made by
`tools/make_other_families.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.errors import ConversionError
from converters.libraries.given import Given
from converters.libraries.infer import complete
from converters.libraries.recognise import recognise
from vit_config import ConfigError, ViTConfig
from vit_config.strict_json import strict_object

FILE = Path(__file__).parent / "other_families.json"
NETWORKS = strict_object(FILE.read_bytes())["networks"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_refused_by_name(name: str, prefix: str) -> None:
    entry = NETWORKS[name]
    shapes = {prefix + n: tuple(shape) for n, shape in entry["tensors"].items()}
    with pytest.raises(ConversionError) as error:
        match = recognise(shapes)
        own = {n.removeprefix(match.prefix): s for n, s in shapes.items()}
        complete(match.variant, own, Given(), "file")
    assert entry["family"] in str(error.value)


def test_no_positions_are_not_taken_for_granted() -> None:
    """Rotary positions leave no trace in a file: who has none must say so."""
    names = ("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
    shapes = dict(zip(names, ((1, 1, 12), (12, 3, 4, 4), (36, 12)), strict=True))
    shapes |= {
        f"blocks.0.{norm}.{leaf}": (12,)
        for norm in ("norm1", "norm2")
        for leaf in ("weight", "bias")
    }
    shapes |= {"blocks.0.mlp.fc1.weight": (20, 12), "blocks.0.mlp.fc2.weight": (12, 20)}
    match = recognise(shapes, "timm")
    given = {
        "num_heads": 3,
        "img_size": 8,
        "norm_eps": 1e-6,
        "act_layer": "gelu",
        "global_pool": "token",
    }
    with pytest.raises(ConversionError, match="pos_embed and rope are not in"):
        complete(match.variant, shapes, Given(changes=given), "file")
    half = Given(changes={**given, "pos_embed": "none"})
    with pytest.raises(ConversionError, match="rope"):
        complete(match.variant, shapes, half, "file")
    told = Given(changes={**given, "pos_embed": "none", "rope": None})
    assert complete(match.variant, shapes, told, "file").pos_embed == "none"


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "looks_like", "why"),
    [
        ("vit_base_patch16_rpn_224", "timm", "block_fn: found 'ResPostBlock'"),
        ("vit_small_patch16_rope_ape_224", "facebook@deit3", "Eva, which is not a pla"),
    ],
)
def test_what_only_timm_s_own_name_tells_from_a_plain_model(
    name: str, looks_like: str, why: str
) -> None:
    """The limit that the page on timm states; where names will do, state it no more."""
    timm = pytest.importorskip("timm")
    state = timm.create_model(name, depth=1).state_dict()
    found = recognise({n: tuple(tensor.shape) for n, tensor in state.items()})
    assert found.variant.name == looks_like
    with pytest.raises(ConfigError, match=why):
        ViTConfig.from_dialect("timm", {"architecture": name})
