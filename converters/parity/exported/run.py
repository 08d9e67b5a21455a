"""Runs the torch twin of A, and an exported or served B beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.extras import MissingExtraError
from converters.parity.exported.operand import Exported
from converters.parity.exported.runner import ask
from converters.parity.operands import Opened
from converters.parity.plan import Plan
from converters.parity.run import LIMIT_S, REFERENCE, Answers, Run, note
from converters.runtimes.known import EXTRAS, NAMES
from converters.serving.client import RestModel
from converters.workers.archive import Arrays
from converters.workers.process import ProcessError, require, started, write_job
from vit_config import ViTConfig

RUNNER = "converters.parity.exported.runner"


def run_exported(plan: Plan, a: Opened, b: Exported, own: Run) -> None:
    """Runs the torch twin of A, and B beside it.

    Args:
        plan: What is asked.
        a: The reference.
        b: The candidate.
        own: Where the answers go; why B has none, if so.

    Raises:
        ProcessError: If the torch twin cannot be run.
    """
    folder = plan.folder
    case = plan.case()
    job = {key: case[key] for key in ("sets", "batch")}
    job |= {"answers": "exported.npz", "names": _names(a.config), "alone": True}
    if plan.raw is not None:
        case["raw"] = {**case["raw"], "served": True}
        job["raw"] = _encoded(case["raw"]["sets"], folder)
    case |= {"model": str(a.canonical(folder)), "answers": "reference.npz"}
    case["weights"] = False
    path = write_job(folder / "reference.json", [case])
    with started(REFERENCE, path, "PyTorch", "torch") as torch:
        try:
            told = _asked(b, job, folder)
        except (ProcessError, ConversionError, MissingExtraError) as error:
            own.missing[b.label] = in_a_line(error)
        else:
            note(own, told, "exported")
            arrays = own.files.enter_context(Arrays(folder / job["answers"]))
            own.subjects[b.label] = Answers(arrays, {}, torch=False)
        said = torch.wait(LIMIT_S)
    note(own, said, "torch")
    arrays = own.files.enter_context(Arrays(folder / case["answers"]))
    own.reference = Answers(arrays, {}, torch=True)


def in_a_line(error: Exception) -> str:
    """Why B has no answers."""
    if isinstance(error, ConversionError):
        return "; ".join(issue.found for issue in error.issues)
    return str(error)


def _names(config: ViTConfig) -> dict[str, str]:
    """The twins' names of an artifact's outputs."""
    if config.num_classes:
        heads = {"logits": "outputs", "output": "outputs"}
        return {**heads, "embedding": "pooled", "tokens": "tokens"}
    if config.global_pool == "none":
        return {"tokens": "outputs"}
    return {"embedding": "outputs", "tokens": "tokens"}


def _asked(b: Exported, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(b.place, RestModel):
        try:
            ask(b.place, job, folder)
        except ValueError as error:
            if isinstance(error, ConversionError):
                raise
            raise ProcessError(str(error)) from None
        return {}
    require(EXTRAS[b.kind])
    job |= {"artifact": str(b.place.resolve()), "format": b.kind}
    path = write_job(folder / "exported.json", [job])
    with started(RUNNER, path, NAMES[b.kind], "torch") as worker:
        (said,) = worker.wait(LIMIT_S)["cases"]
    if "error" in said:
        raise ProcessError(said["error"])
    found: dict[str, Any] = said
    return found


def ask_cases(b: Exported, config: ViTConfig, folder: Path, file: str) -> Any:
    """What B gives for prepared inputs.

    Args:
        b: The candidate.
        config: Of A.
        folder: Where the inputs are.
        file: A `.npy` of inputs (B, C, *spatial) there.

    Returns:
        Its logits, or the one output that a decision is made of.

    Raises:
        ProcessError: If it cannot be run.
        ConversionError: If it cannot be asked.
        MissingExtraError: If its runtime is not installed.
    """
    job = {"sets": {"cases": file}, "batch": 8, "answers": "cases-B.npz"}
    _asked(b, job | {"names": _names(config), "alone": True}, folder)
    with np.load(folder / "cases-B.npz") as answers:
        return answers["set:cases:outputs"]


def _encoded(sets: Mapping[str, str], folder: Path) -> dict[str, list[str]]:
    """Raw inputs as files that lose nothing: their names by set."""
    found: dict[str, list[str]] = {}
    for name, file in sets.items():
        found[name] = []
        for i, values in enumerate(np.load(folder / file)):
            last = np.ascontiguousarray(np.moveaxis(values, 0, -1))
            path = folder / f"raw-{name}-{i}{'.png' if values.ndim == 3 else '.npy'}"
            if values.ndim == 3:
                _write_png(path, last)
            else:
                np.save(path, last)
            found[name].append(path.name)
    return found


def _write_png(path: Path, pixels: Any) -> None:
    from PIL import Image

    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
