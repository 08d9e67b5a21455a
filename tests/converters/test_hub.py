"""Models of the hub, from a hub on this machine; nothing leaves it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from converters.libraries.keras_hub.file import FILES
from converters.sources.hub import chosen, is_hub
from tests.adapters.common import CONFIG as ADAPTED, GOLDENS, save_base
from tests.converters.cases import write_canonical
from tests.dialects.common import MONAI, monai_file
from tests.dialects.test_keras_hub import preset
from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.fill import fill_weights
from tests.hub_server import Hub, Repo, serving
from vit_config import ViTConfig

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

CARD = """---
license: cc-by-nc-4.0
datasets:
- imagenet-1k
- imagenet-22k
---
# A model
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """One timm model, in a cache that is empty."""
    folder, _ = timm_folder(tmp_path / "repo", timm_config())
    (folder / "README.md").write_text(CARD)
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "training_args.json").write_text("{}")
    repos = {"timm/vit": Repo(folder, {"main": "a" * 40, "v1": "b" * 40})}
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(repos) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


def test_model_is_converted_in_one_line(hub: Hub, tmp_path: Path) -> None:
    code, text = call("convert", "hf://timm/vit", tmp_path / "x.safetensors", "--json")
    assert code == 0, text
    report = json.loads(text)
    local = converters.convert(hub.repos["timm/vit"].folder, tmp_path / "y.safetensors")
    assert report["fingerprint"] == local.fingerprint
    source = report["config"]["source"]
    assert (source["name"], source["revision"]) == ("timm/vit", "a" * 40)
    assert source["pretraining_data"] == "imagenet-1k, imagenet-22k"
    # What the config says stands above the card.
    assert source["licence"] == "apache-2.0"
    weights = hub.repos["timm/vit"].folder / "model.safetensors"
    import hashlib

    assert source["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_only_what_is_read_is_fetched(hub: Hub, tmp_path: Path) -> None:
    converters.inspect("hf://timm/vit")
    assert hub.fetched() == {"config.json", "model.safetensors", "README.md"}


def test_inspect_says_the_same(hub: Hub) -> None:
    found = converters.inspect("hf://timm/vit")
    assert found.dialect == "timm" and found.fingerprint and found.config is not None
    assert found.config.source is not None
    assert found.config.source.revision == "a" * 40


def test_revision(hub: Hub, tmp_path: Path) -> None:
    for spec, commit in (("@v1", "b"), (f"@{'a' * 40}", "a"), ("", "a")):
        found = converters.inspect(f"hf://timm/vit{spec}").config
        assert found is not None and found.source is not None
        assert found.source.revision == commit * 40


def test_what_is_cached_needs_no_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = converters.convert("hf://timm/vit@v1", tmp_path / "a.safetensors")
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = converters.convert("hf://timm/vit@v1", tmp_path / "b.safetensors")
    assert len(hub.requests) == asked
    assert offline.fingerprint == online.fingerprint
    assert offline.config == online.config
    code, text = call("inspect", "hf://timm/vit@other")
    assert code == 1 and "HF_HUB_OFFLINE is set, and the cache has not got it" in text
    assert "Traceback" not in text


def test_hub_that_is_gone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converters.inspect("hf://timm/vit")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = converters.inspect("hf://timm/vit")
    assert found.fingerprint
    code, text = call("inspect", "hf://timm/other")
    assert code == 1 and "the hub cannot be reached, and the cache" in text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hf://timm/other", "there is no such model on the hub, or it is private"),
        ("hf://timm/vit@v9", 'has no revision "v9"'),
        ("hf://timm/vit/other.pth", 'has no file "other.pth"'),
        ("hf://timm", '"hf://timm" is no model of the hub'),
        ("hf://timm/vit@", "is no model of the hub"),
        ("hf://../..", "no valid name"),
        ("hf://timm/vit@../../x", "is no model of the hub"),
    ],
)
def test_what_is_not_there(hub: Hub, tmp_path: Path, source: str, text: str) -> None:
    code, output = call("convert", source, tmp_path / "x.safetensors")
    assert code == 1 and text in output and "Traceback" not in output
    assert not (tmp_path / "x.safetensors").exists()


def test_gated_model(hub: Hub) -> None:
    hub.repos["timm/vit"].gated = True
    code, text = call("inspect", "hf://timm/vit")
    assert code == 1 and "give access on request only" in text
    assert "hf auth login" in text


def test_shards_and_our_own_folders(hub: Hub, tmp_path: Path) -> None:
    config = MONAI["tanh"]
    path = write_canonical(tmp_path / "x.safetensors", config, fill_weights(config))
    report = converters.convert(path, tmp_path / "own", max_shard_size="20KB")
    hub.repos["org/own"] = Repo(tmp_path / "own")
    found = converters.inspect("hf://org/own")
    assert found.fingerprint == report.fingerprint and found.dialect == "canonical"
    assert hub.fetched() == set(report.files)


def test_single_file_and_one_that_is_named(hub: Hub, tmp_path: Path) -> None:
    config = MONAI["tanh"]
    folder = tmp_path / "files"
    folder.mkdir()
    monai_file(folder / "one.safetensors", config)
    hub.repos["org/files"] = Repo(folder)
    found = converters.inspect("hf://org/files", config=config)
    assert found.dialect == "monai@1.6" and found.fingerprint
    monai_file(folder / "two.safetensors", config, "1.4")
    hub.repos["org/files"].revisions["main"] = "c" * 40
    code, text = call("inspect", "hf://org/files")
    assert code == 1 and "several files of weights: one.safetensors, two" in text
    assert "hf://org/files/one.safetensors" in text
    found = converters.inspect("hf://org/files/two.safetensors", config=config)
    assert found.dialect == "monai@1.4"


def test_bundle(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.dialects.test_bundle import INFERENCE, bundle, model, state

    hub.repos["MONAI/x"] = Repo(bundle(tmp_path / "b", INFERENCE, state(model())))
    (tmp_path / "b" / "models" / "model.ts").write_bytes(b"never fetched")
    found = converters.inspect("hf://MONAI/x")
    assert found.dialect == "monai@1.0" and found.fingerprint
    assert hub.fetched() == {
        *("configs/inference.json", "configs/metadata.json", "models/model.pt"),
    }


def test_from_pretrained_takes_the_hub(hub: Hub) -> None:
    torch_vit = pytest.importorskip("torch_vit")
    model = torch_vit.ViT.from_pretrained("hf://timm/vit")
    assert model.config.source.name == "timm/vit"


def test_other_files_are_no_weights() -> None:
    with pytest.raises(converters.ConversionError, match="no weights that are read"):
        chosen(["README.md", "notes.txt", "sub/x.safetensors"], None, "org/name")


def test_adapter_beside_the_weights_is_not_passed_over() -> None:
    names = ["adapter_config.json", "config.json", "model.safetensors"]
    with pytest.raises(converters.ConversionError, match="an adapter changes what"):
        chosen(names, None, "org/name")
    assert chosen(names, "model.safetensors", "org/name") == ["model.safetensors"]


def test_adapter_is_merged_into_a_base_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    save_base(base / "model.safetensors")
    (base / "README.md").write_text(CARD)
    repos = {
        "org/vit": Repo(base, {"main": "d" * 40}),
        "org/lora": Repo(GOLDENS / "plain", {"main": "e" * 40}),
    }
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(repos) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        report = converters.convert(
            "hf://org/lora",
            tmp_path / "x.safetensors",
            base="hf://org/vit",
            config=ADAPTED,
            from_dialect="timm",
        )
    assert hub.fetched() == {
        *("adapter_config.json", "adapter_model.safetensors"),
        *("model.safetensors", "README.md"),
    }
    source = report.config.source
    assert source is not None and source.revision == "e" * 40
    assert source.name == "org/lora" and source.licence == "cc-by-nc-4.0"
    local = converters.convert(
        GOLDENS / "plain",
        tmp_path / "y.safetensors",
        base=base / "model.safetensors",
        config=ADAPTED,
    )
    assert report.fingerprint == local.fingerprint


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_of_an_index_are_fetched_with_it(kind: str) -> None:
    start = "model" if kind == "safetensors" else "pytorch_model"
    own = [f"{start}-{i:05}-of-00002.{kind}" for i in (1, 2)]
    index = f"{start}.{kind}.index.json"
    names = ["README.md", "config.json", "training_args.bin", *own, index]
    found = chosen(names, None, "org/name")
    assert set(found) == {*own, index, "config.json", "README.md"}


def test_preset_of_keras_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = preset("classifier", tmp_path / "repo")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving({"keras/vit": Repo(folder, {"main": "d" * 40})}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        report = converters.convert("hf://keras/vit", tmp_path / "x.safetensors")
    assert hub.fetched() == {*FILES} & {path.name for path in folder.iterdir()}
    local = converters.convert(folder, tmp_path / "y.safetensors")
    assert report.fingerprint == local.fingerprint
    assert report.config.architecture() == local.config.architecture()
    assert report.config.source is not None
    assert report.config.source.revision == "d" * 40


def test_paths_are_no_ids(tmp_path: Path) -> None:
    assert not is_hub("hf/org/name") and not is_hub(Path("hf://org/name"))
    assert is_hub("hf://org/name")


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, text = call("inspect", "hf://timm/vit")
    assert code == 1 and "pip install 'vit-duet[hub]'" in text


def test_config_of_the_model_stays_the_callers(hub: Hub, tmp_path: Path) -> None:
    report = converters.convert(
        "hf://timm/vit",
        tmp_path / "x.safetensors",
        changes={"problem_type": "multi_label"},
    )
    assert report.config.problem_type == "multi_label"
    assert isinstance(report.config, ViTConfig)
    assert not any(str(tmp_path) in text for text in (report.to_json(), os.sep * 9))
