"""What a file holds beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.errors import printable
from converters.files.class_names import ClassNames

_SHOWN = 6


@dataclass(frozen=True)
class OtherContents:
    """Everything of a file that is not the weights of the model.

    Attributes:
        aside: What was left aside, by name: the kind of each thing.
        labels: Lists of class names, which are offered and never taken unasked.
        unchecked: Why damage to the file would not be seen, or an empty text.
    """

    aside: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[ClassNames, ...] = ()
    unchecked: str = ""

    def rows(
        self, num_classes: int | None = None, labels: tuple[str, ...] | None = None
    ) -> list[tuple[str, str]]:
        """The same in words, a label and a line each.

        Args:
            num_classes: How many classes the model has; None if that is not known.
            labels: The labels that its config has.
        """
        rows = []
        if self.aside:
            listed = [
                f"{printable(name, 60)} ({kind})"
                for name, kind in list(self.aside.items())[:_SHOWN]
            ]
            more = len(self.aside) - len(listed)
            tail = f" and {more} more" if more else ""
            rows.append(("left aside", ", ".join(listed) + tail))
        rows += [
            ("labels", f"in the file: {names.describe(num_classes)}")
            for names in self.labels
            if labels is None or labels != names.names
        ]
        if self.unchecked:
            rows.append(("checksums", self.unchecked))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        return {
            "left_aside": dict(self.aside),
            "labels_in_file": [names.to_dict() for names in self.labels],
            "unchecked": self.unchecked,
        }


def others_of(reader: Any) -> OtherContents:
    """What an open file holds beside the weights, if its format can hold anything."""
    found = getattr(reader, "others", None)
    return found if isinstance(found, OtherContents) else OtherContents()


def together(parts: Iterable[Any]) -> OtherContents:
    """What several open files hold beside the weights."""
    found = [others_of(part) for part in parts]
    return OtherContents(
        {name: kind for one in found for name, kind in one.aside.items()},
        tuple(dict.fromkeys(names for one in found for names in one.labels)),
        next((one.unchecked for one in found if one.unchecked), ""),
    )
