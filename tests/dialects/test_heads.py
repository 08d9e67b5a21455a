"""Linear heads that stand elsewhere than the library has its own."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.libraries import find
from converters.mapping.pipe import MemorySource
from converters.sources.dialect_reader import Foreign
from tests.dialects.common import same
from tests.fill import fill_weights
from vit_config import ViTConfig

D, K = 24, 5
UNSEEN = {"num_heads": 3, "img_size": 12, "norm_eps": 1e-6, "act_layer": "gelu"}
Arrays = dict[str, np.ndarray]


def config(**changes: Any) -> ViTConfig:
    sizes = {"img_size": (12, 12), "patch_size": (6, 6), "embed_dim": D, "depth": 2}
    whole = {**sizes, "num_heads": 3, "mlp_dim": 36, "num_classes": K, **changes}
    return ViTConfig(**whole)


def parts(whole: ViTConfig) -> tuple[Arrays, Arrays]:
    """Canonical weights: those of the backbone, and `weight` and `bias` of the head."""
    arrays = fill_weights(whole)
    head = {n.removeprefix("head."): v for n, v in arrays.items() if "head." in n}
    return {n: v for n, v in arrays.items() if "head." not in n}, head


def bare(whole: ViTConfig, variant: str, prefix: str) -> Arrays:
    """The backbone under the names of a library."""
    without = whole.replace(num_classes=0, global_pool="none", representation_size=None)
    (found, *_) = find(variant)[1]
    backbone, _ = parts(whole)
    source = Foreign(MemorySource(backbone), without, found)
    return {prefix + name: source.read(name) for name in source.tensors}


def file(path: Path, arrays: Arrays, head: Arrays, name: str) -> Path:
    save_file({**arrays, **{f"{name}.{leaf}": v for leaf, v in head.items()}}, path)
    return path


def converted(path: Path, **options: Any) -> tuple[Arrays, converters.ConversionReport]:
    target = path.with_name("out.safetensors")
    report = converters.convert(path, target, force=True, verify="weights", **options)
    return load_file(target), report


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(ConversionError) as error:
        converted(path, **options)
    return str(error.value)


def typed(path: Path, *words: str, eps: float = 1e-6) -> tuple[int, str]:
    """The command line, with what no file says."""
    sets = [
        f"--set={name}={value}" for name, value in {**UNSEEN, "norm_eps": eps}.items()
    ]
    target = path.with_name("typed.safetensors")
    line = ["convert", path, target, *sets, "--verify", "weights", "--force", *words]
    found = CliRunner().invoke(app, [str(word) for word in line])
    return found.exit_code, found.stdout + found.stderr


@pytest.mark.parametrize("name", ["head.0", "head.1", "head.3", "head.fc"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_only_linear_layer_in_the_place_of_the_head_is_the_head(
    name: str, bias: bool, tmp_path: Path
) -> None:
    """`Sequential(Dropout, Linear)`; what else could stand in it is said."""
    whole = config(head_bias=bias)
    backbone, head = parts(whole)
    path = file(tmp_path / "a.safetensors", backbone, head, name)
    arrays, report = converted(path, changes={**UNSEEN, "global_pool": "avg"})
    assert same(arrays, fill_weights(whole))
    assert report.config.global_pool == "avg" and report.config.num_classes == K
    assert report.steps == (f"head:{name}:assumed",)
    assert report.config.source is not None
    assert report.config.source.steps == report.steps
    assert f"assumed: {name} is all of the head" in str(report)
    _, report = converted(path, head=name, changes={**UNSEEN, "global_pool": "avg"})
    assert report.steps == (f"head:{name}",), "the caller's word"
    assert "assumed" in str(
        converters.inspect(path, changes={**UNSEEN, "global_pool": "avg"})
    )


def test_so_it_is_beside_a_config_of_ours(tmp_path: Path) -> None:
    """A `.safetensors` of canonical names is read as it is, but for the head."""
    backbone, head = parts(config())
    path = file(tmp_path / "a.safetensors", backbone, head, "head.1")
    found, report = converted(path, config=config())
    assert same(found, fill_weights(config())) and report.steps
    path = file(tmp_path / "b.safetensors", backbone, head, "fc")
    assert "fc.weight" in refused(path, config=config())
    found, _ = converted(path, config=config().replace(num_classes=0), head="fc")
    assert same(found, fill_weights(config()))


def test_what_a_head_in_its_place_reads_is_asked_for_as_ever(tmp_path: Path) -> None:
    path = file(tmp_path / "a.safetensors", *parts(config()), "head.1")
    assert "global_pool" in refused(path, changes=UNSEEN)


@pytest.mark.parametrize("variant", ["timm", "huggingface@vit-bare", "monai@1.3"])
@pytest.mark.parametrize("prefix", ["backbone.", "encoder.", "model.vit.", "net.body."])
@pytest.mark.parametrize(
    "name", ["classifier", "fc", "linear", "classifier.1", "out.fc"]
)
def test_the_line_that_the_error_proposes_takes_the_head(
    variant: str, prefix: str, name: str, tmp_path: Path
) -> None:
    """For every name around every library's backbone, and never without being asked."""
    monai = variant.startswith("monai")
    library = {"norm_eps": 1e-5, "pos_embed_tokens": "patch"} if monai else {}
    whole = config(**library)
    backbone, head = parts(whole)
    path = file(tmp_path / "a.safetensors", bare(whole, variant, prefix), head, name)
    pool = () if monai else ("--set=global_pool=avg",)  # MONAI's own gives its tokens
    code, text = typed(path, *pool, eps=whole.norm_eps)
    assert code == 1 and "unexpected" in text
    (line,) = re.findall(r"for the head: (.*)", text)
    assert ("token or avg" in line) == monai
    words = shlex.split(line.replace("token or avg", "avg"))
    code, said = typed(path, *pool, *words, eps=whole.norm_eps)
    assert code == 0, said
    assert same(load_file(tmp_path / "typed.safetensors"), fill_weights(whole))
    (line,) = re.findall(r"leave them out: (.*)", text)
    code, said = typed(path, *pool, *shlex.split(line), eps=whole.norm_eps)
    assert code == 0, said
    assert same(load_file(tmp_path / "typed.safetensors"), backbone)


def test_a_head_is_called_by_its_name_or_by_the_end_of_it(tmp_path: Path) -> None:
    whole = config()
    _, head = parts(whole)
    arrays = bare(whole, "timm", "state.model.")
    path = file(tmp_path / "a.safetensors", arrays, head, "state.head.1")
    given = {"changes": {**UNSEEN, "global_pool": "token"}}
    for name in ("state.head.1", "head.1", "head", "state.head"):
        assert same(converted(path, head=name, **given)[0], fill_weights(whole))
    text = refused(path, head="fc", **given)
    assert 'head="fc"' in text and "no such layer" in text and "state." in text


def test_a_head_is_as_wide_as_what_it_reads(tmp_path: Path) -> None:
    """Twice the width is class token and mean; any other is refused."""
    whole = config(global_pool="token_avg")
    backbone, head = parts(whole)
    path = file(tmp_path / "a.safetensors", backbone, head, "fc")
    given = {**UNSEEN, "global_pool": "token_avg"}
    assert same(converted(path, head="fc", changes=given)[0], fill_weights(whole))
    text = refused(path, head="fc", changes={**UNSEEN, "global_pool": "avg"})
    assert f"reads {2 * D} values" in text and f"there are {D}" in text
    head = {"weight": np.ones((K, 5 * D), np.float32)}
    path = file(tmp_path / "b.safetensors", backbone, head, "fc")
    text = refused(path, head="fc", changes=given)
    assert f"reads {5 * D} values" in text and 'drop="fc.*"' in text
    assert "for the head" not in refused(path, changes=given)


def test_what_a_head_reads_is_never_taken_from_a_library_whose_head_it_is_not(
    tmp_path: Path,
) -> None:
    """A backbone's own `forward` says nothing of a classifier of somebody's own."""
    whole = config(init_values=1.0, pos_embed_tokens="cls")
    _, head = parts(whole)
    arrays = bare(whole, "facebook@dinov2", "backbone.")
    path = file(tmp_path / "a.safetensors", arrays, head, "fc")
    changes = {"num_heads": 3, "img_size": 12}
    assert "global_pool" in refused(path, head="fc", changes=changes)
    found, _ = converted(path, head="fc", changes={**changes, "global_pool": "avg"})
    assert same(found, fill_weights(whole))


def test_dinov2s_linear_head_reads_class_token_and_mean(tmp_path: Path) -> None:
    whole = config(init_values=1.0, pos_embed_tokens="cls", global_pool="token_avg")
    _, head = parts(whole)
    arrays = bare(whole, "facebook@dinov2", "backbone.")
    path = file(tmp_path / "a.safetensors", arrays, head, "linear_head")
    found, report = converted(path, changes={"num_heads": 3, "img_size": 12})
    assert same(found, fill_weights(whole)) and report.steps == ("head:linear_head",)
    assert report.config.global_pool == "token_avg"
    head = {"weight": np.ones((K, 5 * D), np.float32), "bias": head["bias"]}
    path = file(tmp_path / "b.safetensors", arrays, head, "linear_head")
    text = refused(path, changes={"num_heads": 3, "img_size": 12})
    assert "reads 120 values" in text, "four blocks' class tokens and a mean"


HF = {
    "model_type": "vit",
    "hidden_size": D,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "image_size": 12,
    "patch_size": 6,
    "layer_norm_eps": 1e-12,
}


def wrapper(path: Path, name: str, prefix: str = "vit.") -> tuple[Path, Arrays]:
    """A ViTModel with its pooler, and a layer beside it: canonical weights, too."""
    whole = config(norm_eps=1e-12, representation_size=D)
    weights = fill_weights(whole)
    _, head = parts(whole)
    arrays = bare(whole, "huggingface@vit-bare", prefix)
    for leaf in ("weight", "bias"):
        arrays[f"{prefix}pooler.dense.{leaf}"] = weights[f"pre_logits.{leaf}"]
    return file(path, arrays, head, name), weights


def test_a_classifier_beside_a_vit_reads_the_class_token_unless_told(
    tmp_path: Path,
) -> None:
    """As in Hugging Face's own class; that a pooler is not called is said."""
    path, weights = wrapper(tmp_path / "a.safetensors", "classifier")
    given = {"config": {**HF, "architectures": ["ViTModel"]}}
    found, report = converted(path, **given)
    assert same(found, {n: v for n, v in weights.items() if "pre_logits" not in n})
    assert report.config.global_pool == "token" and "assumed" in str(report)
    assert {"vit.pooler.dense.weight", "vit.pooler.dense.bias"} == set(report.dropped)
    (way,) = re.findall(r"reads the pooler, add changes=({.*})", str(report))
    found, report = converted(path, **given, changes=eval(way))
    assert same(found, weights) and report.config.representation_size == D


def test_beside_another_class_it_is_asked_for(tmp_path: Path) -> None:
    """Under other names nothing decides: not the config, and not the pooler."""
    path, weights = wrapper(tmp_path / "a.safetensors", "fc", "backbone.")
    given = {"config": {**HF, "architectures": ["ViTModel"]}}
    assert 'head="fc"' in refused(path, **given)
    text = refused(path, **given, head="fc")
    assert "does not say what" in text and 'changes={"global_pool": "avg"}' in text
    found, _ = converted(path, **given, head="fc", changes={"global_pool": "avg"})
    assert same(found, {n: v for n, v in weights.items() if "pre_logits" not in n})


def test_a_pooler_is_the_output_where_it_is_asked_for(tmp_path: Path) -> None:
    """And is written back as what it was."""
    path, weights = wrapper(tmp_path / "a.safetensors", "classifier", "")
    given = {"config": {**HF, "architectures": ["ViTModel"]}, "drop": "classifier.*"}
    found, report = converted(path, **given, head="pooler")
    assert same(found, {n: v for n, v in weights.items() if "head." not in n})
    assert report.config.representation_size == D and not report.config.num_classes
    assert report.config.global_pool == "token"
    there = tmp_path / "there.safetensors"
    converters.convert(path, there, **given, head="pooler")
    back = tmp_path / "back.safetensors"
    converters.convert(there, back, to_dialect="huggingface@vit-bare")
    theirs = load_file(path)
    written = load_file(back)
    assert same(written, {n: v for n, v in theirs.items() if "classifier" not in n})


def test_a_folder_of_hugging_face_has_the_pooler_in_its_config(tmp_path: Path) -> None:
    path, weights = wrapper(tmp_path / "a.safetensors", "classifier", "")
    pooled = {n: v for n, v in weights.items() if "head." not in n}
    fields = {**HF, "architectures": ["ViTModel"]}
    there = tmp_path / "there.safetensors"
    given = {"config": fields, "drop": "classifier.*", "head": "pooler"}
    converters.convert(path, there, **given)
    folder = tmp_path / "for-hf"
    converters.convert(there, folder, to_dialect="huggingface")
    written = json.loads((folder / "config.json").read_text())
    assert written["architectures"] == ["ViTModel"]
    assert (written["pooler_output_size"], written["pooler_act"]) == (D, "tanh")
    back = tmp_path / "back.safetensors"
    converters.convert(folder, back)  # our own header says which of the two outputs
    assert same(load_file(back), pooled)
    given["config"] = {**fields, "pooler_act": "relu"}
    assert "pooler_act: found 'relu'" in refused(path, **given)


def test_layers_that_are_no_linear_head_are_named_with_the_way_to_leave_them_out(
    tmp_path: Path,
) -> None:
    backbone, _ = parts(config())
    mlp = {
        "head.0.weight": np.ones((7, D), np.float32),
        "head.0.bias": np.ones(7, np.float32),
        "head.2.weight": np.ones((K, 7), np.float32),
    }
    path = tmp_path / "a.safetensors"
    save_file({**backbone, **mlp}, path)
    code, text = typed(path, "--set=global_pool=avg")
    assert (
        code == 1 and all(name in text for name in mlp) and "for the head" not in text
    )
    (line,) = re.findall(r"leave them out: (.*)", text)
    assert typed(path, "--set=global_pool=avg", *shlex.split(line))[0] == 0
    assert same(load_file(tmp_path / "typed.safetensors"), backbone)
    text = refused(path, head="head", changes={**UNSEEN, "global_pool": "avg"})
    assert "no single linear layer" in text and '"head.2" (5 x 7)' in text


def test_a_config_with_classes_beside_another_head_is_left_out_in_one_line(
    tmp_path: Path,
) -> None:
    whole = config(norm_eps=1e-12)
    arrays = bare(whole, "huggingface@vit-bare", "vit.")
    arrays["classifier.0.weight"] = np.ones((7, D), np.float32)
    arrays["classifier.2.weight"] = np.ones((K, 7), np.float32)
    path = tmp_path / "a.safetensors"
    save_file(arrays, path)
    labels = {str(i): f"class {i}" for i in range(K)}
    fields = {**HF, "architectures": ["ViTForImageClassification"], "id2label": labels}
    text = refused(path, config=fields)
    assert "classifier.0.weight" in text
    (line,) = re.findall(r"leave them out: (.*)", text)
    found, report = converted(path, config=fields, **eval(f"dict({line})"))
    assert same(found, parts(whole)[0]) and report.config.labels is None


def test_the_models_own_head_needs_no_word(tmp_path: Path) -> None:
    """And two heads are one too many."""
    whole = config()
    backbone, head = parts(whole)
    path = file(tmp_path / "a.safetensors", backbone, head, "head")
    given = {"changes": {**UNSEEN, "global_pool": "avg"}}
    found, report = converted(path, head="head", **given)
    assert same(found, fill_weights(whole)) and not report.steps
    both = {**backbone, **{f"head.{leaf}": v + 1 for leaf, v in head.items()}}
    path = file(tmp_path / "b.safetensors", both, head, "fc")
    text = refused(path, head="fc", **given)
    assert "head.weight" in text and 'drop="head.*"' in text
    found, _ = converted(path, head="fc", drop="head.*", **given)
    assert same(found, fill_weights(whole))
