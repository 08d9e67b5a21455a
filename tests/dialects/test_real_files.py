"""Files that real libraries save, end to end: `convert`, the outputs, and back again.

`files/*.safetensors` are made by `tools/make_dialect_files.py`: names and shapes in the
library's own file, and what the library computes from it in float64. The values are
`tests.fill` by the library's own names, so that no map of names has a part in this.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert, read_checked
from converters.conversion.report import ConversionReport
from converters.errors import ConversionError
from converters.libraries import find
from converters.libraries.variant import Variant
from tests.dialects.common import same
from tests.fill import fill, image

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parent / "files"
CASES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
Arrays = dict[str, np.ndarray]

# Their classes need more than an encoder: these files are read and not written.
READ_ONLY = {"huggingface@vit-msn", "facebook@mae"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def case_of(name: str) -> dict[str, Any]:
    with safe_open(FOLDER / f"{name}.safetensors", "numpy") as file:
        return json.loads(file.metadata()["case"])


def library_file(name: str, folder: Path) -> tuple[Path, dict[str, Any], Arrays]:
    """What the library saved: the source, the options of `convert`, all tensors."""
    case = case_of(name)
    start = len(case["prefix"])
    arrays = {
        n: np.asarray(fill(n[start:], tuple(shape)))
        for n, shape in case["tensors"].items()
    }
    arrays |= {n: np.asarray(fill(n, tuple(s))) for n, s in case["beside"].items()}
    path = folder / "model.safetensors"
    save_file(arrays, path, {"format": "pt"})
    options = dict(case["ask"])
    if options.pop("folder", False):
        (folder / "config.json").write_text(json.dumps(case["config"]))
        path = folder
    return path, options, arrays


def twin_output(path: Path, x: np.ndarray) -> np.ndarray:
    """What the torch twin computes in float64."""
    from torch_vit import ViT

    with read_checked(path) as found:
        state = {
            name: torch.from_numpy(found.source.read(name)).double()
            for name in found.digests
        }
        model = ViT(found.config, dtype=torch.float64).eval()
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(x).double()).numpy()
    return output


def variant_of(report: ConversionReport) -> Variant:
    name = report.source_dialect
    return next(v for v in find(name.partition("@")[0])[0].variants if v.name == name)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_the_way_back(name: str, tmp_path: Path) -> None:
    case = case_of(name)
    (tmp_path / "hub").mkdir()
    source, options, arrays = library_file(name, tmp_path / "hub")
    there = convert(source, tmp_path / "m.keras", **options)
    assert there.source_dialect == case["dialect"]

    # Through the .keras file and without Keras: the library's outputs.
    x = image((case["batch"], *case["size"]))
    found = twin_output(tmp_path / "m.keras", x)[:, :: case["every"]]
    with safe_open(FOLDER / f"{name}.safetensors", "numpy") as file:
        wanted = file.get_tensor("output")
    assert found.shape == wanted.shape
    worst = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert worst <= case["tolerance"]

    # And back: every tensor the bits it had, and what the library only wants to see.
    variant = variant_of(there)
    if variant.name in READ_ONLY:
        assert not variant.export
        return
    convert(
        tmp_path / "m.keras",
        tmp_path / "b.safetensors",
        to_dialect=there.source_dialect,
    )
    back = load_file(tmp_path / "b.safetensors")
    fills = set(variant.fills(there.config))
    weights = {n: v for n, v in back.items() if n not in fills}
    prefix = prefix_of(set(weights), set(arrays))
    assert same({prefix + n: v for n, v in weights.items()}, rest(arrays, there))
    assert {prefix + n for n in fills} <= set(there.dropped)


def rest(arrays: Arrays, report: ConversionReport) -> Arrays:
    """All that was not dropped by a written rule."""
    return {n: v for n, v in arrays.items() if n not in report.dropped}


def prefix_of(own: set[str], names: set[str]) -> str:
    """What stands before all of a model's names in a file."""
    one = min(own)
    starts = [name.removesuffix(one) for name in names if name.endswith(one)]
    (found,) = [s for s in starts if {s + name for name in own} <= names]
    return found


def test_a_training_checkpoint_of_v_jepa(tmp_path: Path) -> None:
    """As its training saves it: three networks, the optimizer under numbers."""
    _, options, arrays = library_file("facebook_vjepa", tmp_path)
    start = "encoder.module.backbone."
    own = {n: torch.from_numpy(v) for n, v in arrays.items() if n.startswith(start)}
    names = {n.removeprefix("encoder."): v for n, v in own.items()}
    checkpoint = {
        "encoder": names,
        "target_encoder": {n: v * 2 for n, v in names.items()},
        "predictor": {"module.backbone.predictor_norm.bias": torch.ones(24)},
        "opt": {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"lr": 0.1}]},
        "scaler": {"scale": 2.0},
        "epoch": 3,
        "loss": 0.5,
    }
    torch.save(checkpoint, tmp_path / "latest.pth.tar.pt")
    source, out = tmp_path / "latest.pth.tar.pt", tmp_path / "c.safetensors"
    told = {k: v for k, v in options.items() if k != "prefix"}
    with pytest.raises(ConversionError, match="more than one model fits"):
        convert(source, out, **told)
    report = convert(source, out, **told, prefix="target_encoder.module.backbone.")
    found = load_file(out)["blocks.1.mlp.fc2.weight"]
    wanted = own[f"{start}blocks.1.mlp.fc2.weight"].numpy() * 2
    assert np.array_equal(found, wanted)
    assert report.steps == ("take_prefix:target_encoder.module.backbone.",)
