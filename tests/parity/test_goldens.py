"""`torch_vit` against golden outputs of the real libraries."""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache, partial

import numpy as np
import pytest

from tests.fill import fill, image
from tests.parity import golden_cases
from tests.parity.golden_cases import Arrays, Golden
from vit_config import ViTConfig

torch = pytest.importorskip("torch")

CASES = golden_cases.case_names()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small only lose by sharing work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def twin(config: ViTConfig, attn_impl: str, dtype: torch.dtype) -> torch.nn.Module:
    """The twin, whose weights are about to be loaded; inputs come one by one."""
    from torch_vit import ViT

    return ViT(config, attn_impl=attn_impl, dtype=dtype).eval()


@cache
def goldens(case: str) -> tuple[Golden, ...]:
    """The input kinds of a case, made once for all tests."""
    return tuple(golden_cases.goldens(case))


def torch_backend(
    config: ViTConfig,
    weights: Arrays,
    x: np.ndarray,
    names: list[str],
    attn_impl: str = "fused",
) -> Arrays:
    """Runs `torch_vit.ViT` for the named outputs, in the type of the input."""
    model = twin(config, attn_impl, torch.from_numpy(x).dtype)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    found = {}
    with torch.no_grad():
        inputs = torch.from_numpy(x)
        for name in names:
            what, _, index = name.partition(".")
            if what == "output":
                values = model(inputs)
            elif what == "features":
                values = model.forward_features(inputs)
            elif what == "pre_logits":
                features = model.forward_features(inputs)
                values = model.forward_head(features, pre_logits=True)
            elif what == "hidden":
                patches, prefix = model.forward_intermediates(
                    inputs, [int(index)], reshape=False, return_prefix_tokens=True
                )[0]
                values = torch.cat([prefix, patches], dim=1)
            elif what == "attention":
                values = model.attention_maps(inputs, [int(index)])[0]
            elif what.removesuffix("_norm") in ("map", "prefix"):
                pair = model.forward_intermediates(
                    inputs,
                    [int(index)],
                    norm=what.endswith("_norm"),
                    return_prefix_tokens=True,
                )[0]
                values = pair[what.startswith("prefix")]
            else:
                raise ValueError(f"unknown output {name!r}")
            found[name] = values.numpy()
    return found


@pytest.mark.parametrize("attn_impl", ["fused", "explicit"])
@pytest.mark.parametrize("case", CASES)
def test_float32_by_the_rms_rule(case, attn_impl):
    backend = partial(torch_backend, attn_impl=attn_impl)
    judged = [
        judgement
        for golden in goldens(case)
        for judgement in golden_cases.judge(golden, golden_cases.run(golden, backend))
    ]
    failed = [str(judgement) for judgement in judged if not judgement.passed]
    assert not failed, f"{case}: " + "; ".join(failed)


@pytest.mark.parametrize("case", CASES)
def test_float64_shows_what_float32_hides(case):
    for golden in goldens(case):
        outputs = golden_cases.run(golden, torch_backend, np.float64)
        difference = golden_cases.exactness(golden, outputs)
        assert difference <= golden.tolerance, f"{case} {golden.kind}: {difference}"


# Each of these differs from the library in one respect; the rule has to see it.
MUTANTS = [
    ("timm_vit", {"norm_eps": 1e-5}),
    ("timm_clip", {"norm_eps": 1e-6}),
    ("timm_clip", {"act_layer": "gelu"}),
    ("timm_siglip", {"act_layer": "gelu"}),
    ("timm_avg_final_norm", {"pool_include_prefix": True}),
    ("timm_avg_final_norm", {"global_pool": "max"}),
    ("timm_reg_only", {"norm_eps": 1e-5}),
    ("timm_qk_norm", {"norm_eps": 1e-5}),
    ("hf_vit", {"norm_eps": 1e-6}),
    ("hf_vivit", {"act_layer": "gelu"}),
    ("hf_videomae", {"fc_norm_eps": 1e-6}),
    ("hf_videomae", {"norm_eps": 1e-6}),
    ("monai_2d_tanh", {"head_act": None}),
    ("monai_3d_features", {"norm_eps": 1e-6}),
    ("lucidrains_vit", {"norm_eps": 1e-6}),
]


@pytest.mark.parametrize(("case", "changes"), MUTANTS)
def test_rule_sees_a_wrong_config(case, changes):
    judged = []
    for golden in goldens(case):
        mutant = Golden(**{**vars(golden), "config": golden.config.replace(**changes)})
        outputs = golden_cases.run(mutant, torch_backend)
        judged += golden_cases.judge(golden, outputs)
    assert not all(judgement.passed for judgement in judged)


def test_every_field_of_the_architecture_varies():
    """Each field that changes the outputs has at least two values over the cases."""
    configs = [
        ViTConfig.from_dict(golden_cases.describe(case)["config"]) for case in CASES
    ]
    seen = {
        field: {str(getattr(config, field)) for config in configs}
        for field in ViTConfig.model_fields
    }
    training_or_origin = {
        *("schema_version", "data", "labels", "source", "problem_type"),
        *("weight_init", "pos_resize", "rope", "norm_layer"),
        *(field for field in seen if field.endswith("_rate")),
    }
    same = {field for field, values in seen.items() if len(values) < 2}
    # All that is run here has the same width and number of heads.
    assert same <= training_or_origin | {"embed_dim", "num_heads"}


def test_fill_is_the_same_everywhere():
    """Other bits here would change every golden file."""
    arrays = [
        fill("blocks.0.attn.qkv.weight", (72, 24)),
        fill("blocks.0.ls1.gamma", (24,)),
        fill("norm.weight", (24,)),
        fill("cls_token", (1, 1, 24), faint=True),
        image((2, 3, 8, 4), 1, "large"),
    ]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays))
    assert digest.hexdigest() == (
        "b5c98ef2e922ec7c47b6ab09dd5dab93fbf239a25c8c0268c8ae8775b7bf0328"
    )
