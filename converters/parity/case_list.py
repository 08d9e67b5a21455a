"""A user's own list of cases, read piece by piece.

The list is a CSV with the header `path,label` or `path`. Neither paths nor names leave
this module: a case is known by the SHA-256 of its file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError, Issue, printable, refusal
from converters.inputs.user_inputs import (
    Input,
    count_inputs,
    file_hash,
    read_inputs,
    unusable,
)
from converters.parity.decisions import Rule
from vit_config import ViTConfig


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the list.

    Attributes:
        line: Its number in the file.
        path: Of the input.
        label: Index of the class, 0 or 1 for a single output; None without.
    """

    line: int
    path: Path
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some cases in a row, ready for the models.

    Attributes:
        values: float32 (B, C, *spatial).
        cases: SHA-256 of each file.
        labels: Of each.
        notes: What reading them brought up, each once.
    """

    values: NDArray[np.float32]
    cases: tuple[str, ...]
    labels: tuple[int | None, ...]
    notes: tuple[str, ...]


def read_cases(path: Path, config: ViTConfig, rule: Rule) -> tuple[Case, ...]:
    """Reads the list, not the inputs it names.

    Args:
        path: A CSV in UTF-8, separated by commas. Relative paths in it start from its
            folder. A label is an index or one of `config.labels`; 0 or 1 where there is
            one output.
        config: Of the model.
        rule: How its outputs become decisions.

    Raises:
        ConversionError: With every line that is wrong, or for what is no such CSV.
    """
    cases: list[Case] = []
    issues: list[Issue] = []
    seen: dict[Path, int] = {}
    for line, row in _rows(path):
        file = path.parent / row["path"]
        problem = _unusable(file, row["path"])
        if not problem and (first := seen.setdefault(file.resolve(), line)) != line:
            problem = f"the same file as line {first}: a case counts once"
        try:
            label = _label(row.get("label", ""), config, rule)
        except ValueError as error:
            problem = problem or str(error)
        if problem:
            issues.append(Issue("value", f"line {line}", found=problem))
        else:
            cases.append(Case(line, file, label))
    if issues:
        raise ConversionError(issues, file=path)
    if not cases:
        raise refusal("a list without cases", file=path)
    return tuple(cases)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and fields of every line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header not in (["path"], ["path", "label"], ["label", "path"]):
                found = printable(",".join(header), 80)
                raise refusal(
                    f"header {found!r}; expected path,label or path", file=path
                )
            for row in reader:
                line = reader.line_num
                if not any(field.strip() for field in row):
                    continue
                if len(row) != len(header):
                    raise refusal(
                        f"line {line}: {len(row)} fields; the header has {len(header)}",
                        file=path,
                    )
                fields = (field.strip() for field in row)
                yield line, dict(zip(header, fields, strict=True))
    except UnicodeDecodeError:
        raise refusal("not UTF-8", file=path) from None
    except csv.Error as error:
        raise refusal(f"not a CSV: {error}", file=path) from None
    except OSError as error:
        raise refusal(f"unreadable: {error.strerror}", file=path) from None


def _unusable(file: Path, written: str) -> str:
    if not written or "\0" in written:
        return "no path"
    try:
        problem = unusable(file)
    except OSError as error:  # a name too long, a folder that may not be looked into
        return f"unreadable: {error.strerror}"
    return f"{problem.name}: {problem.found}" if problem else ""


def _label(text: str, config: ViTConfig, rule: Rule) -> int | None:
    if not text:
        return None
    if rule.kind == "each":
        raise ValueError(
            f"label {text!r}: several outputs may be a yes at once, so one label does "
            f"not say what is right; leave the column out"
        )
    count = max(config.num_classes, 2)  # no or yes
    if rule.kind == "largest" and config.labels and text in config.labels:
        if config.labels.count(text) > 1:
            raise ValueError(
                f"label {text!r} stands for several classes; give an index"
            )
        return config.labels.index(text)
    if text.isascii() and text.isdecimal() and int(text) < count:
        return int(text)
    named = ", or one of the config's labels" if config.labels else ""
    raise ValueError(f"label {text!r}; expected 0 to {count - 1}{named}")


def chunks(cases: Iterable[Case], config: ViTConfig, size: int = 16) -> Iterator[Chunk]:
    """Reads the inputs of cases, a few in memory at a time.

    Args:
        cases: What `read_cases` gives.
        config: Of the model.
        size: Cases of a chunk; the last may have fewer.

    Raises:
        ConversionError: As `read_inputs`; also for a file of several inputs, and for
            two files with the same bytes.
    """
    seen: dict[str, int] = {}
    waiting: list[Case] = []
    for case in cases:
        digest = file_hash(case.path)
        if (first := seen.setdefault(digest, case.line)) != case.line:
            raise refusal(
                f"line {case.line}: the same content as line {first}: a case counts "
                f"once",
                file=case.path,
            )
        waiting.append(case)
        if len(waiting) == size:
            yield _chunk(waiting, config)
            waiting.clear()
    if waiting:
        yield _chunk(waiting, config)


def _chunk(cases: list[Case], config: ViTConfig) -> Chunk:
    inputs: list[Input] = []
    for case in cases:
        if (count := count_inputs(case.path, config)) > 1:
            raise refusal(
                f"line {case.line}: {count} inputs in one file; a case is one",
                file=case.path,
            )
        inputs += read_inputs(case.path, config)
    return Chunk(
        values=np.stack([one.values for one in inputs]),
        cases=tuple(one.case for one in inputs),
        labels=tuple(case.label for case in cases),
        notes=tuple(dict.fromkeys(note for one in inputs for note in one.notes)),
    )
