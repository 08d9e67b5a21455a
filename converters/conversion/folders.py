"""Writes a folder that a library loads: weights, config, preprocessing, labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.checks.source import Checked
from converters.checks.tensors import check_tensors
from converters.conversion.report import ConversionReport, Verify
from converters.conversion.write import check_computed, differences, report_of
from converters.errors import ConversionError, refusal
from converters.files import FOLDER_CONFIG, FORMATS, format_of, space_needed
from converters.files.atomic import check_space
from converters.files.base import Raw
from converters.files.folder import atomic_folder, check_folder
from converters.files.keras_folder import write_keras_folder
from converters.files.shards import size_of, write_shards
from converters.libraries.keras_hub.file import write_preset
from converters.libraries.writing import check_written
from converters.mapping.pipe import Pipe, Source, Watched
from converters.mapping.table import KERAS
from converters.reports.phases import PROVING, WRITING, Phases
from converters.sources.dialect_reader import Foreign, fill_issues, written
from converters.wording import option, options
from vit_config import ViTConfig

if TYPE_CHECKING:
    from converters.libraries.variant import Variant

LIBRARIES = ("huggingface", "timm", "keras_hub")
"""Dialects that a folder can be written for; without one the folder is our own."""

KERAS_FOLDER = "keras"
"""What `--to` calls an unzipped `.keras`."""

FOLDERS = ("folder", "keras folder")
"""What `check_target` calls targets that are folders."""

PREPROCESSOR = "preprocessor_config.json"


def is_folder(target: Path) -> bool:
    """Whether a folder is meant: the name has no suffix, or there is such a folder."""
    if target.name.endswith(tuple(FORMATS)):
        return False
    return target.is_dir() or not target.suffix


def check_target(
    target: Path, to_dialect: str | None, max_shard_size: str | int | None
) -> str:
    """What a target is: one of `FOLDERS`, or the format of a file.

    Raises:
        ConversionError: If the options are not for such a target.
    """
    dialect = (to_dialect or "").partition("@")[0]
    if to_dialect is not None and to_dialect != KERAS_FOLDER:
        check_written(to_dialect, KERAS_FOLDER)
    if not is_folder(target):
        kind = format_of(target)
        if dialect == "keras_hub":
            to = options(to_dialect="keras_hub")
            text = f"{to} writes a folder, a preset; name one without a suffix"
            raise refusal(text, file=target, kind="config")
        if max_shard_size is not None:
            text = f"{option('max_shard_size')} is for folders"
            raise refusal(text, file=target, kind="config")
        if to_dialect == KERAS_FOLDER:
            text = (
                f"{options(to_dialect='keras')} writes a folder; a name that ends in "
                f".keras needs no {option('to_dialect')}"
            )
            raise refusal(text, file=target, kind="config")
        if to_dialect is not None and kind != "safetensors":
            text = f"{option('to_dialect')} writes .safetensors, or a folder"
            raise refusal(text, file=target)
        return kind
    if to_dialect == KERAS_FOLDER:
        if max_shard_size is not None:
            text = "Keras has no folder of shards that it loads by itself"
            raise refusal(text, file=target, kind="config")
        return "keras folder"
    if to_dialect is not None and dialect not in LIBRARIES:
        known = ", ".join((*LIBRARIES, KERAS_FOLDER))
        raise refusal(
            f"a folder of {dialect} is not known; {options(to_dialect=dialect)} writes "
            ".safetensors",
            file=target,
            hint=f"Known for {option('to_dialect')}: {known}.",
        )
    if max_shard_size is not None:
        size_of(max_shard_size)
        if dialect == "keras_hub":
            raise refusal("presets are written in one file", file=target, kind="config")
    return "folder"


def save_folder(
    found: Checked,
    target: Path,
    *,
    source: Path,
    kind: str = "folder",
    variant: Variant | None = None,
    raw: Raw | None = None,
    max_shard_size: str | int | None = None,
    force: bool = False,
    verify: Verify = "weights",
    backend: str = "",
    tick: Callable[[int], None] = lambda count: None,
    phases: Phases | None = None,
) -> ConversionReport:
    """Writes canonical tensors to a folder that is proved before it gets its name.

    Args:
        found: The tensors and their config.
        target: The folder.
        source: Where they come from.
        kind: One of `FOLDERS`.
        variant: The variant of a library, or None for our own names.
        raw: Of an unzipped `.keras`: what it takes, with its preprocessing inside.
        max_shard_size: Bytes of weights in a file, `"2GB"`; one file if None.
        force: Replace a model that is there.
        verify: What is proved, see `converters.convert`.
        backend: Keras' backend, for `"logits"`.
        tick: Called with the bytes done.
        phases: The parts of the work so far.

    Raises:
        ConversionError: If the folder may not be written, if the library's config
            cannot say the model, or if the proof fails.
        ConfigError: If a library's config cannot say the model.
    """
    start = time.perf_counter()
    check_folder(target, (source,), force)
    config = found.config
    keras = kind == "keras folder"
    beside = {} if keras else json_files(config, variant)
    if variant is not None:
        check_computed(variant, found, source)
    check_space(target.parent, space_needed(found.nbytes))
    most = found.nbytes if max_shard_size is None else size_of(max_shard_size)
    weights: Source = Watched(found.source, tick)
    name = ""
    if variant is not None:
        weights, name = Foreign(weights, config, variant), variant.name
        if max_shard_size is None:
            most = sum(info.nbytes for info in weights.tensors.values())
    if name.startswith("timm") and most < sum(
        info.nbytes for info in weights.tensors.values()
    ):
        text = (
            "timm.create_model loads one file of weights, not shards: leave "
            f"{option('max_shard_size')} out"
        )
        raise refusal(text, file=target, kind="config")
    outputs = None
    phases = phases or Phases()
    phases(WRITING)
    with atomic_folder(target, force=force) as folder:
        if keras:
            twin = Pipe(weights, KERAS.plan(config))
            write_keras_folder(folder, twin, config, raw)
            path = folder
        elif name == "keras_hub":
            write_preset(folder, weights, config)
            path = folder
        else:
            path = write_shards(folder, weights, config, name, most)
        proved = 0
        if verify != "none":
            phases(PROVING)
            proved = _proved(path, found, variant, tick)
        if verify == "logits":
            from converters.conversion.outputs import check_outputs

            inside = raw is not None
            outputs = check_outputs(
                path, kind, config, found.dtype, backend, inside, phases
            )
        for file, fields in beside.items():
            text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
            (folder / file).write_text(text, encoding="utf-8")
        files = tuple(sorted(path.name for path in folder.iterdir()))
        size = sum(path.stat().st_size for path in folder.iterdir())
    return report_of(
        found,
        source=source,
        target=target,
        target_format=kind,
        raw=raw,
        target_dialect=name,
        bytes_written=size,
        proved=proved,
        verify=verify,
        outputs=outputs,
        files=files,
        seconds=time.perf_counter() - start,
        phases=phases.end(),
    )


def _proved(
    path: Path,
    found: Checked,
    variant: Variant | None,
    tick: Callable[[int], None],
) -> int:
    """Reads what was written as a stranger would, and compares all digests."""
    from converters.sources.door import open_weights

    if variant is None:
        reader: Any = open_weights(path)
        issues = []
    else:
        reader = written(path, variant, found.config)
        issues = fill_issues(reader, variant, found.config)
    with reader:
        issues = issues or check_tensors(reader, reader.plan())
        issues = issues or differences(reader, found, tick)
    if issues:
        raise ConversionError(
            issues, file=path, dialect=variant.name if variant else ""
        )
    return len(found.digests)


# ---- what stands beside the weights -----------------------------------------------


def json_files(config: ViTConfig, variant: Variant | None) -> dict[str, dict[str, Any]]:
    """The JSON files of a folder, by name.

    Raises:
        ConfigError: If the library's config cannot say this model.
    """
    if variant is None:
        return {FOLDER_CONFIG: config.to_dict()}
    if variant.name == "keras_hub":
        return {}  # written with the weights, whose type they name
    if variant.name == "timm@swiglu":
        text = (
            "no config of timm has gate and value apart (SwiGLU): "
            f"{options(to_dialect='timm')} writes a folder with both packed, "
            f"{options(to_dialect=variant.name)} a .safetensors"
        )
        raise refusal(text, kind="config")
    if variant.name.startswith("timm"):
        from converters.libraries.timm import config_writing as timm_writing

        return {FOLDER_CONFIG: timm_writing.write_fields(config)}
    from converters.libraries.huggingface import config_writing as huggingface_writing

    found = {FOLDER_CONFIG: _huggingface(config, variant)}
    data = huggingface_writing.write_data(config)
    return found if data is None else {**found, PREPROCESSOR: data}


_BARE = (
    ("vit", "ViTModel"),
    ("deit", "DeiTModel"),
    ("ijepa", "IJepaModel"),
    ("vivit", "VivitModel"),
)
_CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    # variant: model types and classes whose files have these names
    "vit": (("vit", "ViTForImageClassification"),),
    "deit": (("deit", "DeiTForImageClassification"),),
    "deit-teacher": (("deit", "DeiTForImageClassificationWithTeacher"),),
    "ijepa": (("ijepa", "IJepaForImageClassification"),),
    "vivit": (("vivit", "VivitForVideoClassification"),),
    "vit-bare": _BARE,
    "dinov2": (("dinov2", "Dinov2ForImageClassification"),),
    "dinov2-registers": (
        ("dinov2_with_registers", "Dinov2WithRegistersForImageClassification"),
    ),
    "dinov2-bare": (
        ("dinov2", "Dinov2Model"),
        ("dinov2_with_registers", "Dinov2WithRegistersModel"),
    ),
    "clip": (("clip_vision_model", "CLIPVisionModel"),),
    "clip-projection": (("clip_vision_model", "CLIPVisionModelWithProjection"),),
    "siglip": (("siglip_vision_model", "SiglipVisionModel"),),
    "videomae": (("videomae", "VideoMAEForVideoClassification"),),
    "videomae-bare": (("videomae", "VideoMAEModel"),),
}


def _huggingface(config: ViTConfig, variant: Variant) -> dict[str, Any]:
    """The config of the first class that is this model."""
    from converters.libraries.huggingface.config_writing import write_fields
    from vit_config import ConfigError

    base = variant.name.partition("@")[2].partition("+")[0]
    if base not in _CLASSES:
        raise refusal(
            f"no folder is written for {variant.name}; "
            f"{options(to_dialect=variant.name)} writes a .safetensors",
            kind="config",
        )
    errors: list[ConfigError] = []
    for model_type, architecture in _CLASSES[base]:
        try:
            return write_fields(config, model_type, architecture)
        except ConfigError as error:
            errors.append(error)
    raise min(errors, key=lambda error: len(error.problems))
