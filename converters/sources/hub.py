"""Models on the Hugging Face Hub: `hf://org/name[@revision][/file]`.

`huggingface_hub` (extra `hub`) downloads, caches and knows the user's token; of a
repository only the files that are read are fetched, safetensors before all others.
`HF_ENDPOINT`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE` mean what they mean there.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, printable, refusal
from converters.extras import optional
from converters.files import FOLDER_CONFIG, FORMATS
from converters.files.base import TORCH
from converters.libraries.keras_hub import file as keras_hub_file
from converters.libraries.monai import bundle
from converters.sources.adapters.opening import WEIGHTS as ADAPTER_WEIGHTS
from converters.sources.folders import (
    ADAPTER,
    OPEN_CLIP,
    OPEN_CLIP_WEIGHTS,
    PREPROCESSOR,
    PROCESSOR,
    WEIGHTS,
    adapter_problem,
)

SCHEME = "hf://"
CARD = "README.md"

_ID = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/pr/\d+|\w[^/@]*))?"
    r"(?:/(?P<file>[^@]+))?"
)
_SHARD = re.compile(
    r"model-\d{5}-of-\d{5}\.safetensors|(pytorch|flax)_model-.*\.(bin|msgpack)"
)
_SUFFIXES = (*FORMATS, *TORCH)
_OFF = {"", "0", "FALSE", "NO", "OFF"}


@dataclass(frozen=True)
class Located:
    """A model of the hub, on this machine.

    Attributes:
        path: Folder or file.
        name: `org/name`.
        revision: The commit.
        licence: What its card says, if anything.
        datasets: The same for the data it was trained on.
        sha256: Of the one file of weights, where the hub knows it.
    """

    path: Path
    name: str
    revision: str
    licence: str | None = None
    datasets: str | None = None
    sha256: str | None = None


def is_hub(source: Any) -> bool:
    """Whether a source is an id of the hub."""
    return isinstance(source, str) and source.startswith(SCHEME)


def adapted_origin(adapter: Located | None, base: Located | None) -> Located | None:
    """Where a model comes from that is an adapter merged into a base.

    The base's licence and data hold for it, too, where the adapter's card says none.
    """
    if adapter is None or base is None:
        found = adapter or base
        return found and replace(found, sha256=None)
    return replace(
        adapter,
        sha256=None,
        licence=adapter.licence or base.licence,
        datasets=adapter.datasets or base.datasets,
    )


def origin(source: str) -> Path:
    """What a report calls it: a path that is nobody's."""
    return Path(source.removeprefix(SCHEME))


def locate(source: str) -> Located:
    """Downloads what is needed of a model, or finds it in the cache.

    Raises:
        ConversionError: If there is no such model, revision or file, if it may not be
            read, if the hub cannot be reached and the cache has not got it, or if it is
            not certain which file is meant.
        MissingExtraError: If huggingface_hub is not installed.
    """
    match = _ID.fullmatch(source.removeprefix(SCHEME))
    if match is None:
        raise refusal(
            f'"{printable(source)}" is no model of the hub',
            hint="Expected hf://org/name, with @revision and /file where needed.",
        )
    hub = optional("huggingface_hub", "hub")
    repo, revision, file = match["repo"], match["revision"], match["file"]
    where: dict[str, Any] = {
        "revision": revision,
        "cache_dir": os.environ.get("HF_HUB_CACHE") or None,
        "endpoint": os.environ.get("HF_ENDPOINT") or None,
    }
    with _refusals(repo, revision):
        names = None if _offline() else _listing(hub, repo, where)
        if names is None:
            folder = _cached(hub, repo, where)
            names = _on_disk(Path(folder))
            wanted = chosen(names, file, repo)
        else:
            wanted = chosen(names, file, repo)
            patterns = [glob.escape(name) for name in wanted]
            with _bars(hub):
                folder = hub.snapshot_download(repo, allow_patterns=patterns, **where)
    path = Path(folder)
    weights = [name for name in wanted if not name.endswith((".json", CARD))]
    licence, datasets = _card(hub, path / CARD) if CARD in wanted else (None, None)
    return Located(
        path=path if file is None and _is_folder(wanted) else path / weights[0],
        name=repo,
        revision=path.name,
        licence=licence,
        datasets=datasets,
        sha256=_sha256(path / weights[0]) if len(weights) == 1 else None,
    )


def chosen(names: list[str], file: str | None, repo: str) -> list[str]:
    """The files of a repository that are read.

    Raises:
        ConversionError: If the one that was asked for is not there, or if none was, and
            there is no one file that weights usually have.
    """
    known = (FOLDER_CONFIG, PREPROCESSOR, PROCESSOR, CARD)
    beside = [name for name in known if name in names]
    if file is not None:
        if file not in names:
            raise refusal(f'has no file "{printable(file)}"', file=repo)
        return [file, *(name for name in beside if name == CARD)]
    adapters = [name for name in ADAPTER_WEIGHTS if name in names]
    if ADAPTER in names and adapters:
        return [adapters[0], ADAPTER, *(name for name in beside if name == CARD)]
    if ADAPTER in names:
        raise adapter_problem(repo)
    for name in WEIGHTS:
        if name in names:
            start = name.removesuffix("index.json").partition(".")[0]
            shards = [n for n in names if _SHARD.fullmatch(n) and n.startswith(start)]
            indexed = name.endswith(".index.json")
            return [*(shards if indexed else ()), name, *beside]
    clips = [name for name in OPEN_CLIP_WEIGHTS if name in names]
    if OPEN_CLIP in names and clips:
        return [clips[0], OPEN_CLIP, *(name for name in beside if name == CARD)]
    if {keras_hub_file.METADATA, keras_hub_file.WEIGHTS, FOLDER_CONFIG} <= {*names}:
        return [n for n in (*keras_hub_file.FILES, CARD) if n in names]
    configs = [name for name in bundle.CONFIGS if name in names]
    weights = [name for name in names if bundle.is_weights(name)]
    if configs and weights:  # all of them: the config says which is read
        more = [name for name in (bundle.METADATA, CARD) if name in names]
        return [*weights, *configs, *more]
    files = sorted(n for n in names if n.endswith(_SUFFIXES) and "/" not in n)
    if len(files) == 1:
        return [files[0], *(name for name in beside if name == CARD)]
    if files:
        listed = ", ".join(printable(name) for name in files[:6])
        raise refusal(
            f"holds several files of weights: {listed}",
            file=repo,
            hint=f"Say which one: {SCHEME}{repo}/{files[0]}",
        )
    raise refusal("holds no weights that are read", file=repo)


def _is_folder(wanted: list[str]) -> bool:
    if ADAPTER in wanted or OPEN_CLIP in wanted:
        return True
    return FOLDER_CONFIG in wanted or any(name in wanted for name in bundle.CONFIGS)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() not in _OFF


def _listing(hub: Any, repo: str, where: dict[str, Any]) -> list[str] | None:
    """Names of all files, or None if the hub cannot be reached."""
    api = hub.HfApi(endpoint=where["endpoint"])
    try:
        info = api.model_info(repo, revision=where["revision"])
    except Exception as error:
        if _unreachable(error):
            return None
        raise
    return [sibling.rfilename for sibling in info.siblings or ()]


def _cached(hub: Any, repo: str, where: dict[str, Any]) -> str:
    """The snapshot in the cache, which need not hold all files of the repository."""
    try:
        return str(hub.snapshot_download(repo, local_files_only=True, **where))
    except Exception as error:
        folder = getattr(error, "snapshot_path", None)
        if folder is None:
            raise
        return str(folder)


@contextmanager
def _bars(hub: Any) -> Iterator[None]:
    """The client's own progress bars on a terminal, nothing elsewhere."""
    quiet = not sys.stderr.isatty() and not hub.utils.are_progress_bars_disabled()
    if quiet:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            hub.utils.enable_progress_bars()


def _unreachable(error: Exception) -> bool:
    """Whether the network is the problem; the client's library differs by release."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(
        names
        & {
            *("ConnectError", "ConnectionError", "TimeoutException", "Timeout"),
            *("OfflineModeIsEnabled", "TransportError"),
        }
    )


@contextmanager
def _refusals(repo: str, revision: str | None) -> Iterator[None]:
    """Says in one clear line what the hub's client says in many."""
    errors: Any = import_module("huggingface_hub.errors")
    try:
        yield
    except ConversionError:
        raise
    except errors.GatedRepoError:
        raise refusal(
            "its authors give access on request only",
            file=repo,
            hint="Ask for it on the model's page, then log in: hf auth login.",
        ) from None
    except errors.RepositoryNotFoundError:
        raise refusal(
            "there is no such model on the hub, or it is private",
            file=repo,
            hint="If it is private, log in: hf auth login.",
        ) from None
    except errors.RevisionNotFoundError:
        raise refusal(f'has no revision "{printable(revision)}"', file=repo) from None
    except errors.HFValidationError as error:
        raise refusal(f"no valid name: {printable(error, 160)}", file=repo) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if _offline() else "the hub cannot be reached"
        at = f" at revision {printable(revision)}" if revision else ""
        raise refusal(f"{why}, and the cache has not got it{at}", file=repo) from None
    except Exception as error:
        if not (_unreachable(error) or isinstance(error, errors.HfHubHTTPError)):
            raise
        first = printable(str(error).partition("\n")[0], 160)
        raise refusal(
            f"the hub does not answer as it should: {first}", file=repo
        ) from (None)


def _on_disk(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


def _sha256(path: Path) -> str | None:
    """The cache names a large file by its hash."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


def _card(hub: Any, path: Path) -> tuple[str | None, str | None]:
    """Licence and data, as the head of a model card says them."""
    try:
        data = hub.ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, OSError):
        return None, None
    licence = data.get("license")
    if licence == "other":
        licence = data.get("license_name") or licence
    datasets = data.get("datasets")
    listed = [datasets] if isinstance(datasets, str) else datasets
    texts = isinstance(listed, list) and all(isinstance(name, str) for name in listed)
    return (
        licence if isinstance(licence, str) else None,
        ", ".join(listed) if texts and listed else None,
    )
