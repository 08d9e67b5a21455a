"""Live twins in `verify`: the object itself runs, and what it is not is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converters import ConversionError
from converters.parity import live_object, operands
from converters.parity.findings import Findings
from converters.parity.live_object import run_live
from converters.parity.operands import open_operand
from converters.parity.page.document import render_html
from converters.parity.page.markdown import render_markdown
from converters.parity.plan import Plan
from converters.parity.record import LIVE, Check, ParityReport
from converters.parity.run import Run
from converters.parity.text import as_text
from converters.parity.verify import verify
from converters.sources.request import Asked
from tests.fill import image
from tests.laboratory.common import FLAT, save
from tests.saving.backends import why_not

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def twin(tmp_path: Path) -> Any:
    """A live model with every weight filled."""
    import torch_vit

    return torch_vit.ViT.from_pretrained(save(tmp_path / "a.safetensors", FLAT))


def beside_copy(model: Any, folder: Path, **asked: Any) -> list[Check]:
    """The object beside its copy, without any other process."""
    fields = {"level": "layers", "dtype": "float32", "device": "cpu", "seed": 0}
    plan = Plan(config=FLAT, own=False, folder=folder, **fields)
    with ExitStack() as stack:
        opened = open_operand("B", model, Asked(), folder, stack)
        other = opened.operand.model_copy(update={"role": "A"})
        found = Findings()
        pair = (opened, replace(opened, operand=other))
        run_live(found, Run(files=stack), plan, pair, lambda words: None)
        return found.checks


def mixed_modes(model: Any) -> None:
    model.train()
    model.blocks[1].eval()


def frozen(model: Any) -> None:
    model.requires_grad_(False)


def explicit(model: Any) -> None:
    model.set_attn_impl("explicit")


def half(model: Any) -> None:
    model.bfloat16()


def compiled(model: Any) -> None:
    model.compile(backend="eager")


@pytest.mark.parametrize("use", [mixed_modes, frozen, explicit, half, compiled])
def test_an_untouched_object_gives_the_bits_of_its_copy_and_stays_as_it_is(
    tmp_path: Path, twin: Any, use: Callable[[Any], None]
) -> None:
    use(twin)
    before = [(part.training, part._forward_hooks.copy()) for part in twin.modules()]
    needed = [weight.requires_grad for weight in twin.parameters()]
    state = {name: x.clone() for name, x in twin.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        checks = beside_copy(twin, tmp_path)
    judged = [check for check in checks if check.status != "reported"]
    assert len(judged) == 14  # seven kinds of input, as A and as B
    assert all(check.status == "passed" and check.same_bits for check in judged)
    assert before == [(p.training, p._forward_hooks) for p in twin.modules()]
    assert needed == [weight.requires_grad for weight in twin.parameters()]
    assert all(torch.equal(x, state[name]) for name, x in twin.state_dict().items())
    assert all(weight.grad is None for weight in twin.parameters())


def test_autocast_around_the_call_does_not_reach_the_object(twin: Any) -> None:
    x = torch.from_numpy(image((2, FLAT.in_chans, *FLAT.img_size)))
    y = twin.eval()(x)
    with torch.autocast("cpu", torch.bfloat16), live_object._as_it_is(twin):
        again = twin(x)
    assert torch.equal(again, y) and again.dtype == torch.float32


def test_what_no_attribute_shows_is_found_beside_the_copy(
    tmp_path: Path, twin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second net, with the first one taken away."""
    monkeypatch.setattr(operands, "check_twin", lambda *model, **more: None)
    monkeypatch.setattr(
        "converters.conversion.pretrained.check_twin", lambda *m, **more: None
    )
    twin.blocks[1].norm2.eps = 0.5
    checks = [c for c in beside_copy(twin, tmp_path) if c.status != "reported"]
    assert {check.status for check in checks} == {"failed"}
    assert all("from blocks.1.norm2 on" in check.message for check in checks)


def test_an_object_that_cannot_run_passes_nothing(
    tmp_path: Path, twin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(live: Any) -> Any:
        raise RuntimeError("out of memory\nmore")

    monkeypatch.setattr(live_object, "_runner", broken)
    checks = beside_copy(twin, tmp_path)
    assert {check.status for check in checks} == {"not checked"}
    assert "RuntimeError: out of memory" in checks[0].message
    assert "more" not in checks[0].message


def test_a_changed_object_is_refused_by_name_and_side(
    tmp_path: Path, twin: Any
) -> None:
    a = tmp_path / "a.safetensors"
    handle = twin.blocks[1].register_forward_hook(lambda module, x, y: 2 * y)
    for pair, side in (((a, twin), "B"), ((twin, a), "A")):
        with pytest.raises(ConversionError) as error:
            verify(*pair, level="weights")
        text = str(error.value)
        assert f"{side}: ViT" in text and "a forward hook" in text
        assert "blocks.1 " in text and "handle.remove()" in text
    handle.remove()
    assert verify(a, twin, level="weights").passed


def test_gradients_need_an_object_whose_gradients_are_its_copy_s(
    tmp_path: Path, twin: Any
) -> None:
    a = tmp_path / "a.safetensors"
    twin.blocks[0].mlp.register_full_backward_hook(lambda *given: None)
    assert verify(a, twin, level="weights").passed
    with pytest.raises(ConversionError, match="a backward hook"):
        verify(a, twin, level="gradients")


def test_a_compiled_object_is_the_model_inside(tmp_path: Path, twin: Any) -> None:
    wrapped = torch.compile(twin)
    assert verify(tmp_path / "a.safetensors", wrapped, level="weights").passed
    twin.head_drop.p = 0.5
    with pytest.raises(ConversionError, match=r"head_drop\.p"):
        verify(tmp_path / "a.safetensors", wrapped, level="weights")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParityReport]:
    """Two live models, the second of which a function put in from outside changes."""
    import torch_vit
    from torch_vit import mlp

    path = save(tmp_path_factory.mktemp("live") / "a.safetensors", FLAT)
    with pytest.MonkeyPatch.context() as patch:
        a = torch_vit.ViT.from_pretrained(path).train()
        patch.setitem(mlp.ACTIVATIONS, "gelu", torch.nn.functional.silu)
        yield verify(path, torch_vit.ViT.from_pretrained(path), level="layers")
    assert a.training


def test_what_changes_this_whole_process_is_found_by_the_others(
    report: ParityReport,
) -> None:
    """The third net: any twin of this process is changed, so is the copy."""
    assert report.verdict == "failed"
    assert {check.subject for check in report.failed} == {f"B, {LIVE}"}
    beside = [c for c in report.checks if c.name == "outputs beside those of a copy"]
    assert beside and all(check.same_bits for check in beside)
    assert report.sentence.startswith("The live object B is not what its weights")
    assert [d.tap for d in report.divergences if d.tap] == ["blocks.0.mlp.act"]


def test_what_ran_is_told(report: ParityReport) -> None:
    ran = "the live object in its own process, and a copy of its weights and config"
    assert report.a.ran == "" and report.b.ran.startswith(ran)
    for text in (as_text(report), render_markdown(report), render_html(report)):
        assert ran in text
    assert ParityReport.from_json(report.to_json()) == report


def child(backend: str, folder: Path, *more: str) -> dict[str, Any]:
    """What a process with live Keras twins found."""
    if reason := why_not(backend):
        pytest.skip(reason)
    save(folder / "a.safetensors", FLAT)
    words = ("-m", "tests.alone", "tests.laboratory.live_child", str(folder), *more)
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    env |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *words], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


PLACES = {
    "subclass": ["call"],
    "epsilon": ["blocks.1.norm1.epsilon"],
    "heads": ["blocks.0.attn.num_heads"],
    "activation": ["blocks.2.mlp.act"],
    "layout": ["patch_embed.proj.data_format"],
    "rate": ["head_drop.rate"],
    "policy": ["blocks.1.dtype_policy"],
    "call": ["call"],
    "method": ["blocks.1.mlp.activate"],
    "norm": ["norm"],
    "one block less": ["blocks"],
}


@pytest.mark.parametrize(
    "backend, more",
    [
        ("torch", ["verify"]),
        ("tensorflow", []),
        pytest.param("jax", [], marks=pytest.mark.slow),
    ],
)
def test_live_keras_twins(tmp_path: Path, backend: str, more: list[str]) -> None:
    found = child(backend, tmp_path, *more)
    assert not any(found["unchanged"].values()), found["unchanged"]
    named = found["changed"]
    assert {name: named[name] for name in PLACES} == PLACES
    assert "head.lora_enabled" in named["lora"]
    assert "vit/norm" in named["same norm"]
    assert found["patched"] == ["keras_vit.block.Block.call"]
    assert found["saved"] == {"lora": True, "epsilon": False, "same norm": False}
    assert found["beside"][:7] == ["passed"] * 7
    if more:
        said = found["verified"]
        assert said["sentence"].startswith("B is the same model as A"), said
        assert {f"A, {LIVE}", f"B, {LIVE}"} <= set(said["subjects"])
        assert said["training"]
        assert said["gradients"] == ["B, Keras on torch"]
        assert all(
            "gradients and training the copy alone" in ran for ran in said["ran"]
        )
