"""The original library's own model: made of a source, asked, or refused with a reason.

The files are those of `tests.dialects.files`, whose outputs the libraries have computed
in float64 when the files were made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from converters import convert
from converters.checks.source import checked
from converters.judging.rms import RMS_LIMIT, compare_rms
from converters.parity import original, source
from converters.parity.record import Check, ParityReport
from converters.parity.verify import verify
from converters.sources.door import open_source
from converters.sources.live import is_module
from converters.sources.request import Asked
from converters.workers.device import UNAVAILABLE, UnavailableError
from tests.dialects.test_real_files import CASES, FOLDER, case_of, library_file
from tests.fill import image
from tests.laboratory.common import FLAT, save
from vit_config import ViTConfig

torch = pytest.importorskip("torch")

CONFIG = ViTConfig(
    img_size=8, patch_size=4, embed_dim=4, depth=1, num_heads=1, mlp_dim=4
)
PACKAGES = {
    **{"timm": "timm", "hf": "transformers"},
    **{"torchvision": "torchvision", "monai": "monai"},
}
FILES = [name for name in CASES if name.partition("_")[0] in PACKAGES]
# Heads that these libraries compute in another order, or with other kernels, and
# MONAI, whose attention is explicit and the twin's fused.
ROUNDED = {
    *("hf_siglip", "hf_siglip_whole", "hf_vivit"),
    *("hf_videomae", "hf_videomae_unbiased"),
    *(name for name in FILES if name.startswith("monai")),
}
OTHERS = {"monai_m3d_clip": "class_token"}  # a class of M3D-CLIP, with MONAI's names


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Opened:
    """As `converters.parity.operands` opens an operand."""

    operand: Any
    config: ViTConfig
    origin: Any
    asked: Asked
    weights: Mapping[str, np.ndarray]


def opened(origin: Any, asked: Asked | None = None) -> Opened:
    asked = asked or Asked()
    with open_source(origin, asked) as reader:
        found = checked(reader)
        weights = {name: found.source.read(name) for name in found.digests}
    operand = SimpleNamespace(role="A", dialect=reader.dialect)
    return Opened(operand, found.config, origin, asked, weights)


def real_file(name: str, folder: Path) -> Opened:
    path, options, _ = library_file(name, folder)
    names = {"from_dialect": "dialect"}
    return opened(path, Asked(**{names.get(k, k): v for k, v in options.items()}))


def installed(name: str) -> None:
    pytest.importorskip(PACKAGES[name.partition("_")[0]])


def built(a: Opened, folder: Path) -> Any:
    from converters.parity.source_model import load_model

    job = original.source_job(a, {"sets": {}})
    return load_model(json.loads(json.dumps(job)), folder)


def twin_of(a: Opened) -> Any:
    import torch_vit

    model = torch_vit.ViT(a.config)
    weights = {name: torch.from_numpy(value) for name, value in a.weights.items()}
    model.load_state_dict(weights, strict=True)
    return model.eval()


def results(model: Any, config: ViTConfig, x: Any) -> dict[str, np.ndarray]:
    """The twin's, under the names of the protocol."""
    with torch.no_grad():
        tokens = model.forward_features(x)
        found = {"outputs": model(x), "tokens": tokens}
        if config.num_classes:
            found["pooled"] = model.forward_head(tokens, pre_logits=True)
    return {name: value.numpy() for name, value in found.items()}


def asked_of(model: Any, x: Any) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in model.answer(x).items()}


def compared(a: Opened, model: Any, kind: str = "noise", count: int = 8) -> Any:
    """Both in float32 by the RMS rule: largest ratio, and whether bits are equal."""
    config = a.config
    x = torch.from_numpy(image((count, config.in_chans, *config.img_size), 1, kind))
    model.module.requires_grad_(True)
    given = asked_of(model, x)
    twin = twin_of(a)
    reference = results(twin, config, x)
    exact = results(twin.double(), config, x.double())
    ratios = [compare_rms(v, reference[k], exact[k]).ratio for k, v in given.items()]
    same = all(v.tobytes() == reference[k].tobytes() for k, v in given.items())
    return max(ratios), same


# ---- the real libraries -------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("name", FILES)
def test_the_model_of_a_file_is_the_library_s(name: str, tmp_path: Path) -> None:
    installed(name)
    a = real_file(name, tmp_path)
    if name in OTHERS:
        with pytest.raises(UnavailableError, match=OTHERS[name]):
            built(a, tmp_path)
        return
    model = built(a, tmp_path)
    assert type(model.module).__module__.startswith(PACKAGES[name.partition("_")[0]])

    case = case_of(name)
    ratio, same = compared(a, model)
    assert ratio <= RMS_LIMIT
    assert same or name in ROUNDED
    x = torch.from_numpy(image((case["batch"], *case["size"]))).double()
    model.module.double()
    given = asked_of(model, x)["outputs"][:, :: case["every"]]
    with safe_open(FOLDER / f"{name}.safetensors", "numpy") as file:
        wanted = file.get_tensor("output")
    worst = np.abs(given - wanted).max() / np.abs(wanted).max()
    # Some of transformers asks for float32 by name.
    assert worst <= (1e-6 if name.startswith("hf") else case["tolerance"])


@pytest.mark.peers
@pytest.mark.parametrize(
    "name",
    [
        *("timm_vit", "timm_clip", "timm_distilled", "timm_mean", "timm_no_bias"),
        *("timm_siglip", "timm_registers", "timm_deit3"),
        *("torchvision_vit", "torchvision_representation"),
        *("monai_0.8_plane", "monai_1.6_tanh", "monai_1.5_features"),
        *("hf_vit", "hf_vit_tokens", "hf_deit_teacher", "hf_dinov2", "hf_clip"),
        *("hf_dinov2_registers", "hf_clip_projection", "hf_siglip", "hf_videomae"),
    ],
)
def test_a_bare_file_is_made_from_our_config(name: str, tmp_path: Path) -> None:
    installed(name)
    path, _, _ = library_file(name, tmp_path)
    told = real_file(name, tmp_path)
    file = path / "model.safetensors" if path.is_dir() else path
    lone = tmp_path / "lone"
    lone.mkdir()
    file = file.rename(lone / "model.safetensors")
    dialect = told.operand.dialect
    a = opened(file, Asked(dialect=dialect, config=told.config))
    assert original.source_job(a, {})["made"] == {}
    ratio, same = compared(a, built(a, tmp_path))
    assert ratio <= RMS_LIMIT
    assert same or name in ROUNDED


def other_epsilon(module: Any) -> None:
    for part in module.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps *= 10


def one_activation(module: Any) -> None:
    module.blocks[0].mlp.act = torch.nn.ReLU()


def one_element(module: Any) -> None:
    weight = next(p for n, p in module.named_parameters() if n.endswith("fc1.weight"))
    with torch.no_grad():
        weight[2, 3] *= 1.01


@pytest.mark.peers
@pytest.mark.parametrize("change", [other_epsilon, one_activation, one_element])
def test_another_function_is_seen(
    change: Callable[[Any], None], tmp_path: Path
) -> None:
    installed("timm_vit")
    a = real_file("timm_vit", tmp_path)
    model = built(a, tmp_path)
    assert compared(a, model, "low_variance") == (pytest.approx(1, abs=0.1), True)
    change(model.module)
    ratio, same = compared(a, model, "low_variance")
    assert ratio > RMS_LIMIT
    assert not same


@pytest.mark.peers
def test_timm_by_name_and_by_folder(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    name = "vit_tiny_patch16_224"
    size = {"img_size": (32, 48), "num_classes": 5}
    model = timm.create_model(name, **size)
    state = {n: image(tuple(t.shape)) * 0.1 for n, t in model.state_dict().items()}
    file = tmp_path / "model.safetensors"
    save_file({n: np.ascontiguousarray(v, np.float32) for n, v in state.items()}, file)
    cfg = {"input_size": [3, 32, 48], "fixed_input_size": True, "num_classes": 5}
    saved = {"architecture": name, "num_classes": 5, "pretrained_cfg": cfg}
    for asked, made in (
        (Asked(preset=name, changes={"img_size": [32, 48]}), "architecture"),
        (Asked(config={"architecture": name, **size}), "fields"),
        (Asked(config=saved), "fields"),
    ):
        a = opened(file, asked)
        assert list(original.source_job(a, {})["made"]) == [made]
        (tmp_path / made).mkdir(exist_ok=True)
        assert compared(a, built(a, tmp_path), count=2)[1]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    a = opened(tmp_path)
    assert original.source_job(a, {})["made"] == {"folder": True}
    assert compared(a, built(a, tmp_path), count=2)[1]


@pytest.mark.peers
@pytest.mark.parametrize("name", ["timm_vit", "hf_dinov2", "monai_1.6_tanh"])
def test_a_process_of_its_own_answers(name: str, tmp_path: Path) -> None:
    installed(name)
    (tmp_path / "a").mkdir()
    a = real_file(name, tmp_path / "a")
    config = a.config
    x = image((5, config.in_chans, *config.img_size), 2)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", image((5, config.num_classes), 3))
    tokens = image((64, config.num_prefix_tokens + 3, config.embed_dim), 4)
    np.save(tmp_path / "t.npy", tokens)
    case = {
        "sets": {"noise": "x.npy"},
        "head": "t.npy",
        "gradients": {"inputs": "x.npy", "cotangent": "y.npy"},
        "batch": 2,
        "weights": True,
    }
    job, said = original.run_source(a, case, tmp_path, 600)
    package = PACKAGES[name.partition("_")[0]]
    label = original.source_label(a)
    assert label == f"A, {package} {said['versions'][package]}"
    assert len(said["cases"]) == 1

    twin = twin_of(a)
    reference = results(twin, config, torch.from_numpy(x))
    leaf = torch.from_numpy(x).requires_grad_()
    (twin(leaf) * torch.from_numpy(np.load(tmp_path / "y.npy"))).sum().backward()
    reference = {f"set:noise:{k}": v for k, v in reference.items()}
    reference["grad:input"] = leaf.grad.numpy()
    reference["head"] = twin.forward_head(torch.from_numpy(tokens)).detach().numpy()
    with np.load(tmp_path / job["answers"]) as found:
        assert set(found.files) == set(reference)
        for key, wanted in reference.items():
            spread = wanted.std()
            assert np.abs(found[key] - wanted).max() < 1e-5 * spread, key


@pytest.mark.peers
def test_what_the_library_cannot_load_is_a_reason_without_a_path(
    tmp_path: Path,
) -> None:
    installed("torchvision_vit")
    a = real_file("torchvision_vit", tmp_path)
    given = {**case_of("torchvision_vit")["ask"]["config"], "mlp_dim": 40}
    a.asked = Asked(config=given)
    with pytest.raises(
        UnavailableError, match=r"torchvision .* size mismatch"
    ) as error:
        built(a, tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)
    hidden = tmp_path / "patient.pth"
    from converters.parity.source_model import _refused

    with (
        pytest.raises(UnavailableError, match=r"no file A in A$"),
        _refused("torchvision", (str(hidden), hidden.name)),
    ):
        raise OSError(f"no file {hidden.name} in {hidden}")


@pytest.mark.peers
def test_a_live_model_is_copied_and_left_alone(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=(32, 24), patch_size=8, embed_dim=24, depth=2, num_heads=3
    )
    model.requires_grad_(False).train()
    a = opened(model)
    assert is_module(a.origin)
    x = image((3, 3, 32, 24))
    np.save(tmp_path / "x.npy", x)
    job, said = original.run_source(a, {"sets": {"noise": "x.npy"}}, tmp_path, 60)
    assert said["versions"]["timm"] == timm.__version__
    with np.load(tmp_path / job["answers"]) as found:
        wanted = results(twin_of(a), a.config, torch.from_numpy(x))["outputs"]
        assert found["set:noise:outputs"].tobytes() == wanted.tobytes()
    assert model.training and not any(p.requires_grad for p in model.parameters())
    with pytest.raises(UnavailableError, match="settings for CUDA"):
        original.run_source(a, {"sets": {}, "device": "cuda"}, tmp_path, 60)


# ---- the whole of it ----------------------------------------------------------------


def sourced(report: ParityReport) -> list[Check]:
    return [check for check in report.checks if check.meaning == "source"]


@pytest.mark.peers
def test_verify_runs_the_original_too(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    path, options, _ = library_file("timm_vit", tmp_path)
    convert(path, tmp_path / "b.safetensors", **options, verify="weights")
    found = verify(
        path,
        tmp_path / "b.safetensors",
        **options,
        level="gradients",
        against_source=True,
    )
    assert found.verdict == "passed", found.sentence
    assert found.setting.against_source
    assert found.setting.versions["timm"] == timm.__version__
    checks = sourced(found)
    assert {check.subject for check in checks} == {f"A, timm {timm.__version__}"}
    names = {(check.level, check.name) for check in checks if check.status == "passed"}
    assert names >= {
        *(("logits", "tokens"), ("logits", "logits"), ("logits", "pooled")),
        ("gradients", "gradients, input"),
    }
    assert all(check.same_bits for check in checks if check.level == "logits")


@pytest.mark.peers
def test_verify_sees_that_the_original_is_another(tmp_path: Path) -> None:
    """The caller says another epsilon than timm's name, and so B has it too."""
    timm = pytest.importorskip("timm")
    name = "vit_tiny_patch16_224"
    model = timm.create_model(name, num_classes=5)
    file = tmp_path / "model.safetensors"
    save_file({n: t.numpy() for n, t in model.state_dict().items()}, file)
    options = {"preset": name, "changes": {"norm_eps": 1e-3}}
    convert(file, tmp_path / "b.safetensors", **options, verify="weights")
    found = verify(file, tmp_path / "b.safetensors", **options, against_source=True)
    assert found.verdict == "failed"
    assert found.sentence.startswith("What was read of A is not the original library's")
    assert {check.meaning for check in found.failed} == {"source"}


def test_verify_lists_what_it_cannot_run_as_not_checked(tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", FLAT)
    found = verify(a, a, against_source=True)
    (left,) = found.not_checked
    assert left.subject == "A, original library"
    assert "give the file or folder of the original library" in left.message
    assert found.verdict == "incomplete" and "original library" in found.sentence
    assert not sourced(found)


# ---- refusals -----------------------------------------------------------------------


def stand_in(dialect: str) -> Any:
    return SimpleNamespace(
        operand=SimpleNamespace(role="A", dialect=dialect),
        config=CONFIG,
        origin="model.safetensors",
        asked=Asked(),
    )


@pytest.mark.parametrize(
    ("dialect", "package"),
    [
        *(("timm", "timm"), ("huggingface@vit", "transformers")),
        *(("torchvision@0.13", "torchvision"), ("monai@1.6", "monai")),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    dialect: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = original.find_spec

    def without(name: str) -> Any:
        return None if name == package else there(name)

    monkeypatch.setattr(original, "find_spec", without)
    monkeypatch.setattr(original, "_version", lambda name: "")
    with pytest.raises(UnavailableError, match=f"pip install {package}$"):
        original.source_job(stand_in(dialect), {})
    assert original.source_label(stand_in(dialect)) == f"A, {package}"


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ("", "give the file or folder of the original library"),
        ("canonical", "give the file or folder of the original library"),
        ("keras", "give the file or folder of the original library"),
        ("facebook@mae", "in the names of facebook"),
        ("lucidrains@vit", "in the names of lucidrains"),
        ("keras_hub", "in the names of keras_hub"),
    ],
)
def test_models_of_no_library_that_is_run(dialect: str, words: str) -> None:
    with pytest.raises(UnavailableError, match=words):
        original.source_job(stand_in(dialect), {})
    assert original.source_label(stand_in(dialect)) == "A, original library"


def test_the_process_says_why_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "model.keras"
    path.touch()
    case = {
        "model": str(path),
        "config": CONFIG.to_dict(),
        **{"dialect": "timm", "prefix": None, "package": "timm", "made": {}},
    }
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"cases": [case]}))
    assert source.run(source.main, job) == UNAVAILABLE
    assert capsys.readouterr().err == "A is no file of the original library\n"


# ---- strictly -----------------------------------------------------------------------


def raw_of(tensors: Mapping[str, np.ndarray], unread: frozenset[str]) -> Any:
    return SimpleNamespace(tensors=dict(tensors), unread=unread)


def test_tensors_are_loaded_strictly_and_what_no_model_reads_is_nan() -> None:
    from converters.parity.source_model import load_strictly

    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    weights = {n: image(tuple(t.shape)) for n, t in module.state_dict().items()}
    load_strictly(module, raw_of(weights, frozenset()))
    state = {n: t.numpy() for n, t in module.state_dict().items()}
    assert all(np.array_equal(state[n], w) for n, w in weights.items())

    bias = weights.pop("1.bias")
    with pytest.raises(RuntimeError, match=r"Missing key.*1\.bias"):
        load_strictly(module, raw_of(weights, frozenset()))
    load_strictly(module, raw_of(weights, frozenset({"1.bias", "old"})))
    assert module.state_dict()["1.bias"].isnan().all()
    x = torch.ones(1, 2)
    assert module(x).isnan().all()  # whoever reads it sees it
    with pytest.raises(RuntimeError, match=r"Unexpected key.*more"):
        load_strictly(
            module, raw_of({**weights, "1.bias": bias, "more": bias}, frozenset())
        )
    half = {n: w.astype(np.float16) for n, w in {**weights, "1.bias": bias}.items()}
    load_strictly(module, raw_of(half, frozenset()))
    assert {t.dtype for t in module.state_dict().values()} == {torch.float32}


def test_results_are_taken_where_they_are() -> None:
    from converters.parity.source_model import SourceModel

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = torch.nn.LayerNorm(4), torch.nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(x)[:, 0])

    module, x = Model(), torch.from_numpy(image((3, 5, 4)))
    headed = CONFIG.replace(num_classes=2)
    found = SourceModel(module, headed, module, "norm", "head").answer(x)
    assert torch.equal(found["tokens"], module.norm(x))
    assert torch.equal(found["pooled"], module.norm(x)[:, 0])
    assert torch.equal(found["outputs"], module(x))
    tokens = torch.from_numpy(image((6, 3, 4)))
    after = SourceModel(module, headed, lambda x: module(x[:, 0, :, :4]), "norm").after(
        tokens
    )
    assert torch.equal(after, module.head(tokens[:, 0]))
    assert set(SourceModel(module, CONFIG, module, "norm").answer(x)) == {
        *("outputs", "tokens")
    }
    assert not module.norm._forward_hooks and not module.head._forward_pre_hooks
