"""A MONAI bundle as a source: its config, and the file that this config loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.errors import printable, refusal
from converters.files.json_file import read_json
from converters.wording import Blank, option, options
from vit_config import ViTConfig

CONFIGS = ("configs/inference.json", "configs/train.json")
METADATA = "configs/metadata.json"
FOLDER = "models"
"""Where a bundle has its weights."""

_SUFFIXES = (".pt", ".pth", ".safetensors")
_USUAL = tuple(f"model{suffix}" for suffix in _SUFFIXES)
"""Names that count where the config names none; the first is MONAI's own default."""


def is_bundle(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / "configs").is_dir()


def is_weights(name: str) -> bool:
    """Whether a path inside of a bundle is that of a file of weights."""
    folder, _, file = name.rpartition("/")
    return folder == FOLDER and file.endswith(_SUFFIXES)


def weights_in(path: Path) -> list[Path]:
    """All files of weights that a bundle has."""
    folder = path / FOLDER
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in files if is_weights(f"{FOLDER}/{file.name}"))


def open_bundle(
    path: Path, configured: bool, transforms: bool
) -> tuple[Path, ViTConfig | None]:
    """The file of weights of a bundle, and its config.

    Args:
        path: The folder.
        configured: Whether the caller says which model it is; the network and what
            stands around it are not read then.
        transforms: Whether to read what stands around the network.

    Raises:
        ConversionError: If there are no weights, or if it is not certain which.
        ConfigError: If the config describes no model of this library.
    """
    from converters.libraries.monai.config_bundle import read_bundle
    from converters.libraries.monai.config_checkpoint import loaded_files

    inference = path / CONFIGS[0]
    named = loaded_files(read_json(inference)) if inference.exists() else []
    weights = _weights(path, named)
    if configured:
        return weights, None
    models = [path / name for name in CONFIGS if (path / name).exists()]
    if not models:
        raise refusal(
            f"a bundle without {' and '.join(CONFIGS)}",
            file=path,
            hint="Configs in YAML or Python are not read; give "
            f"{option('config')} or {option('preset')}.",
        )
    metadata = path / METADATA
    said = read_json(metadata) if metadata.exists() else {}
    fields = read_bundle(read_json(models[0]), said, transforms)
    return weights, ViTConfig(**fields)


def _weights(path: Path, named: Sequence[str]) -> Path:
    """The file that the config loads; without its word the usual one."""
    there = {file.name: file for file in weights_in(path)}
    usual = [name for name in _USUAL if name in there]
    if len(named) > 1:
        listed = ", ".join(printable(name) for name in named)
        raise refusal(
            f"{CONFIGS[0]} names several files of weights: {listed}",
            file=path,
            hint=_name_it(),
        )
    if named and named[0] in there:
        return there[named[0]]
    same = [name for name in there if _stem(name) == _stem(named[0])] if named else []
    if len(same) == 1:
        return there[same[0]]  # the same weights, saved in another format
    if not there or (not named and not usual):
        listed = ", ".join(f"{FOLDER}/{name}" for name in _USUAL)
        raise refusal(f"a bundle without weights: none of {listed}", file=path)
    if named:
        listed = ", ".join(printable(name) for name in there)
        raise refusal(
            f"{CONFIGS[0]} loads {printable(named[0])}, which is not in {FOLDER}; "
            f"there: {listed}",
            file=path,
            hint=_name_it(),
        )
    if usual[0] != _USUAL[0] and len(usual) > 1:
        raise refusal(
            f"{' and '.join(usual)} are there, and the config names neither",
            file=path,
            hint=_name_it(),
        )
    return there[usual[0]]


def _name_it() -> str:
    config = options(config=Blank("FILE"))
    return (
        f"Give the file that is meant itself, {FOLDER}/..., with {config}, the "
        "arguments of network_def as JSON."
    )


def _stem(name: str) -> str:
    """A name without the suffix of a format that is read."""
    stem, _, suffix = name.rpartition(".")
    return stem if f".{suffix}" in _SUFFIXES else name
