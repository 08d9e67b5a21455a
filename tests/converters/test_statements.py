"""What was stated by hand of a model stays with it, and every paper says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import converters
from converters.checks.architecture import architecture_items, by_hand, statements_of
from converters.cli.app import app
from converters.mapping.pipe import model_fingerprint
from converters.parity.page import render_html, render_markdown
from converters.parity.text import as_text
from tests.converters.cases import CASES, config, weights, write_canonical
from tests.dialects.common import MONAI, monai_file
from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.fill import fill_weights
from vit_config import SourceConfig, Statement, ViTConfig

HEADS = {"num_heads": 3, "img_size": [16, 12, 20]}
BY_SET = ["num_heads=3 --set", "img_size=[16,12,20] --set"]
NOT_IN_FILE = (
    "stated by hand, not in the file: num_heads=3, img_size=[16,12,20] (--set)"
)


def said_by_hand(config: ViTConfig | None) -> list[str]:
    return [f"{one} --{one.origin}" for one in statements_of(config)]


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MONAI file, and models made of it with one statement or the other."""
    path = tmp_path_factory.mktemp("statements")
    source = monai_file(path / "monai.safetensors", MONAI["tanh"])
    for heads in (3, 4):
        changes = {**HEADS, "num_heads": heads}
        converters.convert(source, path / f"{heads}.safetensors", changes=changes)
    return path


@pytest.fixture
def source(folder: Path) -> Path:
    return folder / "monai.safetensors"


# ---- what counts as stated by hand --------------------------------------------------


def test_what_the_file_decides_is_not_by_hand(source: Path) -> None:
    """Tensors say depth and epsilon's dialect says its value; heads are nowhere."""
    more = {"depth": 2, "mlp_dim": 36, "class_token": True, "norm_eps": 1e-5}
    found = converters.inspect(source, changes={**HEADS, **more})
    assert said_by_hand(found.config) == BY_SET


def test_a_whole_config_states_what_tensors_do_not_show(source: Path) -> None:
    found = converters.inspect(source, config=MONAI["tanh"])
    assert sorted(said_by_hand(found.config)) == [
        "img_size=[16,12,20] --config",
        "num_heads=3 --config",
    ]


@pytest.mark.parametrize("name", ["vit-ti16-224", "deit_tiny_patch16_224"])
def test_a_preset_states_what_tensors_do_not_show(name: str, tmp_path: Path) -> None:
    """Ours and timm's; what is stated beside it is told apart."""
    known = ViTConfig.preset("vit-ti16-224", num_classes=1000)
    path = write_bare(tmp_path / "x.safetensors", known)
    found = converters.inspect(
        path, preset=name, changes={"problem_type": "single_label"}
    )
    said = {one.field: (one.value, one.origin) for one in statements_of(found.config)}
    origin = f"preset {name}"
    assert said["num_heads"] == ("3", origin)
    assert said["img_size"] == ("[224,224]", origin)
    assert said["norm_eps"] == ("1e-06", origin)
    assert said["act_layer"] == ("gelu", origin)
    assert said["global_pool"] == ("token", origin)
    assert said["problem_type"] == ("single_label", "set")
    assert not {"depth", "embed_dim", "mlp_dim", "patch_size", "num_classes"} & set(
        said
    )


def test_bare_keras_weights_are_stated_whole(tmp_path: Path) -> None:
    """A `.weights.h5` says no more of a model than its shapes."""
    known = CASES["map"]
    path = write_canonical(tmp_path / "a.safetensors", known)
    converters.convert(path, tmp_path / "a.weights.h5", verify="weights")
    found = converters.inspect(tmp_path / "a.weights.h5", config=known)
    said = {one.field for one in statements_of(found.config)}
    assert {"num_heads", "img_size", "norm_eps", "act_layer", "global_pool"} <= said
    assert not {"depth", "embed_dim", "qk_norm", "reg_tokens", "pos_embed"} & said


def write_bare(path: Path, config: ViTConfig) -> Path:
    """A file of canonical names that says nothing of its config."""
    from safetensors.numpy import save_file

    save_file(fill_weights(config), path)
    return path


def test_a_library_s_own_config_beside_the_weights_is_not_by_hand(
    tmp_path: Path,
) -> None:
    hub, known = timm_folder(tmp_path / "hub", timm_config(num_classes=7))
    assert said_by_hand(converters.inspect(hub).config) == []
    confirmed = {"num_heads": known.num_heads, "norm_eps": known.norm_eps}
    more = {**confirmed, "problem_type": "multi_label", "data.crop_pct": 0.5}
    assert said_by_hand(converters.inspect(hub, changes=more).config) == [
        "problem_type=multi_label --set",
        "data.crop_pct=0.5 --set",
    ]


def test_what_our_own_file_says_is_not_by_hand(tmp_path: Path) -> None:
    known = CASES["classes"]
    path = write_canonical(tmp_path / "a.safetensors", known)
    assert said_by_hand(converters.inspect(path, config=known).config) == []
    labels = {"labels": list("vwxyz"), "num_heads": known.num_heads}
    assert said_by_hand(converters.inspect(path, changes=labels).config) == [
        'labels=["v","w","x","y","z"] --set'
    ]


def test_a_config_without_the_field_reads_the_same() -> None:
    """Files of earlier releases: `source` has no `stated`."""
    fields = config(source={"dialect": "timm"}).to_dict()
    del fields["source"]["stated"]
    assert ViTConfig.from_dict(fields) == config(source=SourceConfig(dialect="timm"))
    said = Statement(field="num_heads", value="3", origin="set")
    kept = config(source=SourceConfig(stated=(said,)))
    assert ViTConfig.from_json(kept.to_json()) == kept
    assert kept.architecture_hash() == config().architecture_hash()


# ---- it travels ---------------------------------------------------------------------


def test_statements_stay_with_a_model_through_every_format(
    folder: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "a.keras"
    converters.convert(folder / "3.safetensors", ours, verify="weights")
    theirs = tmp_path / "b.safetensors"
    converters.convert(ours, theirs, to_dialect="monai@1.4")
    last = converters.convert(theirs, tmp_path / "c.safetensors", dtype="float16")
    for path in (ours, theirs, tmp_path / "c.safetensors"):
        assert said_by_hand(converters.inspect(path).config) == BY_SET
    assert last.config.source is not None and last.config.source.steps


@pytest.mark.parametrize("dialect", ["huggingface", "timm", None])
def test_statements_stay_in_folders(dialect: str | None, tmp_path: Path) -> None:
    known = ViTConfig.preset(
        "vit-ti16-224", depth=1, img_size=32, num_classes=3, norm_eps=1e-6
    )
    path = write_bare(tmp_path / "x.safetensors", known)
    said = {"num_heads": 4, "img_size": 32, "norm_eps": 1e-6, "act_layer": "gelu"}
    said["global_pool"] = "token"
    converters.convert(path, tmp_path / "out", changes=said, to_dialect=dialect)
    found = converters.inspect(tmp_path / "out")
    assert {one.field: one.value for one in statements_of(found.config)} == {
        "num_heads": "4",
        "img_size": "[32,32]",
        "norm_eps": "1e-06",
        "act_layer": "gelu",
        "global_pool": "token",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"changes": {"source": None}},
        {"changes": {"source.stated": []}},
        {"config": MONAI["tanh"]},
    ],
)
def test_a_later_conversion_cannot_wash_them_off(
    options: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "a.keras"
    source = folder / "3.safetensors"
    report = converters.convert(source, target, verify="weights", **options)
    assert (
        said_by_hand(report.config)
        == said_by_hand(converters.inspect(target).config)
        == BY_SET
    )


# ---- papers and identity ------------------------------------------------------------


def test_reports_say_heads_and_what_was_stated(source: Path, tmp_path: Path) -> None:
    report = converters.convert(source, tmp_path / "a.safetensors", changes=HEADS)
    found = converters.inspect(tmp_path / "a.safetensors")
    for paper in (report, found):
        text, said = str(paper), paper.to_dict()
        assert "3 heads of 8" in text and "LayerNorm, epsilon 1e-05" in text
        assert "GELU (exact)" in text and "pooling: class token" in text
        assert NOT_IN_FILE in text
        assert [(one["field"], one["value"]) for one in said["stated"]] == [
            ("num_heads", "3"),
            ("img_size", "[16,12,20]"),
        ]
        assert said["model_fingerprint"] == model_fingerprint(
            report.fingerprint, report.config
        )
        assert said["model_fingerprint"] in text


def test_other_heads_are_another_model_with_the_same_weights(folder: Path) -> None:
    one, other = (converters.inspect(folder / f"{n}.safetensors") for n in (3, 4))
    assert one.fingerprint == other.fingerprint
    first, second = one.to_dict(), other.to_dict()
    assert first["model_fingerprint"] != second["model_fingerprint"]
    assert "3 heads of 8" in str(one) and "4 heads of 6" in str(other)


def test_both_told_the_same_passes_and_says_that_nothing_tests_it(
    source: Path, folder: Path
) -> None:
    found = converters.verify(
        source, folder / "3.safetensors", changes=HEADS, level="weights"
    )
    assert found.passed and found.a.model == found.b.model != ""
    untested = (
        "oth sides were told num_heads=3, img_size=[16,12,20]: nothing here tests"
    )
    papers = [found.sentence, as_text(found), render_markdown(found).replace("\\", "")]
    assert all(untested in paper for paper in papers)
    assert NOT_IN_FILE in as_text(found) and "3 heads of 8" in as_text(found)
    markdown = render_markdown(found)
    assert "| attention | 3 heads of 8 | 3 heads of 8 |" in markdown


def test_the_page_shows_architecture_and_statements(source: Path, folder: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    found = converters.verify(
        source, folder / "3.safetensors", changes=HEADS, level="weights"
    )
    page = render_html(found)
    assert 'data-at="/b/about/attention">3 heads of 8<' in page
    assert 'data-at="/a/stated/0/field">num_heads<' in page
    assert 'data-at="/a/stated/0/value">3<' in page
    assert f"SHA-256 over weights and architecture: {found.b.model}" in page


def test_what_one_side_says_itself_is_confirmed_by_it(tmp_path: Path) -> None:
    """A bare file whose heads were stated, against the folder that says them."""
    hub, known = timm_folder(tmp_path / "hub", timm_config(num_classes=7))
    bare = write_bare(tmp_path / "bare.safetensors", known)
    found = converters.verify(bare, hub, config=known, level="weights")
    assert found.passed and found.a.stated and not found.b.stated
    assert "were told" not in found.sentence
    assert not [check for check in found.checks if check.name == "stated by hand"]


def test_a_record_knows_a_model_by_weights_and_architecture(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    """The weights are the record's, the heads are not: `--check` fails."""
    asked: dict[str, Any] = {"level": "weights"}
    record = converters.verify(source, folder / "3.safetensors", changes=HEADS, **asked)
    other = {**HEADS, "num_heads": 4}
    found = converters.verify(
        source, folder / "4.safetensors", changes=other, record=record, **asked
    )
    failed = {check.name for check in found.failed if check.level == "record"}
    assert failed == {
        f"{what} of {role}" for what in ("architecture", "model") for role in "AB"
    }
    old = json.loads(record.to_json())
    for role in "ab":
        for field in ("model", "about", "fields", "stated"):
            del old[role][field]
    del old["phases"]
    earlier = type(record).from_json(json.dumps(old))
    again = converters.verify(
        source, folder / "3.safetensors", changes=HEADS, record=earlier, **asked
    )
    assert again.passed


def test_labels_and_origin_are_in_a_record_as_hashes_only(tmp_path: Path) -> None:
    path = write_canonical(tmp_path / "a.safetensors", CASES["classes"])
    said = {"labels": ["secret", *"wxyz"], "source.licence": "secret-licence"}
    found = converters.verify(path, path, changes=said, level="weights")
    assert {one.field for one in found.a.stated} == {"labels", "source.licence"}
    assert "secret" not in found.to_json()


CHANGES: dict[str, dict[str, Any]] = {
    "spatial_dims": {"spatial_dims": 3, "img_size": (12, 8, 4), "patch_size": 4},
    "img_size": {"img_size": (12, 12)},
    "patch_size": {"patch_size": (2, 4)},
    "in_chans": {"in_chans": 1},
    "embed_dim": {"embed_dim": 48},
    "depth": {"depth": 3},
    "num_heads": {"num_heads": 4},
    "head_dim": {"head_dim": 16},
    "mlp_dim": {"mlp_dim": 41},
    "patch_bias": {"patch_bias": False},
    "patch_norm": {"patch_norm": "dual"},
    "pre_norm": {"pre_norm": True},
    "class_token": {"class_token": False, "global_pool": "avg"},
    "dist_token": {"dist_token": True},
    "reg_tokens": {"reg_tokens": 2},
    "pos_embed": {"pos_embed": "sincos"},
    "pos_embed_tokens": {"pos_embed_tokens": "patch"},
    "rope": {"rope": {"kind": "dinov3"}},
    "norm_eps": {"norm_eps": 1e-5},
    "qkv_bias": {"qkv_bias": "qv"},
    "proj_bias": {"proj_bias": False},
    "mlp_bias": {"mlp_bias": False},
    "qk_norm": {"qk_norm": True},
    "init_values": {"init_values": 0.1},
    "act_layer": {"act_layer": "gelu_tanh"},
    "mlp_layer": {"mlp_layer": "swiglu", "act_layer": "silu"},
    "final_norm": {"final_norm": False},
    "fc_norm": {"fc_norm": True},
    "fc_norm_eps": {"fc_norm": True, "fc_norm_eps": 1e-3},
    "global_pool": {"global_pool": "avg"},
    "pool_include_prefix": {"global_pool": "avg", "pool_include_prefix": True},
    "distilled": {"dist_token": True, "distilled": True},
    "representation_size": {"representation_size": 6},
    "num_classes": {"num_classes": 6},
    "head_bias": {"head_bias": False},
    "head_act": {"head_act": "tanh"},
}
SILENT = {
    *("schema_version", "norm_layer", "pos_resize", "weight_init", "problem_type"),
    *("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate"),
    *("drop_path_rate", "data", "labels", "source"),
}
"""Fields that change nothing of what a model computes, or have one value only."""


BASES: dict[str, dict[str, Any]] = {
    "fc_norm_eps": {"fc_norm": True},
    "pool_include_prefix": {"global_pool": "avg"},
    "distilled": {"dist_token": True},
}
"""What a field needs to mean anything."""


@pytest.mark.parametrize("field", sorted(set(ViTConfig.model_fields) - SILENT))
def test_no_two_architectures_read_alike(field: str) -> None:
    """Every field shows; one that the schema gets later has to be thought of here."""
    base = {"num_classes": 5, **BASES.get(field, {})}
    changed = architecture_items(config(**{**base, **CHANGES[field]}))
    assert architecture_items(config(**base)) != changed


def test_statements_in_words_cannot_leave_their_line() -> None:
    said = [
        Statement(field="num_heads", value="3", origin="set"),
        Statement(field="data.mean", value='["a\n# b\u202e"]', origin="preset x\ny"),
        Statement(field="norm_eps", value="1e-05", origin="set"),
    ]
    text = by_hand(said)
    assert text.isprintable()
    assert text.endswith("num_heads=3, norm_eps=1e-05 (--set)")


# ---- inspect ------------------------------------------------------------------------


def test_inspect_shows_the_model_in_some_ten_lines_and_tensors_when_asked(
    folder: Path,
) -> None:
    path = folder / "3.safetensors"
    result = call("inspect", path)
    assert result.exit_code == 0
    assert 8 <= len(result.stdout.splitlines()) <= 14
    assert "blocks.1.mlp.fc1.weight" not in result.stdout
    whole = call("inspect", path, "--tensors").stdout
    assert whole.startswith(result.stdout.rstrip())
    names = [line.split()[0] for line in whole.splitlines() if line.startswith("  ")]
    assert set(fill_weights(MONAI["tanh"])) <= set(names)


def test_inspect_exits_1_with_all_it_knows_when_convert_would_refuse(
    tmp_path: Path,
) -> None:
    known = CASES["classes"]
    arrays = weights(known)
    arrays["head.bias"][1] = float("nan")
    path = write_canonical(tmp_path / "x.safetensors", known, arrays)
    result = call("inspect", path)
    assert result.exit_code == 1
    assert "3 heads of 8" in result.stdout and "1 NaN" in result.stdout
    said = call("inspect", path, "--json")
    assert said.exit_code == 1 and json.loads(said.stdout)["ok"] is False
