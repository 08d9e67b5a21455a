"""Converts a file of weights into another, and proves the written file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.arguments import check_flag, check_path, check_text, patterns, wrong
from converters.cards.place import beside, check_card, write_card
from converters.checks.source import Checked, checked
from converters.conversion.folders import (
    FOLDERS,
    KERAS_FOLDER,
    check_target,
    save_folder,
)
from converters.conversion.instead import check_not_exported
from converters.conversion.raw_input import check_asked, raw_input
from converters.conversion.report import ConversionReport, Verify
from converters.conversion.verification import backend_for, default_verify
from converters.conversion.write import write_checked
from converters.errors import named, refusal
from converters.files.atomic import check_output
from converters.files.contents import others_of
from converters.files.folder import check_folder
from converters.mapping.stream import keep_freed_memory
from converters.reports.phases import READING, Announce, Phases
from converters.sources.door import open_source, path_of
from converters.sources.folders import parts_of
from converters.sources.hub import is_hub, origin as hub_path
from converters.sources.live import is_module
from converters.sources.request import Asked
from converters.steps.asked import Size, Steps
from converters.steps.folding import fitted
from converters.steps.plan import plan
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes to do in all."""

PathLike = str | os.PathLike[str]
ConfigLike = ViTConfig | Mapping[str, Any] | PathLike

_PASSES = 3  # check, write, prove


@named("conversion", unwritten=True)
def convert(
    source: PathLike | Module,
    target: PathLike,
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    to_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: str | os.PathLike[str] | None = None,
    output: str | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    inflate: str | None = None,
    depth: int | None = None,
    patch_depth: int | None = None,
    inflate_axis: int | None = None,
    patch_size: Size | None = None,
    image_size: Size | None = None,
    fold: bool = False,
    dtype: str | None = None,
    allow_missing: str | Sequence[str] = (),
    seed: int = 0,
    max_shard_size: str | int | None = None,
    with_preprocessing: bool | None = None,
    white: float | None = None,
    card: bool = True,
    force: bool = False,
    verify: Verify | None = None,
    progress: Progress | None = None,
    on_phase: Announce | None = None,
) -> ConversionReport:
    """Converts between `.safetensors`, `.keras`, `.weights.h5` and torch checkpoints.

    Everything is checked before anything is written. The written file is read again,
    mapped back and compared with the source, bit by bit, before it gets its name. A
    Keras file is also loaded in a fresh process, and its outputs are compared with the
    torch twin's, see `converters.conversion.outputs`.

    From `output` to `seed` all are named one-way steps (`converters.steps` has their
    order): the report and the config's `source.steps` name each that was taken, and the
    written file is compared with what the steps made of the source.

    Args:
        source: The file to read (also torch's checkpoints, TorchScript and `.pt2`, and
            the index of a sharded checkpoint), or a folder;
            `"hf://org/name@revision"`, a model of the Hugging Face Hub; or a live
            model of timm, transformers, torchvision or MONAI.
        target: The file to write; its suffix decides the format. Without one it is a
            folder: ours, or with `to_dialect="huggingface"` or `"timm"` one that the
            library's own `from_pretrained` or `create_model` loads, with `"keras"` an
            unzipped `.keras`.
        config: The model's config (object, dict or JSON file), where the source does
            not hold one: ours, or the arguments of the library it comes from.
        preset: Name of a preset, instead of a config.
        changes: Fields of our config, which stand above config and preset.
        from_dialect: Whose names the source has, `"monai"`; recognised if None.
        to_dialect: Whose names the target gets, `"monai@1.3"`; ours if None. What its
            names have no place for is folded where that is exact, and refused else.
        prefix: What stands before the model's names in the source; found if None.
            Tensors without it are left out then, a named step.
        drop: Patterns of tensors to leave out, which are not the model's: `"*.loss.*"`.
            A named step.
        head: Name of a linear layer that stands beside the model, to take for its head:
            `"classifier"`.
        base: Of a PEFT adapter: the model it was trained on, anything that can be read.
        output: `"logits"`, `"pooled"` (drops the head) or `"tokens"` (drops the head
            and everything that works on the pooled vector).
        num_classes: Draw a new head of so many classes; 0 drops it.
        in_chans: Another number of input channels, as timm adapts it.
        inflate: Make a 3D model of a 2D one: `"mean"` spreads the patch kernel over the
            new axis, `"center"` puts it in the middle.
        depth: Size of the input along the new axis; `inflate` needs it.
        patch_depth: Size of a patch along it; that of a square patch if None.
        inflate_axis: Where the new axis stands: 0 first (frames; the default), 1, or 2
            last (slices, as in MONAI).
        patch_size: Resize the patch kernel (FlexiViT's pseudo-inverse).
        image_size: Resample the position table by the source's own rule.
        fold: Allow `to_dialect` to fold what is exact up to rounding only: layer scale.
        dtype: Cast all weights to `"float32"`, `"float16"` or `"bfloat16"`. Without it
            the source's type stays.
        allow_missing: Patterns of tensor names that the source may lack; they are drawn
            at random. One that no missing tensor matches is an error.
        seed: What random tensors are drawn from; stated in their step.
        max_shard_size: Bytes of weights in one file of a folder, `"2GB"`; with more
            there are several and an index. None: one file.
        with_preprocessing: Write a Keras model that takes images or volumes as they
            are (`keras_vit.Pipeline`): what the config's `data` says is done inside,
            and has to say all of it. None: if the source is such a model.
        white: What white is in float images that it takes, 1.0 or 255.0; None: it
            takes 8 bits only, or what the source took.
        card: With `with_preprocessing`, write a model card beside the target, too:
            `<target>.README.md`.
        force: Replace a target that exists.
        verify: `"weights"`: the bits of all weights; `"logits"`: these, and the outputs
            of a Keras file, which needs torch and Keras; `"none"`: nothing, the file
            is not read again. None stands for `"logits"` for a Keras file, for
            `"weights"` otherwise.
        progress: Called as the work goes on, from a thread that reads.
        on_phase: Called with the name of each part of the work as it begins:
            `"writing"`; the report has their times.

    Raises:
        ConversionError: With every problem found; nothing is written then.
        ConfigError: If the config describes no model.
        MissingExtraError: If `verify` needs what is not installed.
    """
    start = time.perf_counter()
    check_path("target", target)
    check_text("to_dialect", to_dialect)
    check_flag("force", force)
    if progress is not None and not callable(progress):
        raise wrong("progress", progress, "a function of two numbers")
    if on_phase is not None and not callable(on_phase):
        raise wrong("on_phase", on_phase, "a function of a text")
    phases = Phases(on_phase)
    phases(READING)
    globs = patterns("allow_missing", allow_missing)
    keep_freed_memory()
    reading: dict[str, Any] = {
        "from_dialect": from_dialect,
        "prefix": prefix,
        "config": config,
        "preset": preset,
        "changes": changes,
        "drop": drop,
        "head": head,
        "base": base,
    }
    asked_steps: dict[str, Any] = {
        "output": output,
        "num_classes": num_classes,
        "in_chans": in_chans,
        "inflate": inflate,
        "depth": depth,
        "patch_depth": patch_depth,
        "inflate_axis": inflate_axis,
        "patch_size": patch_size,
        "image_size": image_size,
        "fold": fold,
        "dtype": dtype,
        "allow_missing": globs,
        "seed": seed,
    }
    origin, target = origin_of(source), Path(target)
    check_not_exported(source, target, reading, asked_steps, force)
    kind = check_target(target, to_dialect, max_shard_size)
    folder = kind in FOLDERS
    check_asked(kind, target, with_preprocessing, white)
    check_flag("card", card)
    card_path = beside(target) if with_preprocessing and card else None
    if card_path is not None:
        check_card(card_path)
    sources = (origin,) if base is None else (origin, origin_of(base))
    if folder:
        check_folder(target, sources, force)
    else:
        parts = [part for source in sources for part in parts_of(source)]
        check_output(target, tuple(parts), force)
    verify = default_verify(kind) if verify is None else verify
    backend = backend_for(verify, target, kind)
    steps = Steps(**asked_steps)
    asked = Asked.by(**reading, lacking=bool(globs))
    with open_source(source, asked) as reader:
        stages = plan(reader.config, steps)
        variant = None
        if to_dialect not in (None, KERAS_FOLDER):
            unfolded = stages[-1].config if stages else reader.config
            variant, folds = fitted(to_dialect, unfolded, fold, folder)
            stages += folds
        after = stages[-1].config if stages else reader.config
        raw = raw_input(reader, kind, target, with_preprocessing, white, after)
        nbytes = sum(info.nbytes for info in reader.tensors.values())
        tick = _Ticker(progress, _PASSES * nbytes)
        found = checked(reader, asked=steps, stages=stages, tick=tick)
        tick.total = tick.done + (_PASSES - 1) * found.nbytes  # steps change the size
        if folder:
            report = save_folder(
                found,
                target,
                source=origin,
                kind=kind,
                variant=variant,
                raw=raw,
                max_shard_size=max_shard_size,
                force=force,
                verify=verify,
                backend=backend,
                tick=tick,
                phases=phases,
            )
        else:
            report = write_checked(
                found,
                target,
                source=origin,
                kind=kind,
                variant=variant,
                raw=raw,
                force=force,
                verify=verify,
                backend=backend,
                tick=tick,
                phases=phases,
            )
        report = replace(
            report,
            source_format=reader.format,
            source_dialect=reader.dialect,
            dropped={**getattr(reader, "dropped", {}), **found.dropped},
            computed=dict(getattr(reader, "computed", {})),
            remarks=tuple(getattr(reader, "remarks", ())),
            bytes_read=nbytes,
            steps=(*reader.steps, *found.steps),
            others=others_of(reader),
            seconds=time.perf_counter() - start,
        )
    if card_path is not None:
        from converters.cards.text import card_of_conversion

        write_card(card_path, card_of_conversion(report))
    return report


def load_config(config: ConfigLike | None) -> ViTConfig | None:
    """A config from an object, a dict or a JSON file.

    Raises:
        ConfigError: If it describes no model.
        ConversionError: If there is no such file.
    """
    if config is None or isinstance(config, ViTConfig):
        return config
    if isinstance(config, Mapping):
        return ViTConfig.from_dict(config)
    path = Path(config)
    try:
        return ViTConfig.from_json(path.read_bytes())
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
        raise refusal(text, file=path, kind="config") from None


_AS_IT_IS = Asked()


@contextmanager
def read_checked(
    source: PathLike | Module, asked: Asked = _AS_IT_IS, steps: Steps | None = None
) -> Iterator[Checked]:
    """Opens and checks a source, for those who want the tensors themselves."""
    steps = steps or Steps()
    with open_source(source, asked) as reader:
        stages = plan(reader.config, steps)
        yield checked(reader, asked=steps, stages=stages)


def origin_of(source: PathLike | Module) -> Path:
    """The path of a file, or for a live model the name of its class."""
    if is_hub(source):
        return hub_path(str(source))
    if is_module(source):
        return Path(type(source).__name__)
    return path_of(source)


class _Ticker:
    """Counts bytes, and tells.

    Attributes:
        done: The bytes done.
        total: The bytes to do in all.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.done, self.total = 0, total

    def __call__(self, count: int) -> None:
        self.done += count
        if self._progress is not None:
            self._progress(self.done, self.total)
