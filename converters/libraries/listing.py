"""What every dialect can read and write, and what it was checked against, as data.

All of it comes from the dialects themselves but for the evidence, which
`tools/make_evidence.py` counts in what the tests compare with. The same tool brings the
README's table up to date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from converters import libraries as dialects
from converters.conversion.folders import LIBRARIES
from converters.libraries.assumptions import TOPICS
from converters.libraries.config import DIALECTS as CONFIGS
from converters.libraries.variant import Variant
from converters.sources import live


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one version of a library was compared with.

    Attributes:
        library: The distribution, or the repository.
        version: Its version, or the commit.
        names: Models of which names, shapes and values in their files are recorded.
        outputs: Files that were converted, and gave the library's outputs in float64.
    """

    library: str
    version: str
    names: int
    outputs: int

    def __str__(self) -> str:
        parts = [f"names and values of {_models(self.names)}"] if self.names else []
        if self.outputs:
            count = self.outputs if self.names else _models(self.outputs)
            parts.append(f"outputs of {count}")
        return f"{self.version} ({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Listed:
    """One dialect.

    Attributes:
        name: What `--from` and `--to` call it.
        library: Whose files it means, in words.
        read: Variants that are recognised, by what stands behind the `@`; the
            dialect's own name where nothing does.
        told: Variants that are read where `--from` names them.
        written: Variants that `--to` takes.
        config: Whether the library's own arguments or `config.json` are read.
        folder: Whether `--to` also writes a folder that the library loads.
        live: Whether a model in memory is read.
        evidence: What it was compared with.
    """

    name: str
    library: str
    read: tuple[str, ...]
    told: tuple[str, ...]
    written: tuple[str, ...]
    config: bool
    folder: bool
    live: bool
    evidence: tuple[Evidence, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return asdict(self)

    def cells(self) -> dict[str, str]:
        """The fields in words, by heading."""
        read = [grouped(self.read)] if self.read else []
        if self.told:
            read.append(f"with `--from`: {grouped(self.told)}")
        also = ["folders"] if self.folder else []
        config = ["its own arguments or JSON"] if self.config else []
        config += ["live models"] if self.live else []
        return {
            "dialect": f"`{self.name}`",
            "of": self.library,
            "read": "; ".join(read),
            "written": "; ".join([self._written(), *also]),
            "configs from": ", ".join(config) or "`--preset`, `--set`",
            "checked against": "; ".join(self._checked()) or "nothing recorded",
        }

    def _written(self) -> str:
        every = (*self.read, *self.told)
        if not self.written:
            return "no"
        rest = [name for name in every if name not in self.written]
        more = [name for name in self.written if name not in every]
        text = f"all but {grouped(rest)}" if rest else "all"
        return f"{text}, and {grouped(more)}" if more else text

    def _checked(self) -> list[str]:
        """A text for each library, its versions in one."""
        by_library: dict[str, list[str]] = {}
        for entry in self.evidence:
            by_library.setdefault(entry.library, []).append(str(entry))
        return [f"{name} {', '.join(found)}" for name, found in by_library.items()]


def listed() -> tuple[Listed, ...]:
    """Every dialect, in the order of `dialects.NAMES`."""
    found = json.loads(
        files("converters.libraries").joinpath("evidence.json").read_text("utf-8")
    )
    rows = []
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        variants = dialect.variants
        rows.append(
            Listed(
                name,
                dialect.library,
                tuple(_short(v) for v in variants if v.signature and not v.told),
                tuple(_short(v) for v in variants if v.told),
                tuple(_short(v) for v in variants if v.export),
                dialect.config in CONFIGS,
                name in LIBRARIES,
                name in live.DIALECTS,
                tuple(Evidence(**entry) for entry in found.get(name, ())),
            )
        )
    return tuple(rows)


def markdown(rows: Iterable[Listed]) -> str:
    """The dialects as a table in Markdown."""
    cells = [row.cells() for row in rows]
    lines = [list(cells[0]), ["---"] * len(cells[0])]
    lines += [list(row.values()) for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(rows: Iterable[Listed]) -> str:
    """The dialects one below the other, for a terminal."""
    blocks = []
    for row in rows:
        cells = row.cells()
        lines = [f"{row.name}: {row.library}"]
        for label in list(cells)[2:]:
            parts = cells[label].replace("`", "").split("; ")
            lines.append(f"  {label:<16} {parts[0]}")
            lines += [f"  {'':<16} {part}" for part in parts[1:]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def assumptions_page() -> str:
    """What every variant takes for granted that leaves no tensor, as Markdown."""
    lines = [ASSUMPTIONS]
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        alike: dict[tuple[str, ...], list[str]] = {}
        for variant in dialect.variants:
            cells = tuple(str(variant.assumes[topic]) for topic in TOPICS)
            alike.setdefault(cells, []).append(_short(variant))
        lines += [f"\n## {name}\n", dialect.library + "."]
        for cells, names in alike.items():
            if len(alike) > 1:
                lines.append(f"\n{grouped(names)}:")
            words = (TOPICS[topic][0] for topic in TOPICS)
            lines.append("\n| | assumed, and what proves it |\n| --- | --- |")
            lines += [f"| {w} | {c} |" for w, c in zip(words, cells, strict=True)]
    return "\n".join(lines) + "\n"


ASSUMPTIONS = """\
# What leaves no tensor

Epsilon, activation, rotary positions, the place of a norm, windows: outputs depend on
them, and no tensor holds them. This page lists, for every dialect, what is assumed and
what proves it:

- *tensors*: names and shapes of the file;
- *code*: the library's code in the versions named, where all its models agree;
- *asked*: nothing does. The library's own config, a preset or `--set` has to say it,
  and a conversion is refused until then. `--set rope=null` states that queries and keys
  are not turned; `--set block=plain`, that norms come before attention and MLP and that
  every token attends to every other.

`tools/make_pages.py` makes this page from the dialects themselves."""


def grouped(names: Iterable[str]) -> str:
    """`("vit", "vit+memory", "deit")` -> `"vit (+memory), deit"`."""
    found: dict[str, list[str]] = {}
    for name in names:
        base, plus, rest = name.partition("+")
        found.setdefault(base, []).extend([plus + rest] if plus else [""])
    words = []
    for base, ends in found.items():
        more = ", ".join(end for end in ends if end)
        if "" not in ends:
            words += [base + end for end in ends]
        else:
            words.append(f"{base} ({more})" if more else base)
    return ", ".join(words)


def _short(variant: Variant) -> str:
    base, _, rest = variant.name.partition("@")
    return rest or base


def _models(count: int) -> str:
    return f"{count} model{'s' if count != 1 else ''}"
