"""Runs both twins on a file that was just written, and judges what they say.

The torch twin in float32 and in float64 and the Keras model run in fresh processes of
their own, side by side, on the CPU, on the same seeded noise. Everything is computed in
float32, whatever the type of the weights: the rounding of a smaller type is no property
of the conversion. The judge is the RMS rule (`converters.judging.rms`):

- the final tokens, and their largest error;
- the model's outputs. How many inputs a model gets depends on its size, at most 64 and
  about `size.OPERATIONS` in all: 64 for a small model, 4 for a ViT-B on images of 224;
- logits, where those are too few numbers to be judged: the head alone, on 64 sets of
  noise in the tokens' place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, Issue, refusal
from converters.judging.rms import (
    EPS32,
    LEAST_INPUTS,
    MAX_LIMIT,
    RMS_LIMIT,
    compare_rms,
)
from converters.reports.phases import COMPARING, LOADING, RUNNING
from converters.wording import options
from converters.workers import raw
from converters.workers.process import (
    KERAS_WORKER,
    Answer,
    ProcessError,
    chosen_backend,
    loaded_mark,
    read_answer,
    require,
    started,
    write_job,
)
from converters.workers.reference import EXACT
from converters.workers.size import HEAD_PATCHES, batch_of, enough, inputs_for
from vit_config import ViTConfig

REFERENCE = "converters.workers.reference"
LIMIT_S = 3600
SEED = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of result of both twins.

    Attributes:
        name: `"tokens"`, `"pooled"`, `"logits"`, or `"head"`: the head alone.
        inputs: Number of inputs.
        ratio: RMS error of Keras over that of torch in float32, against torch in
            float64.
        max_ratio: The same of the largest errors.
        max_difference: Largest difference between Keras and torch in float32.
        judged: Whether the ratio counts; else there are too few numbers.
    """

    name: str
    inputs: int
    ratio: float
    max_ratio: float
    max_difference: float
    judged: bool

    def problem(self) -> str:
        """What is wrong, or an empty text; NaN is."""
        if self.judged and not self.ratio <= RMS_LIMIT:
            return (
                f"error {self.ratio:.3g} times the noise of float32, "
                f"largest difference {self.max_difference:.2g}"
            )
        if self.name == "tokens" and not self.max_ratio <= MAX_LIMIT:
            return f"largest error {self.max_ratio:.3g} times the reference's"
        return ""


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """What both twins said about a written file.

    Attributes:
        backend: Keras' backend.
        keras: Keras' version.
        torch: PyTorch's version.
        parts: What was compared.
        preprocessing: Largest difference of raw inputs that the model prepared itself,
            in units of their range; None if it prepares none.
    """

    backend: str
    keras: str
    torch: str
    parts: tuple[Part, ...]
    preprocessing: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        ratios = ", ".join(
            f"{part.name} {part.ratio:.2f}" for part in self.parts if part.judged
        )
        inside = ""
        if self.preprocessing is not None:
            inside = f"; prepared inputs within {self.preprocessing:.1g} of their range"
        return (
            f"error over noise: {ratios} (limit {RMS_LIMIT:g}; {self.parts[0].inputs} "
            f"inputs, Keras {self.keras} on {self.backend}){inside}"
        )


def ready() -> str:
    """Keras' backend for the check, once all that it needs is installed.

    Raises:
        MissingExtraError: If something is not.
        ConversionError: If KERAS_BACKEND names no backend.
    """
    require({"torch": "torch"})
    try:
        return chosen_backend()
    except ProcessError as error:
        raise refusal(str(error), kind="config") from None


def check_outputs(
    path: Path,
    kind: str,
    config: ViTConfig,
    dtype: str,
    backend: str,
    with_preprocessing: bool = False,
    phases: Callable[[str], None] = lambda name: None,
) -> OutputCheck:
    """Holds a written Keras file against the torch twin with the same weights.

    Args:
        path: The file; it need not have its final name.
        kind: Its format, `"keras"`, `"keras folder"` or `"weights.h5"`.
        config: Its config.
        dtype: Type of its weights.
        backend: Keras' backend.
        with_preprocessing: Whether the model prepares its inputs itself.
        phases: Called with the name of each part of the work as it begins.

    Raises:
        ConversionError: If an output differs by more than rounding, or a process
            fails.
    """
    with tempfile.TemporaryDirectory(prefix="vit-duet-") as name:
        folder = Path(name)
        file = folder / f"model.{kind.replace(' ', '_')}"
        file.symlink_to(path.resolve())
        case = _case(folder, file, config, dtype)
        if with_preprocessing:
            case["raw"] = raw.write_raw(folder, config)
        try:
            ours, said, theirs, their = _run(folder, case, backend, phases)
        except ProcessError as error:
            raise refusal(str(error), hint=_light()) from None
        phases(COMPARING)
        prepared = list(raw.checks("", ours.more, theirs.more))
        parts = _parts(config, ours, theirs)
        issues = [
            Issue("value", part.name, problem, f"at most {RMS_LIMIT:g} times")
            for part in parts
            if (problem := part.problem())
        ]
        issues += [
            Issue("value", check.name, f"{check.inputs}: {check.message}")
            for check in prepared
            if check.status == "failed"
        ]
        if with_preprocessing and not prepared:
            issues.append(Issue("value", raw.NAME, "the model prepares nothing"))
        if issues:
            begin = ""
            with suppress(ProcessError):
                begin = _first_divergence(folder, case, backend)
            raise ConversionError(issues, causes=[begin] if begin else [])
    return OutputCheck(
        said["backend"],
        said["keras"],
        their["torch"],
        tuple(parts),
        max((check.max_difference or 0.0 for check in prepared), default=None),
    )


def _light() -> str:
    return f"{options(verify='weights')} proves the weights alone and runs no model."


def _case(folder: Path, file: Path, config: ViTConfig, dtype: str) -> dict[str, Any]:
    """The job of both processes, and its inputs."""
    rng = np.random.default_rng(SEED)
    count = inputs_for(config)
    shape = (count, config.in_chans, *config.img_size)
    np.save(folder / "inputs.npy", rng.standard_normal(shape, np.float32))
    case: dict[str, Any] = {
        "model": str(file),
        "config": config.to_dict(),
        "inputs": "inputs.npy",
        "batch": batch_of(config),
    }
    if dtype != "float32":
        case["dtype"] = "float32"
    if config.global_pool != "none":
        case["tokens"] = max(2, count // 4)
    if config.num_classes and not enough(config, count):
        rows = config.num_prefix_tokens + min(config.num_patches, HEAD_PATCHES)
        shape = (LEAST_INPUTS, rows, config.embed_dim)
        np.save(folder / "tokens.npy", rng.standard_normal(shape, np.float32))
        case["head"] = "tokens.npy"
    return case


def _run(
    folder: Path,
    case: dict[str, Any],
    backend: str,
    phases: Callable[[str], None] = lambda name: None,
) -> tuple[Answer, dict[str, Any], Answer, dict[str, Any]]:
    """Both processes side by side, as most of their time is importing."""
    label = f"Keras ({backend})"
    mine = {**case, "answers": "keras.npz"}
    theirs = {**case, "answers": "torch.npz"}
    jobs = write_job(folder / "k.json", [mine]), write_job(folder / "t.json", [theirs])
    phases(LOADING)
    with (
        started(KERAS_WORKER, jobs[0], label, backend) as keras,
        started(REFERENCE, jobs[1], "PyTorch", backend) as torch,
    ):
        keras.wait_for(folder / loaded_mark(mine), LIMIT_S)
        phases(RUNNING)
        said, their = keras.wait(LIMIT_S), torch.wait(LIMIT_S)
    return (
        read_answer(folder, mine, said["cases"][0]),
        said,
        read_answer(folder, theirs, their["cases"][0]),
        their,
    )


def _parts(config: ViTConfig, ours: Answer, theirs: Answer) -> list[Part]:
    name = "logits" if config.num_classes else "pooled"
    if config.global_pool == "none":
        name = "tokens"
    more = {k: v for k, v in ours.more.items() if not k.startswith("raw:")}
    given = {name: ours.outputs, **more}
    single = {name: theirs.outputs, **theirs.more}
    exact = {name: theirs.more[f"{EXACT}outputs"]}
    parts = []
    for key, values in given.items():
        oracle = exact.get(key, theirs.more.get(f"{EXACT}{key}"))
        if oracle is None:
            raise ValueError(f"no exact {key}")
        found = compare_rms(values, single[key], oracle)
        parts.append(
            Part(
                name=key,
                inputs=len(values),
                ratio=found.ratio,
                max_ratio=found.max_ratio,
                max_difference=found.max_difference,
                judged=key != "logits" or enough(config, len(values)),
            )
        )
    return parts


def _first_divergence(folder: Path, case: dict[str, Any], backend: str) -> str:
    """Where a difference begins, asked again with every intermediate result."""
    ours, _, theirs, _ = _run(folder, {**case, "layers": 1}, backend)
    for name, values in ours.layers.items():
        oracle = theirs.more[f"{EXACT}layer:{name}"]
        found = compare_rms(values, theirs.layers[name], oracle)
        if not found.error <= RMS_LIMIT * max(found.noise, EPS32):
            return f"the difference begins at {name}"
    return ""
