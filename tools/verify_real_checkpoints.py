"""Converts well-known public checkpoints and compares them with their own libraries.

    python tools/verify_real_checkpoints.py --list
    python tools/verify_real_checkpoints.py [--only PATTERN ...] [--results FILE]

Each checkpoint of `real_checkpoints` is downloaded, converted to `.keras` (weights
proved bit by bit; with `--verify logits`, the default, the Keras model is run, too),
and its outputs are compared with the original library's, where that is installed. Needs
a hub that can be reached, and the extra `hub`.

A row of the results is written as soon as it is known. What is `ok` there is not done
again (but with `--again`), so that an interrupted run goes on. A checkpoint that fails
is a row with the reason; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import converters  # noqa: E402
from converters.sources import hub  # noqa: E402
from tools.real_checkpoints import CHECKPOINTS, Checkpoint  # noqa: E402
from tools.real_libraries import NotComparedError, compare  # noqa: E402

COLUMNS = (
    *("name", "family", "source", "status", "reason", "revision", "sha256"),
    *("dialect", "tensors", "parameters", "proved", "keras_ratio"),
    *("library", "library_ratio", "library_difference", "versions", "seconds"),
)
WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz", ".h5")
Row = dict[str, str]


@dataclass(frozen=True)
class Fetched:
    """A checkpoint on this machine: what `convert` takes, where it lies, and what."""

    source: str | Path
    path: Path
    revision: str
    sha256: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print what there is")
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="names or families"
    )
    parser.add_argument("--checkpoints", type=Path, help="another list, as JSON")
    parser.add_argument("--results", type=Path, default=Path("real_checkpoints.csv"))
    parser.add_argument("--downloads", type=Path, default=Path("downloads"))
    parser.add_argument("--verify", choices=("weights", "logits"), default="logits")
    parser.add_argument("--inputs", type=int, default=64, help="of the comparison")
    parser.add_argument("--again", action="store_true", help="do again what is ok")
    options = parser.parse_args(arguments)
    chosen = [c for c in known(options.checkpoints) if wanted(c, options.only)]
    if not chosen:
        print("no checkpoint has such a name; see --list", file=sys.stderr)
        return 1
    if options.list:
        for one in chosen:
            print(f"{one.family:12} {one.name:45} {one.source}")
        return 0
    rows = load(options.results)
    for one in chosen:
        before = rows.get(one.name, {})
        done = before.get("status") == "ok" and before.get("source") == one.source
        if not done or options.again:
            rows[one.name] = verified(one, options)
            save(options.results, rows)
        row = rows[one.name]
        print(f"{row['status']:6} {one.name}  {row['reason'] or row['library']}")
    return 0 if all(rows[one.name]["status"] == "ok" for one in chosen) else 1


def known(path: Path | None) -> tuple[Checkpoint, ...]:
    """The committed list, or another one."""
    if path is None:
        return CHECKPOINTS
    return tuple(Checkpoint(**entry) for entry in json.loads(path.read_text("utf-8")))


def wanted(checkpoint: Checkpoint, patterns: list[str] | None) -> bool:
    """Whether name or family match one of the patterns."""
    names = checkpoint.name, checkpoint.family
    return not patterns or any(fnmatchcase(n, p) for p in patterns for n in names)


def load(path: Path) -> dict[str, Row]:
    """The rows so far, by name."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def save(path: Path, rows: dict[str, Row]) -> None:
    """Writes all rows; an interruption leaves the file as it was, or as it is to be."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    part.replace(path)


def verified(checkpoint: Checkpoint, options: argparse.Namespace) -> Row:
    """One row; whatever goes wrong with a checkpoint stands in it."""
    row: Row = {
        "name": checkpoint.name,
        "family": checkpoint.family,
        "source": checkpoint.source,
        "status": "failed",
        "reason": "",
        "library": "",
        "versions": _versions(),
    }
    start = time.perf_counter()
    try:
        fetched = fetch(checkpoint, options.downloads)
        row |= {"revision": fetched.revision, "sha256": fetched.sha256}
        with tempfile.TemporaryDirectory() as folder:
            _convert(checkpoint, fetched, Path(folder) / "model.keras", options, row)
    except Exception as error:
        row["reason"] = _first_lines(error)
    row["seconds"] = f"{time.perf_counter() - start:.1f}"
    return row


def _convert(
    checkpoint: Checkpoint,
    fetched: Fetched,
    target: Path,
    options: argparse.Namespace,
    row: Row,
) -> None:
    report = converters.convert(
        fetched.source, target, verify=options.verify, **checkpoint.options
    )
    parts = report.outputs.parts if report.outputs else ()
    row |= {
        "dialect": report.source_dialect,
        "tensors": str(report.tensors),
        "parameters": str(report.parameters),
        "proved": str(report.proved),
        "keras_ratio": " ".join(f"{p.name}={p.ratio:.3f}" for p in parts if p.judged),
    }
    try:
        found = compare(
            checkpoint.library,
            fetched.path,
            checkpoint.arguments,
            target,
            options.inputs,
        )
    except NotComparedError as error:
        row["library"] = f"not compared: {error}"
    else:
        row["library"] = found.versions
        row["library_ratio"] = f"{found.ratio:.3f}"
        row["library_difference"] = f"{found.difference:.1e}"
        if not found.ok:
            row["reason"] = f"outputs differ from {checkpoint.library}'s"
            return
    row["status"] = "ok"


def fetch(checkpoint: Checkpoint, downloads: Path) -> Fetched:
    """Downloads a checkpoint, or finds it where it was downloaded to."""
    source = checkpoint.source
    if hub.is_hub(source):
        found = hub.locate(source)
        return Fetched(source, found.path, found.revision, digests(found.path))
    if not urlsplit(source).scheme.startswith("http"):
        return Fetched(Path(source), Path(source), "", digests(Path(source)))
    downloads.mkdir(parents=True, exist_ok=True)
    path = downloads / unquote(Path(urlsplit(source).path).name)
    if not path.exists():
        part = path.with_name(path.name + ".part")
        with urllib.request.urlopen(source) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        part.replace(path)
    digest = digests(path)
    stated = re.search(r"-([0-9a-f]{8})\.pth$", path.name)  # torch's hub says so
    if stated and not digest.startswith(stated[1]):
        path.unlink()
        raise ValueError(f"sha256 {digest[:8]}; the name says {stated[1]}")
    return Fetched(path, path, "", digest)


def digests(path: Path) -> str:
    """SHA-256 of a file; of a folder that of each file of weights, with its name."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith(WEIGHTS))
        found = [(file.name, digests(file)) for file in files]
        if len(found) == 1:
            return found[0][1]
        return " ".join(f"{name}={digest}" for name, digest in found)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> str:
    found = []
    for name in ("vit-duet", "keras", "tensorflow", "jax", "torch"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _first_lines(error: Exception) -> str:
    """The text of an error on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:4])[:400] or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
