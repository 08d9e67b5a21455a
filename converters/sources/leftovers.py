"""Folders that a training run left: which file in them holds the model's weights.

`torch.distributed.checkpoint`, DeepSpeed and Accelerate have no config beside the
weights: the names in the file tell whose model it is, the caller tells the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from converters.errors import ConversionError, printable, refusal
from converters.files import FOLDER_CONFIG, FOLDER_WEIGHTS, FORMATS
from converters.files.base import READ_ONLY
from converters.files.dcp_folder import SUFFIX as DCP_SUFFIX
from converters.files.dcp_metadata import NAME as DCP_METADATA

LATEST = "latest"
"""DeepSpeed's note of the newest of its folders, beside them."""

_STATES = "mp_rank_00_model_states.pt"
_ZERO3 = "zero_pp_rank_*_model_states.pt"
_FSDP = "*_fsdp_*"
_MORE_MODELS = ("model_[0-9]*.safetensors", "pytorch_model_[0-9]*.bin")
_SOURCES = (FOLDER_CONFIG, "adapter_config.json", "open_clip_config.json", LATEST)
_ASIDE = (
    # what trainers save beside the weights
    *(
        "optimizer*",
        "scheduler*",
        "scaler*",
        "sampler*",
        "rng_state*",
        "training_args*",
    ),
    *("random_states*", "*optim_states.pt", "custom_checkpoint*", "dl_state_dict*"),
)
_MAX_DEPTH = 3
_MAX_LINES = 12


def whole_of(path: Path) -> Path:
    """The folder that a part of it stands for; any other path as it is."""
    if not path.is_file():
        return path
    if path.name.endswith(DCP_SUFFIX) or path.name == DCP_METADATA:
        return path.parent
    return path.parent if path.name == LATEST else path


def is_dcp(path: Path) -> bool:
    """Whether a folder is one of `torch.distributed.checkpoint`."""
    return (path / DCP_METADATA).is_file()


def training_weights(path: Path) -> Path | None:
    """The weights in a folder that a training run left.

    Returns:
        The file, or for `torch.distributed.checkpoint` the folder of it; None if the
        folder is no such one.

    Raises:
        ConversionError: If the weights are there and cannot be read.
    """
    if is_dcp(path):
        return path
    if any(path.glob(f"*{DCP_SUFFIX}")):
        raise _unfinished(path)
    if (found := _deepspeed(path)) is not None:
        return found
    parts = sorted(part for part in path.glob(_FSDP) if is_dcp(part))
    if len(parts) > 1:
        raise several(path, parts)
    return parts[0] if parts else None


def _unfinished(path: Path) -> ConversionError:
    ranks = sorted(file.name for file in path.glob(f"__*{DCP_METADATA}"))
    if ranks:
        return refusal(
            f"saved without a common {DCP_METADATA}: each rank has one of its own "
            f"({', '.join(ranks[:3])})",
            file=path,
            hint="Save it anew with torch.distributed.checkpoint.save(..., "
            "no_dist=False).",
        )
    return refusal(
        f"{DCP_METADATA} is missing, which says what the {DCP_SUFFIX} files hold",
        file=path,
        hint="Its name begins with a dot, so that * does not copy it; torch writes it "
        "last, so that it is missing after an interrupted save, too.",
    )


def _deepspeed(path: Path) -> Path | None:
    """The file of states in a folder of DeepSpeed's, or in the one above it."""
    tag = _tag(path)
    if tag is None:
        return None
    ranks = sorted(tag.glob("mp_rank_*_model_states.pt"))
    if any(tag.glob(_ZERO3)) and not ranks:
        raise refusal(
            "DeepSpeed's ZeRO-3: every file has a part of every tensor",
            file=tag,
            hint=f"Join them first: python {printable(path / 'zero_to_fp32.py', 200)} "
            f"{printable(path, 200)} joined (DeepSpeed puts the script there); then "
            "convert joined/pytorch_model.bin.",
        )
    if any(tag.glob("layer_*model_states.pt")) or len(ranks) > 1:
        kind = "tensors" if len(ranks) > 1 else "layers"
        raise refusal(
            f"a DeepSpeed checkpoint with its {kind} spread over several ranks",
            file=tag,
            hint="Load it with DeepSpeed on one rank and save the weights alone: "
            "torch.save(engine.module.state_dict(), path).",
        )
    if ranks and ranks[0].name == _STATES:
        return ranks[0]
    text = f"a folder of DeepSpeed's without {_STATES}"
    raise refusal(text, file=tag, hint="Was the save interrupted?")


def _tag(path: Path) -> Path | None:
    """The folder of one save: this one, or the one that `latest` names."""
    states = ("*_model_states.pt", "*_optim_states.pt")
    if any(next(path.glob(pattern), None) for pattern in states):
        return path
    note = path / LATEST
    if not note.is_file() or note.stat().st_size > 200:
        return None
    name = note.read_text("utf-8", "replace").strip()
    if not re.fullmatch(r"\w[\w.-]*", name):
        return None
    if (path / name).is_dir():
        return path / name
    raise refusal(f'{LATEST} names the folder "{name}", which is not there', file=path)


def check_one_model(path: Path, weights: Path) -> None:
    """Refuses a folder of Accelerate's in which several models are.

    Raises:
        ConversionError: With the files, as they are to be given.
    """
    more = [file for pattern in _MORE_MODELS for file in path.glob(pattern)]
    if more:
        raise several(path, [weights, *sorted(more)])


def several(path: Path, found: list[Path]) -> ConversionError:
    """Refuses a folder in which more than one model is."""
    return refusal("it holds several models", file=path, hint=_give_one(found))


def no_model(path: Path) -> ConversionError:
    """What to say of a folder that is no model, with the models that are in it."""
    found = sorted(_sources(path), key=_natural)
    if not found:
        what = "a folder in which there is no model"
        if path.name.endswith((*FORMATS, *READ_ONLY)):
            what = "a folder, not a file, and there is no model in it"
        return refusal(
            f"{what}: no file of weights",
            file=path,
            hint=f"Expected {FOLDER_WEIGHTS} or its index, and {FOLDER_CONFIG}; or a "
            f"file of weights: {', '.join((*FORMATS, *READ_ONLY))}.",
        )
    return refusal(
        "a folder that does not say which model it is: no weights with a config "
        "beside them",
        file=path,
        hint=_give_one(found),
    )


def _give_one(found: list[Path]) -> str:
    lines = [f"  {printable(file, 300)}" for file in found[:_MAX_LINES]]
    if len(found) > _MAX_LINES:
        lines.append(f"  ... and {len(found) - _MAX_LINES} more")
    return "\n".join([f"Give {'one of them' if len(found) > 1 else 'it'}:", *lines])


def _sources(path: Path, depth: int = 0) -> Iterator[Path]:
    """What below a folder can be given as a source."""
    suffixes = (*FORMATS, *READ_ONLY)
    for entry in path.iterdir():
        if entry.is_dir():
            if entry.name.startswith("."):
                continue
            if is_dcp(entry) or any((entry / name).is_file() for name in _SOURCES):
                yield entry
            elif depth < _MAX_DEPTH:
                yield from _sources(entry, depth + 1)
        elif entry.name.endswith(suffixes) and not any(
            fnmatch(entry.name, pattern) for pattern in _ASIDE
        ):
            yield entry


def _natural(path: Path) -> list[tuple[int, str]]:
    """`checkpoint-500` before `checkpoint-1000`."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
