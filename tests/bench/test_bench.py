"""Contenders take turns, are one model, and say clearly why they cannot run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import converters
from converters.benchmark import plan, run
from converters.cli.app import app
from tests.fill import fill_weights
from vit_config import ViTConfig

CONFIG = ViTConfig(
    img_size=(24, 16),
    patch_size=(8, 4),
    in_chans=3,
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_dim=40,
    num_classes=5,
)
SHORT: dict[str, Any] = {"batch_sizes": (1, 3), "seconds": 0.01, "threads": 1}

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")


def saved(path: Path, seed: int = 0) -> Path:
    torch = pytest.importorskip("torch")
    import torch_vit

    model = torch_vit.ViT(CONFIG)
    weights = fill_weights(CONFIG)
    scale = 1 + seed
    model.load_state_dict({n: scale * torch.from_numpy(a) for n, a in weights.items()})
    model.save_pretrained(path)
    return path


@needs_torch
@pytest.mark.skipif(find_spec("keras") is None, reason="needs keras")
@pytest.mark.slow
def test_twins_take_turns_and_give_the_same(tmp_path: Path) -> None:
    model = saved(tmp_path / "model.safetensors")
    found = converters.bench(model, backends=("torch",), repeat=3, **SHORT)
    assert [one.name for one in found.contestants] == ["torch eager", "keras torch"]
    twin, keras = found.contestants
    assert keras.baseline == twin.name == twin.baseline
    assert keras.difference == 0.0  # the torch backend has the torch twin's bits
    for one in found.contestants:
        assert [timing.batch_size for timing in one.timings] == [1, 3]
        for timing in one.timings:
            assert len(timing.rounds) == 3
            assert all(len(calls) >= 3 and min(calls) > 0 for calls in timing.rounds)
        assert one.load_seconds > 0
        assert one.peak_bytes > 2**20
    assert "numpy" not in keras.library
    assert keras.library.startswith("keras ")
    assert found.shape == (3, 24, 16)
    both = zip(twin.timings, keras.timings, strict=True)
    wanted = [b.rates[0] / a.rates[0] for a, b in both]
    ratios = [found.ratios("keras torch", size)[0] for size in (1, 3)]
    assert ratios == pytest.approx(wanted)


@needs_torch
@pytest.mark.skipif(find_spec("keras") is None, reason="needs keras")
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_compiled_models_run_compiled(tmp_path: Path, backend: str) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    model = saved(tmp_path / "model.safetensors")
    found = converters.bench(
        model, backends=(backend,), compile=True, repeat=2, **SHORT
    )
    who = {one.name: one for one in found.contestants}
    compiled = who.pop(f"keras {backend} compiled")
    assert who.keys() == {"torch eager", "torch compiled", f"keras {backend}"}
    assert compiled.baseline == f"keras {backend}"
    # Other kernels: the bits show that they ran, and how little they differ.
    assert 0 < compiled.difference < 1e-5


@needs_torch
@pytest.mark.parametrize("against", [None, "keras-hub"])
def test_compiled_models_are_compared_with_compiled_ones(
    tmp_path: Path, against: str | None
) -> None:
    model = saved(tmp_path / "model.safetensors")
    found = plan.planned(
        model,
        converters.inspect(model).config,
        tmp_path,
        against=against,
        backends=("tensorflow", "jax"),
        artifacts=(),
        compile=True,
        fresh=False,
    )
    who = {one.name: one for one in found}
    names = ["keras tensorflow", "keras tensorflow compiled", "keras jax"]
    assert [name for name in who if name.startswith("keras ")] == names
    own = who["keras tensorflow compiled"]
    assert own.fields["compile"] is True
    assert "compile" not in who["keras tensorflow"].fields
    other = "keras-hub tensorflow compiled"
    assert own.baselines == (f"{against} tensorflow compiled", "keras tensorflow")
    assert (other in who) == (against == "keras-hub")
    if other in who:
        assert who[other].fields["compile"] is True


@needs_torch
def test_another_model_is_no_contender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model.safetensors")
    other = saved(tmp_path / "other.safetensors", seed=1)

    def two(canonical: Path, config: ViTConfig, *args: Any, **options: Any) -> Any:
        fields = {"kind": "torch", "config": config.to_dict()}
        return [
            plan.Planned("one", {**fields, "model": str(canonical)}),
            plan.Planned("another", {**fields, "model": str(other)}),
        ]

    monkeypatch.setattr(run, "planned", two)
    with pytest.raises(converters.ConversionError) as error:
        converters.bench(model, **SHORT)
    assert "another does not give the outputs of one" in str(error.value)


@needs_torch
def test_a_library_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.AGAINST, "timm", ("timm", "no_such_library"))
    model = saved(tmp_path / "model.safetensors")
    with pytest.raises(converters.ConversionError) as error:
        converters.bench(model, against="timm", **SHORT)
    assert "timm eager: no_such_library is not installed there" in str(error.value)


@needs_torch
def test_what_nobody_asked_for_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model.safetensors")

    def some(canonical: Path, config: ViTConfig, *args: Any, **options: Any) -> Any:
        fields = {"model": str(canonical), "config": config.to_dict()}
        source = {"package": "no_such_library"}
        missing = {**fields, "kind": "library", "source": source}
        return [
            plan.Planned("missing", missing, named=False),
            plan.Planned("there", {**fields, "kind": "torch"}, baselines=("missing",)),
        ]

    monkeypatch.setattr(run, "planned", some)
    found = converters.bench(model, repeat=1, **SHORT)
    assert [one.name for one in found.contestants] == ["there"]
    assert found.contestants[0].baseline == "there"
    assert found.left_out == ("missing: no_such_library is not installed there",)


@needs_torch
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"against": "jimm"}, "against 'jimm'; known are timm"),
        ({"backends": ("theano",)}, "backend 'theano'; known are tensorflow"),
        ({"batch_sizes": ()}, "give one or more"),
        ({"batch_sizes": (2, 2)}, "each one once"),
        ({"repeat": 0}, "all positive"),
        ({"artifacts": ("model.txt",)}, "no such artifact"),
        ({"artifacts": (__file__,)}, "no exported artifact"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    model = saved(tmp_path / "model.safetensors")
    with pytest.raises(converters.ConversionError) as error:
        converters.bench(model, **{"backends": ("torch",), **options})
    assert words in str(error.value)


def test_a_model_is_needed() -> None:
    with pytest.raises(converters.ConversionError, match="a model is needed"):
        converters.bench()


@needs_torch
def test_the_command_refuses_or_writes_what_it_measured(tmp_path: Path) -> None:
    model = saved(tmp_path / "model.pt2.safetensors")
    out = tmp_path / "out.json"
    line = ["bench", str(model), "--json", str(out), "--seconds", "0.01"]
    line += ["--batch-size", "2", "--threads", "1", "--repeat", "2"]
    done = CliRunner().invoke(app, [*line, "--against", "monai"])
    assert done.exit_code == 1  # MONAI has no such epsilon
    assert "MONAI" in done.output + done.stderr
    assert not out.exists()

    done = CliRunner().invoke(app, [*line, "--against", "timm"])
    if find_spec("timm") is None:
        assert done.exit_code == 1
        assert "timm eager: timm is not installed there" in done.output + done.stderr
        assert not out.exists()
    else:
        assert done.exit_code == 0
        assert "torch eager" in done.output
        written = json.loads(out.read_text())
        assert len(written["contestants"][1]["timings"][0]["rounds"]) == 2
        assert CliRunner().invoke(app, line).exit_code == 1  # it is there already


@needs_torch
@pytest.mark.peers
@pytest.mark.parametrize("name", ["timm", "transformers"])
def test_a_library_s_own_model_gives_the_same(tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    model = saved(tmp_path / "model.safetensors")
    found = converters.bench(model, against=name, repeat=1, **SHORT)
    assert [one.name for one in found.contestants] == [f"{name} eager", "torch eager"]
    assert found.contestants[1].baseline == f"{name} eager"
    assert name in found.contestants[0].library
    assert found.contestants[1].difference < 1e-5
    assert json.loads(found.to_json())["unit"] == "images"
