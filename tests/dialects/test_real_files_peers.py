"""The libraries themselves: the same file, and what is written loads there strictly."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from tests.fill import image

torch = pytest.importorskip("torch")

from tests.dialects.test_real_files import READ_ONLY, case_of  # noqa: E402
from tools import dialect_packages  # noqa: E402
from tools.dialect_files import Case, filled  # noqa: E402

pytestmark = pytest.mark.peers

# Its tower alone is written, which is another class: `hf_siglip`.
TOWER = {"hf_siglip_whole"}
MODULES = {"vit-pytorch": "vit_pytorch"}
CASES = [
    case
    for case in dialect_packages.cases(Path(os.devnull))
    if " " not in case.library  # older releases lie in folders of their own
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(case: Case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their own
        return case.build().eval()


def saved(case: Case, model, folder: Path) -> Path:
    """What the library itself writes, values in place of the random ones."""
    folder.mkdir()
    file = folder / "model.safetensors"
    if case.ask.get("folder"):
        model.save_pretrained(folder)
        shapes = {name: values.shape for name, values in load_file(file).items()}
    else:
        shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    save_file(filled(shapes), file, {"format": "pt"})
    return folder if case.ask.get("folder") else file


def loaded(case: Case, file: Path, config: Path | None):
    """The library's own way to a model, nothing missing and nothing left over."""
    if config is None:
        model = built(case)
        values = {n: torch.from_numpy(v) for n, v in load_file(file).items()}
        model.load_state_dict(values, strict=True)
        return model
    folder = file.parent / f"{file.stem}_folder"
    folder.mkdir()
    (folder / "config.json").write_bytes(config.read_bytes())
    save_file(load_file(file), folder / "model.safetensors", {"format": "pt"})
    model, info = type(built(case)).from_pretrained(folder, output_loading_info=True)
    # A pooler is left to the library, and the text tower: no tensor of ours is one.
    allowed = ("pooler.", "text_", "logit_")
    missing = {n for n in info["missing_keys"] if not n.startswith(allowed)}
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_written_loads_and_gives_the_outputs_back(
    case: Case, tmp_path: Path
) -> None:
    pytest.importorskip(MODULES.get(case.library, case.library))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = saved(case, built(case), tmp_path / "hub")
        config = source / "config.json" if source.is_dir() else None
        file = tmp_path / "hub" / "model.safetensors"
        start = len(case.prefix)
        listed = {n[start:]: s for n, s in case_of(case.name)["tensors"].items()}
        names = {n: list(v.shape) for n, v in load_file(file).items()}
        assert names == listed  # the library has not changed since

        options = {k: v for k, v in case.ask.items() if k != "folder"}
        there = convert(source, tmp_path / "m.keras", **options)
        if there.source_dialect in READ_ONLY or case.name in TOWER:
            return
        to = {"to_dialect": there.source_dialect}
        convert(tmp_path / "m.keras", tmp_path / "back.safetensors", **to)
        theirs = loaded(case, file, config)
        ours = loaded(case, tmp_path / "back.safetensors", config)
        x = torch.from_numpy(image((case.batch, *case.size)))
        with torch.no_grad():
            wanted, found = case.run(theirs, x), case.run(ours, x)
    assert torch.isfinite(wanted).all() and wanted.abs().max() > 0
    assert torch.equal(found, wanted)
