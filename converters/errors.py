"""Why a conversion is refused, as data and as text."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["file", "config", "missing", "unexpected", "shape", "dtype", "value"]

KINDS: tuple[Kind, ...] = (
    "file",
    "config",
    "missing",
    "unexpected",
    "shape",
    "dtype",
    "value",
)
MAX_LINES = 14
MAX_NAME = 120


def printable(text: object, limit: int = MAX_NAME) -> str:
    """Text that cannot move the cursor: control characters escaped, length cut."""
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class Issue:
    """One reason why a file cannot be converted.

    Attributes:
        kind: What is wrong: the file itself, its config, or a tensor that is missing,
            unexpected, or has the wrong shape, dtype or values.
        name: Name of the tensor, or field of the config; empty for the file.
        found: What is there.
        expected: What should be there.
        near: A name on the other side that looks similar.
    """

    kind: Kind
    name: str
    found: str = ""
    expected: str = ""
    near: str = ""

    def to_dict(self) -> dict[str, str]:
        """All fields."""
        return {
            "kind": self.kind,
            "name": self.name,
            "found": self.found,
            "expected": self.expected,
            "near": self.near,
        }


class ConversionError(ValueError):
    """A conversion, or other work on a model, that was refused.

    Args:
        issues: Every problem found.
        file: The file they were found in; only its name is printed.
        dialect: How that file's tensors are named.
        causes: The likely common causes, most likely first.
        hint: What to do about it.

    Attributes:
        what: What was refused; said where there is no file.
        unwritten: Whether to say that nothing was written: of what would have written.
    """

    what = "conversion"
    unwritten = False

    def __init__(
        self,
        issues: Iterable[Issue],
        *,
        file: Path | str = "",
        dialect: str = "",
        causes: Iterable[str] = (),
        hint: str = "",
    ) -> None:
        self.issues = tuple(issues)
        self.file = Path(file).name if file else ""
        self.dialect = dialect
        self.causes = tuple(causes)
        self.hint = hint
        super().__init__(self._text())

    def __str__(self) -> str:
        return self._text()

    def to_json(self) -> str:
        """The problems as JSON, one line."""
        return json.dumps(
            {
                "ok": False,
                "file": self.file,
                "dialect": self.dialect,
                "issues": [issue.to_dict() for issue in self.issues],
                "causes": list(self.causes),
                "hint": self.hint,
            }
        )

    def _text(self) -> str:
        count = len(self.issues)
        where = printable(self.file) or self.what
        if self.dialect:
            where += f" ({self.dialect})"
        plural = "s" if count != 1 else ""
        written = ", nothing written" if self.unwritten else ""
        lines = [f"{where}: {count} problem{plural}{written}"]
        lines += [f"  {line}" for line in _screen(fold(self.issues))]
        lines += [f"Likely cause: {cause}" for cause in self.causes[:2]]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


@contextmanager
def named(what: str, unwritten: bool = False) -> Iterator[None]:
    """Says of refusals what was refused; of calls in calls, the outermost one counts.

    Args:
        what: The work, as a noun.
        unwritten: Whether it writes, and leaves nothing behind where it is refused.
    """
    try:
        yield
    except ConversionError as error:
        error.what, error.unwritten = what, unwritten
        raise


def refusal(
    message: str, *, file: Path | str = "", hint: str = "", kind: Kind = "file"
) -> ConversionError:
    """A `ConversionError` with one problem that is no tensor's."""
    return ConversionError([Issue(kind, "", found=message)], file=file, hint=hint)


def fold(issues: Iterable[Issue]) -> list[str]:
    """One line per problem; blocks share a line when all but the index is equal."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for issue in issues:
        name, index = _template(issue.name)
        near, near_index = _template(issue.near)
        if near_index != index:
            near = issue.near
        detail = (issue.found, issue.expected, near)
        groups.setdefault((issue.kind, name, *detail), []).append(index)
    order = {kind: position for position, kind in enumerate(KINDS)}
    keys = sorted(groups, key=lambda key: order[key[0]])  # type: ignore[index]
    return [_line(*key, _ranges(groups[key])) for key in keys]  # type: ignore[call-arg]


def _screen(lines: list[str]) -> list[str]:
    """As many lines as fit, some of every kind of problem."""
    if len(lines) <= MAX_LINES:
        return lines
    kinds = [line.split()[0] for line in lines]
    share = max(2, MAX_LINES // len(set(kinds)))
    shown = []
    for kind in dict.fromkeys(kinds):
        own = [line for line, of in zip(lines, kinds, strict=True) if of == kind]
        shown += own[:share]
        if len(own) > share:
            shown.append(f"{'':<10}  ... and {len(own) - share} more like these")
    return shown


def _line(
    kind: str, name: str, found: str, expected: str, near: str, blocks: str
) -> str:
    parts = [f"{kind:<10}"]
    if name:
        parts.append(printable(name.replace("\0", blocks)))
    if expected:
        parts += [f"found {printable(found, 300)};"] if found else []
        parts.append(f"expected {printable(expected, 300)}")
    elif found:
        parts.append(printable(found, 300))
    if near:
        parts.append(f'(similar: "{printable(near.replace(chr(0), blocks))}")')
    return "  ".join(parts)


def _template(name: str) -> tuple[str, int]:
    """Puts NUL for the block index of a name, and returns the index (-1: none)."""
    for mark, end in (("blocks.", "."), ("blocks_", "/"), ("blocks/block_", "/")):
        head, found, rest = name.partition(mark)
        digits, slash, tail = rest.partition(end)
        if found and slash and digits.isdecimal() and len(digits) < 6:
            return f"{head}{mark}\0{end}{tail}", int(digits)
    return name, -1


def _ranges(numbers: list[int]) -> str:
    """`[0, 1, 2, 5]` -> `"{0-2,5}"`; a single one stands plain."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    text = ",".join(texts)
    return text if text.isdecimal() else f"{{{text}}}"
