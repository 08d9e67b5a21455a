"""The examples run as docs/training.md says, and leave what they say."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.saving.backends import ROOT, why_not

if reason := why_not("torch"):  # without importing Keras here
    pytest.skip(reason, allow_module_level=True)
pytest.importorskip("sklearn")
pytest.importorskip("nibabel")

PAGE = (ROOT / "docs" / "training.md").read_text("utf-8")
COMMANDS = {
    Path(line.split()[1]).stem: line
    for line in re.findall(r"^python examples/.*$", PAGE, flags=re.MULTILINE)
}
NAMES = ("finetune_keras", "finetune_torch")


def run(
    line: str, folder: Path, *, short: bool, kill: int = 0, backend: str = "torch"
) -> subprocess.CompletedProcess[str]:
    """A command of the page in an empty folder.

    Args:
        line: The command.
        folder: Where to.
        short: With one epoch, and a comparison of the weights only.
        kill: The epoch whose second batch ends with a SIGKILL.
        backend: Of Keras.
    """
    program, script, *options = shlex.split(line)
    assert program == "python"
    if short:
        options += ["--epochs", "1", "--level", "weights"]
    head = [sys.executable, str(ROOT / script)]
    if kill:
        head = [sys.executable, "-m", "tests.training.killed", str(kill), head[1]]
    env = {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return subprocess.run(
        [*head, *options],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def demand(result: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, if it ended well."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def out_of(line: str) -> str:
    """The folder that a command names."""
    return shlex.split(line)[-1]


def test_the_page_has_the_commands_that_the_examples_themselves_say() -> None:
    assert tuple(sorted(COMMANDS)) == NAMES
    for name, line in COMMANDS.items():
        assert line in (ROOT / "examples" / f"{name}.py").read_text("utf-8")


def short_run(name: str, folder: Path) -> tuple[Path, str]:
    """Folder and output of a short run."""
    line = COMMANDS[name]
    return folder / out_of(line), demand(run(line, folder, short=True))


@pytest.fixture(scope="module")
def in_keras(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return short_run("finetune_keras", tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def in_torch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return short_run("finetune_torch", tmp_path_factory.mktemp("torch"))


@pytest.mark.slow
def test_what_was_tuned_in_keras_goes_back_to_hugging_face(in_keras) -> None:
    folder, text = in_keras
    assert "step         drop_optimizer" in text
    assert "all weights have the same bits" in text
    config = json.loads((folder / "finetuned-huggingface/config.json").read_text())
    assert config["id2label"] == {str(i): str(i + 5) for i in range(5)}
    before = load_file(folder / "pretrained/model.safetensors")
    after = load_file(folder / "finetuned-huggingface/model.safetensors")
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_what_was_tuned_in_torch_goes_back_to_monai(in_torch) -> None:
    folder, text = in_torch
    assert "all weights have the same bits" in text
    before = load_file(folder / "pretrained.safetensors")
    after = load_file(folder / "finetuned-monai.safetensors")
    assert before.keys() == after.keys()
    head = "classification_head.weight"
    assert (before[head].shape[0], after[head].shape[0]) == (2, 4)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert all(".norm_cross_attn." in name for name in same)  # MONAI uses them not


@pytest.mark.peers
def test_transformers_loads_what_was_tuned_in_keras(in_keras) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    import torch_vit

    folder = in_keras[0]
    back = folder / "finetuned-huggingface"
    theirs = transformers.ViTForImageClassification.from_pretrained(back).eval()
    ours = torch_vit.ViT.from_pretrained(folder / "whole.keras").eval()
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(x).logits, ours(x), rtol=1e-5, atol=1e-5)


@pytest.mark.peers
def test_monai_loads_what_was_tuned_in_torch(in_torch) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    import torch

    import torch_vit

    folder = in_torch[0]
    theirs = nets.ViT(
        in_channels=1,
        img_size=(16, 24, 8),
        patch_size=(4, 6, 4),
        hidden_size=48,
        mlp_dim=96,
        num_layers=3,
        num_heads=4,
        classification=True,
        num_classes=4,
        post_activation="none",
    ).eval()
    state = load_file(folder / "finetuned-monai.safetensors")
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    ours = torch_vit.ViT.from_pretrained(folder / "finetuned.keras").eval()
    x = torch.randn(3, 1, 16, 24, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(x)[0], ours(x), rtol=1e-5, atol=1e-5)


@pytest.fixture
def torch_example(monkeypatch: pytest.MonkeyPatch):
    """The module, as `python examples/finetune_torch.py` has it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    module = importlib.import_module("finetune_torch")
    yield module
    for name in ("finetune_torch", "pretrained"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("batch", [5, 6], ids=["at_the_end", "within_an_epoch"])
def test_interrupted_training_in_torch_ends_with_the_same_bits(
    torch_example, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import torch_vit
    from converters.demo.data2d import digits_task

    config = digits_task().config.replace(
        depth=1, embed_dim=16, mlp_dim=24, drop_path_rate=0.3, proj_drop_rate=0.3
    )
    split = digits_task().split
    x, y = torch.from_numpy(split.train_x[:200]), torch.from_numpy(split.train_y[:200])
    monkeypatch.setattr(torch_example, "BATCH", 64)  # 3 steps an epoch
    monkeypatch.setattr(torch_example, "accuracy", lambda *args: 0.0)

    def trained(seed: int, path: Path):
        torch.manual_seed(seed)
        model = torch_vit.ViT(config)
        model.cls_token.requires_grad = False
        torch_example.fit(model, x, y, (x, y), 4, 1e-2, path)
        return model.state_dict()

    with torch.random.fork_rng(devices=[]):
        wanted = trained(0, tmp_path / "a.pt")
        calls = []
        step = torch.optim.AdamW.step

        def stops(*args, **kwargs):
            calls.append(1)
            if len(calls) > batch:
                raise KeyboardInterrupt
            return step(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", stops)
            with pytest.raises(KeyboardInterrupt):
                trained(0, tmp_path / "b.pt")
        found = trained(99, tmp_path / "b.pt")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    whole, resumed = (
        torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt")
    )
    assert torch.equal(whole["random"], resumed["random"])
    assert whole["schedule"] == resumed["schedule"]
    assert str(whole["optimizer"]) == str(resumed["optimizer"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_the_page_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    line = COMMANDS[name]
    text = demand(run(line, tmp_path, short=False, backend="tensorflow"))
    assert "B is the same model as A up to logits" in text


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_example_goes_on_to_the_same_bits(
    name: str, epoch: int, tmp_path: Path
) -> None:
    line = COMMANDS[name].replace(re.search(r"--epochs \d+", COMMANDS[name])[0], "")
    options = "--epochs 2 --level weights"
    line = f"{line} {options} --out"
    demand(run(f"{line} whole", tmp_path, short=False))
    killed = run(f"{line} again", tmp_path, short=False, kill=epoch)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "again/finetuned.safetensors").exists()
    demand(run(f"{line} again", tmp_path, short=False))
    files = [tmp_path / out / "finetuned.safetensors" for out in ("whole", "again")]
    whole, again = (load_file(file) for file in files)
    assert all(np.array_equal(whole[key], again[key]) for key in whole)
