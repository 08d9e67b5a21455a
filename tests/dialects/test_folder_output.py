"""Folders as targets: ours, Hugging Face's and timm's, whole or in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.conversion.folders import json_files
from converters.libraries.config_differences import UNSAID
from converters.libraries.positions import videomae
from converters.libraries.timm import (
    config_names as timm_names,
    config_writing as timm_writing,
)
from converters.libraries.writing import target_variant
from tests.cases import CASES
from tests.converters.cases import write_canonical
from tests.dialects.real_names import load
from tests.fill import fill_weights
from vit_config import ConfigError, DataConfig, ViTConfig
from vit_config.weights import weight_table

DATA = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "input_range": [0.0, 1.0],
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}
LABELS = ["cat", "dog", "grey wolf"]
PLAIN = ViTConfig(
    img_size=(56, 56),  # of 64, a crop of 0.875
    patch_size=(14, 14),
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_dim=36,
    num_classes=3,
    problem_type="single_label",
    labels=LABELS,
    data=DATA,
)


def file_of(path: Path, config: ViTConfig) -> Path:
    weights = fill_weights(config)
    if config.spatial_dims == 3 and config.pos_embed == "sincos":
        weights["pos_embed"] = videomae(config)  # such files have no other
    return write_canonical(path, config, weights)


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


def data_of(library: str | None) -> DataConfig:
    """What comes back: transformers' processors begin a crop where they always do."""
    start = {"crop_start": "floor"} if library == "huggingface" else {}
    return DataConfig(**{**DATA, **start})


def same_model(found: ViTConfig, wanted: ViTConfig) -> bool:
    ours, theirs = found.architecture(), wanted.architecture()
    for side in (ours, theirs):  # a table that is stored is one, learned or not
        side["pos_embed"] = side["pos_embed"] != "none"
    return all(ours[name] == theirs[name] for name in ours if name not in UNSAID)


@pytest.mark.parametrize("library", [None, "huggingface"])
def test_folder_is_read_again_as_the_same_model(
    tmp_path: Path, library: str | None
) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    report = converters.convert(source, tmp_path / "out", to_dialect=library)
    assert report.ok and report.proved == report.tensors
    assert set(report.files) == {p.name for p in (tmp_path / "out").iterdir()}
    assert ("preprocessor_config.json" in report.files) == (library == "huggingface")
    back = converters.convert(tmp_path / "out", tmp_path / "y.safetensors")
    assert back.fingerprint == report.fingerprint
    assert back.config.data == data_of(library)
    assert back.config.labels == PLAIN.labels
    # What no library says, the header of our own file still does.
    assert back.config.architecture() == PLAIN.architecture()
    ours = load_file(tmp_path / "y.safetensors")
    for name, values in fill_weights(PLAIN).items():
        np.testing.assert_array_equal(ours[name], values)


@pytest.mark.parametrize("library", ["huggingface", "timm"])
def test_folder_is_complete_without_our_header(tmp_path: Path, library: str) -> None:
    """As after the library itself has saved it: its own JSON alone says the model."""
    from safetensors.numpy import save_file

    source = file_of(tmp_path / "x.safetensors", PLAIN)
    converters.convert(source, tmp_path / "out", to_dialect=library)
    weights = tmp_path / "out" / "model.safetensors"
    save_file(load_file(weights), weights, {"format": "pt"})
    back = converters.convert(tmp_path / "out", tmp_path / "y.safetensors").config
    assert same_model(back, PLAIN)
    assert (back.labels, back.data) == (PLAIN.labels, data_of(library))


def test_edited_labels_count_and_another_model_is_refused(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    converters.convert(source, tmp_path / "out", to_dialect="huggingface")
    path = tmp_path / "out" / "config.json"
    fields = json.loads(path.read_text())
    fields["id2label"] = {"0": "a", "1": "b", "2": "c"}
    fields["label2id"] = {"a": 0, "b": 1, "c": 2}
    path.write_text(json.dumps(fields))
    back = converters.convert(tmp_path / "out", tmp_path / "y.safetensors").config
    assert back.labels == ("a", "b", "c")
    path.write_text(json.dumps({**fields, "layer_norm_eps": 1e-3}))
    with pytest.raises(converters.ConversionError, match="norm_eps: 1e-06"):
        converters.convert(tmp_path / "out", tmp_path / "z.safetensors")


@pytest.mark.parametrize("model", sorted(load("huggingface")["models"]))
def test_huggingface_config_says_what_the_real_one_says(model: str) -> None:
    """Written from our config, read again: the model that the library's own said."""
    said = load("huggingface")["models"][model]["config"]
    config = ViTConfig.from_dialect("huggingface", said["given"])
    if said["set"]:
        config = config.replace(**said["set"])
    try:
        variant = target_variant("huggingface", config, in_files=True)
    except converters.ConversionError:
        assert model in ("CLIPForImageClassification", "VideoMAEModel-norm") or (
            "MaskedImage" in model or "PreTraining" in model
        )
        return
    assert variant is not None
    try:
        fields = json_files(config, variant)["config.json"]
    except (converters.ConversionError, ConfigError):
        # Whole models of two towers, and what stands for the same tokens elsewhere.
        other = ("ForImageClassification", "VideoMAEModel-norm")
        assert any(word in model for word in other), model
        return
    found = ViTConfig.from_dialect("huggingface", fields)
    if "pooled" in model:  # the class gives its tokens and, beside them, this
        width = fields["pooler_output_size"]
        found = found.replace(representation_size=width, global_pool="token")
    assert same_model(found, config)
    assert [w.name for w in weight_table(found)] == [
        w.name for w in weight_table(config)
    ]


def test_every_timm_name_is_written_under_its_own_name() -> None:
    count = 0
    for name in timm_names.names():
        try:
            config = ViTConfig.from_dialect("timm", {"architecture": name})
        except ConfigError:
            continue
        fields = timm_writing.write_fields(config)
        assert fields["architecture"] == name and "model_args" not in fields
        count += 1
    assert count > 100


@pytest.mark.parametrize("case", sorted(CASES))
def test_timm_config_is_the_same_model_or_refused(case: str) -> None:
    config = CASES[case]
    try:
        target_variant("timm", config)
    except converters.ConversionError:
        return
    try:
        fields = timm_writing.write_fields(config)
    except ConfigError as error:
        assert "cannot be said there" in str(error) or "JSON cannot say it" in str(
            error
        )
        return
    assert same_model(ViTConfig.from_dialect("timm", fields), config)


def test_timm_name_is_that_of_the_source() -> None:
    named = {"architecture": "vit_small_patch16_384.augreg_in21k_ft_in1k"}
    config = ViTConfig.from_dialect("timm", {**named, "num_classes": 5})
    fields = timm_writing.write_fields(config)
    assert fields["architecture"] == "vit_small_patch16_384"
    assert fields["pretrained_cfg"]["tag"] == "augreg_in21k_ft_in1k"
    assert fields["pretrained_cfg"]["num_classes"] == 5
    assert fields["pretrained_cfg"]["license"] == "apache-2.0"


@pytest.mark.parametrize(
    ("to", "changes", "text"),
    [
        ("timm", {"norm_eps": 1e-3}, "no name of timm 1.0.31 has norm_eps=0.001"),
        ("timm", {"head_act": "tanh", "problem_type": None}, "head_act"),
        ("huggingface", {"qk_norm": True}, "qk_norm"),
        ("huggingface", {"data": {**DATA, "crop_mode": "border"}}, "data.crop_mode"),
        ("monai", {}, "a folder of monai is not known"),
    ],
)
def test_what_a_folder_cannot_say_is_refused_before_anything_is_written(
    tmp_path: Path, to: str, changes: dict[str, Any], text: str
) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN.replace(**changes))
    code, output = call("convert", source, tmp_path / "out", "--to", to)
    assert code == 1 and text in output and "Traceback" not in output
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_preprocessing_that_is_not_all_stated_is_not_written(tmp_path: Path) -> None:
    config = PLAIN.replace(data={**DATA, "interpolation": None})
    source = file_of(tmp_path / "x.safetensors", config)
    report = converters.convert(source, tmp_path / "out", to_dialect="huggingface")
    assert report.files == ("config.json", "model.safetensors")


# ---- shards -----------------------------------------------------------------------


@pytest.mark.parametrize("library", [None, "huggingface"])
def test_shards_are_small_and_come_back(tmp_path: Path, library: str | None) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    most = 20_000
    code, text = call(
        *("convert", source, tmp_path / "out", "--max-shard-size", "20KB", "--json"),
        *(("--to", library) if library else ()),
    )
    assert code == 0, text
    files = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(files) > 2
    assert [f.name for f in files] == [
        f"model-{i:05d}-of-{len(files):05d}.safetensors"
        for i in range(1, len(files) + 1)
    ]
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    held = {}
    for file in files:
        arrays = load_file(file)
        assert len(arrays) == 1 or sum(a.nbytes for a in arrays.values()) <= most
        held |= dict.fromkeys(arrays, file.name)
    assert index["weight_map"] == held
    total = sum(a.nbytes for file in files for a in load_file(file).values())
    assert index["metadata"] == {"total_size": total}
    back = converters.convert(tmp_path / "out", tmp_path / "y.safetensors")
    assert back.fingerprint == json.loads(text)["fingerprint"]
    assert back.config.architecture() == PLAIN.architecture()


def test_one_file_where_one_is_enough(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    report = converters.convert(source, tmp_path / "out", max_shard_size="1GB")
    assert report.files == ("config.json", "model.safetensors")


def test_shards_that_disagree_are_refused(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    other = file_of(tmp_path / "o.safetensors", PLAIN.replace(norm_eps=1e-3))
    for path, name in ((source, "a"), (other, "b")):
        converters.convert(path, tmp_path / name, max_shard_size=20_000)
    first = "model-00001-of-"
    one, two = (next((tmp_path / n).glob(f"{first}*")) for n in "ab")
    two.replace(one)
    with pytest.raises(converters.ConversionError, match="say different models"):
        converters.convert(tmp_path / "a", tmp_path / "y.safetensors")


@pytest.mark.parametrize("size", ["many", "-1", "0", "2XB", "1e3", ""])
def test_sizes_that_are_none(tmp_path: Path, size: str) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    code, text = call("convert", source, tmp_path / "o", f"--max-shard-size={size}")
    assert code == 1 and "a number with MB, GB, MiB or GiB" in text
    assert not (tmp_path / "o").exists()


def test_shards_are_for_folders(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    target = tmp_path / "y.safetensors"
    code, text = call("convert", source, target, "--max-shard-size", "1GB")
    assert code == 1 and "is for folders" in text


# ---- whole or not at all ----------------------------------------------------------


def test_folder_that_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    converters.convert(source, tmp_path / "out", max_shard_size=20_000)
    with pytest.raises(converters.ConversionError, match="exists already"):
        converters.convert(source, tmp_path / "out")
    report = converters.convert(source, tmp_path / "out", force=True)
    # Nothing of the shards is left.
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(report.files)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(converters.ConversionError, match='holds other files: "notes'):
        converters.convert(source, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_source_is_never_the_target(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    converters.convert(source, tmp_path / "out")
    with pytest.raises(converters.ConversionError, match="the source lies in it"):
        converters.convert(tmp_path / "out", tmp_path / "out", force=True)
    inner = tmp_path / "out" / "model.safetensors"
    with pytest.raises(converters.ConversionError, match="the source lies in it"):
        converters.convert(inner, tmp_path / "out", force=True)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(converters.ConversionError, match="the source lies in it"):
        converters.convert(inner, tmp_path / "link", force=True)
    # As in the hub's cache: the files of a folder are links to elsewhere.
    cached = tmp_path / "snapshot" / "model.safetensors"
    cached.parent.mkdir()
    cached.symlink_to(source)
    with pytest.raises(converters.ConversionError, match="the source lies in it"):
        converters.convert(cached, cached.parent, force=True)
    assert cached.is_symlink()


def test_shard_of_the_source_is_never_the_target(tmp_path: Path) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    shards = tmp_path / "shards"
    converters.convert(source, shards, to_dialect="huggingface", max_shard_size="20KB")
    first = min(shards.glob("model-*.safetensors"))
    before = first.read_bytes()
    for start in (shards, shards / "model.safetensors.index.json"):
        with pytest.raises(converters.ConversionError, match="the source itself"):
            converters.convert(start, first, force=True)
    assert first.read_bytes() == before


def test_the_folder_one_stands_in_is_no_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    for target in (".", ".."):
        with pytest.raises(converters.ConversionError, match="name the folder itself"):
            converters.convert(source, target)


@pytest.mark.parametrize("there", [False, True])
def test_error_on_the_way_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    import converters.conversion.folders as module

    source = file_of(tmp_path / "x.safetensors", PLAIN)
    if there:
        converters.convert(source, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "differences", broken)
    with pytest.raises(KeyboardInterrupt):
        converters.convert(source, tmp_path / "out", force=True, max_shard_size=9_000)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert after == before


def test_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = file_of(tmp_path / "x.safetensors", PLAIN)
    converters.convert(source, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    replace = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if self.parent.name == "new":
            raise OSError("no")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="no"):
        converters.convert(source, tmp_path / "out", force=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


# ---- live -------------------------------------------------------------------------

peers = pytest.mark.peers
quiet = pytest.mark.filterwarnings("ignore")


def rounded(path: Path, config: ViTConfig, **options: Any) -> Path:
    source = file_of(path / "x.safetensors", config)
    converters.convert(source, path / "out", **options)
    return path / "out"


@peers
@quiet
@pytest.mark.parametrize("shards", [None, "20KB"])
@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        ("ViTForImageClassification", {}),
        ("ViTForImageClassification", {"img_size": (56, 42), "norm_eps": 1e-12}),
        ("ViTModel", {}),
        ("DeiTForImageClassificationWithTeacher", {"dist_token": True}),
        ("Dinov2ForImageClassification", {"init_values": 0.5, "qkv_bias": False}),
        ("Dinov2WithRegistersForImageClassification", {"init_values": 0.5}),
        ("Dinov2Model", {"mlp_layer": "swiglu", "init_values": 0.5}),
        ("CLIPVisionModelWithProjection", {"act_layer": "quick_gelu"}),
        ("SiglipVisionModel", {"act_layer": "gelu_tanh"}),
        ("IJepaForImageClassification", {"global_pool": "avg"}),
        ("VivitForVideoClassification", {"act_layer": "gelu_tanh"}),
        ("VideoMAEForVideoClassification", {}),
    ],
)
def test_transformers_loads_the_folder_and_gives_our_outputs(
    tmp_path: Path, cls: str, changes: dict[str, Any], shards: str | None
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", minversion="5.0")
    import torch_vit
    from tests.fill import image

    config = huggingface_config(cls, changes)
    options = {"to_dialect": "huggingface", "max_shard_size": shards}
    folder = rounded(tmp_path, config, **options)
    library = getattr(transformers, cls)
    model, info = library.from_pretrained(folder, output_loading_info=True)
    missing = {n for n in info["missing_keys"] if not n.startswith("pooler.")}
    assert missing == set() and not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    ours = torch_vit.ViT.from_pretrained(tmp_path / "x.safetensors").eval()
    x = torch.from_numpy(image((2, config.in_chans, *config.img_size)))
    given = x.transpose(1, 2) if config.spatial_dims == 3 else x
    with torch.no_grad():
        output, expected = model.eval()(given), ours(x)
    names = ("logits", "image_embeds", "pooler_output", "last_hidden_state")
    if cls in ("ViTModel", "Dinov2Model"):
        names = ("last_hidden_state",)
    found = next(output[name] for name in names if name in output)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)
    if config.labels:
        assert list(model.config.id2label.values()) == LABELS
        assert model.config.problem_type == "single_label_classification"


def huggingface_config(cls: str, changes: dict[str, Any]) -> ViTConfig:
    """Our config of such a class, with what all models of the class have."""
    fields: dict[str, Any] = {**PLAIN.to_dict(), "data": None}
    if "Dinov2" in cls and "ForImage" in cls:
        fields |= {"global_pool": "token_avg", "pos_embed_tokens": "cls"}
        fields |= {"reg_tokens": 2} if "Registers" in cls else {}
    if "Dinov2" in cls:
        fields |= {"mlp_dim": 72}
    if cls in ("ViTModel", "Dinov2Model", "SiglipVisionModel"):
        fields |= {"num_classes": 0, "labels": None, "problem_type": None}
        fields |= {"global_pool": "none"}
    if "swiglu" in changes.values():
        fields |= {"act_layer": "silu", "mlp_dim": 48}
    if "CLIP" in cls:
        fields |= {"pre_norm": True, "patch_bias": False, "head_bias": False}
        fields |= {"labels": None, "problem_type": None, "norm_eps": 1e-5}
    if "Siglip" in cls:
        fields |= {"class_token": False, "global_pool": "map"}
    if "IJepa" in cls:
        fields |= {"class_token": False}
    if "Teacher" in cls:
        fields |= {"distilled": True}
    if cls.startswith("Vi") and "Video" in cls:
        fields |= {"spatial_dims": 3, "img_size": [8, 32, 32], "patch_size": [2, 8, 8]}
    if "VideoMAE" in cls:
        fields |= {"class_token": False, "pos_embed": "sincos", "qkv_bias": "qv"}
        fields |= {"global_pool": "avg", "fc_norm": True, "fc_norm_eps": 1e-5}
        fields |= {"final_norm": False}
    return ViTConfig(**{**fields, **changes})


@peers
@quiet
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": {**DATA, "crop_pct": 1.0, "crop_mode": "squash"}},
        {"data": {**DATA, "crop_mode": "squash"}},
        {"data": {**DATA, "input_range": [-1.0, 1.0]}},
        {"data": {**DATA, "input_range": [0.0, 255.0], "crop_pct": 1.0}},
    ],
)
def test_transformers_prepares_images_as_our_config_says(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    image = pytest.importorskip("PIL.Image")
    config = PLAIN.replace(**changes)
    folder = rounded(tmp_path, config, to_dialect="huggingface")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    data = config.data
    assert data is not None and data.mean and data.std and data.input_range
    grey = 100
    picture = image.fromarray(np.full((80, 100, 3), grey, np.uint8))
    pixels = processor(picture, return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, *config.img_size)
    low, high = data.input_range
    value = low + grey / 255 * (high - low)
    wanted = [(value - m) / s for m, s in zip(data.mean, data.std, strict=True)]
    np.testing.assert_allclose(pixels[0, :, 0, 0], wanted, rtol=1e-5, atol=1e-5)


@peers
@quiet
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"img_size": (56, 42), "norm_eps": 1e-5, "qk_norm": True},
        {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"},
        {"global_pool": "avg", "final_norm": False, "fc_norm": True},
        {"mlp_layer": "swiglu", "act_layer": "silu", "init_values": 0.5},
        {"dist_token": True, "distilled": True, "mlp_dim": 37},
        {"reg_tokens": 2, "pos_embed_tokens": "patch", "in_chans": 1, "data": None},
        {"num_classes": 0, "global_pool": "none", "labels": None, "problem_type": None},
        {"pre_norm": True, "patch_bias": False, "norm_eps": 1e-5},
        {"patch_norm": "post", "pos_embed": "none"},
    ],
)
def test_timm_makes_the_folder_and_gives_our_outputs(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm", minversion="1.0.31")
    import torch_vit
    from tests.fill import image

    config = PLAIN.replace(**changes)
    folder = rounded(tmp_path, config, to_dialect="timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours = torch_vit.ViT.from_pretrained(tmp_path / "x.safetensors").eval()
    x = torch.from_numpy(image((2, config.in_chans, *config.img_size)))
    with torch.no_grad():
        found, expected = model(x), ours(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)
    if config.data:
        from timm.data import resolve_model_data_config

        data = resolve_model_data_config(model)
        assert list(data["mean"]) == DATA["mean"]
        assert (data["crop_pct"], data["crop_mode"]) == (0.875, "center")
