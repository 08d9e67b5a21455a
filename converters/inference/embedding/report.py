"""What was embedded, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import printable
from converters.inference.predictions import Failure


@dataclass(frozen=True)
class EmbedReport:
    """What was embedded.

    Attributes:
        out: The folder that was written.
        files: How many files there are.
        rows: How many of them have a row.
        unreadable: The others, and why.
        shards: How many files hold the rows.
        file_format: Kind of these files.
        tensors: Shape of one row of each tensor.
        resumed: Files that an earlier run had done.
        library: What computed, with its version.
        fingerprint: SHA-256 over the model's canonical weights.
        model_fingerprint: SHA-256 over weights and architecture.
        seconds: Time that this run took.
    """

    out: Path
    files: int
    rows: int
    unreadable: tuple[Failure, ...]
    shards: int
    file_format: str
    tensors: Mapping[str, tuple[int, ...]]
    resumed: int
    library: str
    fingerprint: str
    model_fingerprint: str
    seconds: float = field(compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; of the folder only its name."""
        return {
            "ok": True,
            "out": self.out.name,
            "files": self.files,
            "rows": self.rows,
            "unreadable": [failure.to_dict() for failure in self.unreadable],
            "shards": self.shards,
            "file_format": self.file_format,
            "tensors": {name: list(shape) for name, shape in self.tensors.items()},
            "resumed": self.resumed,
            "library": self.library,
            "fingerprint": self.fingerprint,
            "model_fingerprint": self.model_fingerprint,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        made = self.files - self.resumed
        shapes = (
            f"{name} {' x '.join(map(str, shape))}"
            for name, shape in self.tensors.items()
        )
        rows = [
            (
                "out",
                f"{printable(self.out.name)}: {self.shards} {self.file_format}, "
                "an index",
            ),
            ("rows", f"{self.rows} of {self.files} files, each {', '.join(shapes)}"),
            ("this run", f"{made} files in {self.seconds:.1f} s, loading included"),
            ("by", self.library),
            ("fingerprint", self.fingerprint),
        ]
        if self.resumed:
            rows.insert(2, ("found", f"{self.resumed} files were done before"))
        text = [f"{label:<12} {value}" for label, value in rows]
        if self.unreadable:
            text.append(f"{len(self.unreadable)} files could not be read:")
            text += [f"  {printable(f.file, 400)}: {f.reason}" for f in self.unreadable]
        return "\n".join(text)
