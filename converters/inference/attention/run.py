"""Asks a model what it attends to in one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.arguments import check_flag, check_path
from converters.artifacts.meaning import check_stated
from converters.errors import ConversionError, named, printable, refusal
from converters.extras import optional
from converters.files.atomic import atomic, check_output
from converters.inference.attention.picture import draw
from converters.inference.attention.rollout import last_and_rollout
from converters.inference.running import Source, load
from converters.inputs.files import Entry, Input, InputReader, are_raw
from converters.inputs.picture import quiet
from converters.inputs.series import is_series
from converters.inputs.user_inputs import unusable
from converters.parity.attention import over_patches
from converters.sources.request import Asked, ConfigLike
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module


PICTURE, ARRAYS = ".png", ".npz"


@dataclass(frozen=True)
class AttentionReport:
    """What a model attends to in one input.

    Attributes:
        input: Its name.
        out: The file that was written, if any.
        config: Of the model.
        fingerprint: SHA-256 over the canonical weights.
        model_fingerprint: SHA-256 over weights and architecture.
        library: What computed, with its version.
        values: The input as the model takes it, float32 (C, *spatial).
        attention: Of the last block, mean over its heads, (*grid): what the class token
            takes from each patch, or without one what the patches take on average.
        rollout: The same through all blocks, as in
            `converters.inference.attention.rollout`.
        notes: What was done to the input that the user may not expect.
    """

    input: str
    out: Path | None
    config: ViTConfig
    fingerprint: str
    model_fingerprint: str
    library: str
    values: NDArray[np.float32]
    attention: NDArray[np.float64]
    rollout: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def query(self) -> str:
        """Whose attention it is, in words."""
        if self.config.class_token:
            return "the class token"
        return "all patches, on average"

    def to_dict(self) -> dict[str, Any]:
        """What was asked and found, as JSON types; not the maps."""
        return {
            "ok": True,
            "input": self.input,
            "out": self.out.name if self.out else None,
            "query": self.query,
            "grid": list(self.attention.shape),
            "on_patches": {
                "last block": float(self.attention.sum()),
                "rollout": float(self.rollout.sum()),
            },
            "library": self.library,
            "fingerprint": self.fingerprint,
            "model_fingerprint": self.model_fingerprint,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        grid = " x ".join(map(str, self.attention.shape))
        parts = (self.attention.sum(), self.rollout.sum())
        rows = [
            ("input", printable(self.input, 400)),
            ("of", f"{self.query}; over {grid} patches"),
            (
                "on patches",
                f"{parts[0]:.4f} of the last block's attention, {parts[1]:.4f} of the "
                "rollout; the rest is on other tokens",
            ),
            ("by", self.library),
            ("fingerprint", self.fingerprint),
        ]
        if self.out:
            rows.insert(0, ("out", printable(self.out.name)))
        return "\n".join(
            [f"{label:<12} {text}" for label, text in rows] + [*self.notes]
        )


def attention(
    model: Source | Module,
    input: Source,
    out: Source | None = None,
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: Source | None = None,
    backend: str | None = None,
    device: str = "cpu",
    force: bool = False,
) -> AttentionReport:
    """Computes what a model attends to in one input, and draws it.

    The input is read and prepared as `predict` does. Attention of pooling heads
    (`global_pool="map"`) is no part of it.

    Args:
        model: Whatever `convert` reads.
        input: A picture, a volume, a folder of one DICOM series, or an array of one
            input.
        out: A `.png`: the input with the maps over it, of a volume the three middle
            slices. A `.npz`: `attention`, `rollout` (*grid) and `input` (C, *spatial).
            None: nothing is written.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields that stand above config and preset; `"data.mean"` names a part
            of `data`.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        backend: Run the Keras twin on that backend. None: the torch twin, but Keras for
            a `.keras`.
        device: Of the torch twin: `"cpu"` or `"cuda"`.
        force: Replace a file that exists.

    Raises:
        ConversionError: If the model or the input cannot be read or do not fit, if the
            model does not state its preprocessing, or if the file cannot be written.
        ConfigError: If the config describes no model.
        MissingExtraError: If the framework, matplotlib, Pillow or nibabel is not
            installed.
    """
    check_flag("force", force)
    check_path("input", input)
    with named("attention", unwritten=out is not None):
        entry = Entry(Path(input), str(input))
        target = _target(out, entry.path, force)
        if not is_series(entry.path) and (problem := unusable(entry.path)):
            raise ConversionError([problem])
        running = load(
            model,
            Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base),
            backend=backend,
            device=device,
        )
        if are_raw([entry], running.config.spatial_dims):
            check_stated(running.config)
        with quiet():
            one: Input
            (one,) = InputReader(running.config)(entry.path, most=1).inputs
        last, whole = (
            over_patches(maps[None, None], running.config)[0]
            for maps in last_and_rollout(running.attention(one.values))
        )
        report = AttentionReport(
            input=entry.name,
            out=target,
            config=running.config,
            fingerprint=running.fingerprint,
            model_fingerprint=running.model_fingerprint,
            library=running.library,
            values=one.values,
            attention=last,
            rollout=whole,
            notes=one.notes,
        )
        if target is not None:
            _write(target, report, running.name, force)
    return report


def _target(out: Source | None, source: Path, force: bool) -> Path | None:
    """The file to write, once it is sure that it can be."""
    if out is None:
        return None
    check_path("out", out)
    target = Path(out)
    kind = target.suffix.lower()
    if kind not in (PICTURE, ARRAYS):
        text = f"ends with {kind or 'nothing'}; expected {PICTURE} or {ARRAYS}"
        raise refusal(text, file=target)
    check_output(target, (source,), force)
    if kind == PICTURE:
        optional("matplotlib", "report")
    return target


def _write(target: Path, report: AttentionReport, model: str, force: bool) -> None:
    with atomic(target, force=force) as path:
        if target.suffix.lower() == ARRAYS:
            with path.open("wb") as stream:
                np.savez(
                    stream,
                    attention=report.attention,
                    rollout=report.rollout,
                    input=report.values,
                )
            return
        title = f"{printable(model, 60)} on {printable(Path(report.input).name, 60)}"
        maps = {
            "last block, mean over heads": report.attention,
            "rollout through all blocks": report.rollout,
        }
        above = f"{title}\nattention of {report.query}"
        draw(path, report.values, maps, report.config, above)
