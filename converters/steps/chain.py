"""All steps of a conversion, one behind the other, and the cast where it belongs."""

from __future__ import annotations

from collections.abc import Sequence

from converters.checks.tensors import overflow_problem
from converters.conversion.report import StepEffect
from converters.errors import Issue
from converters.mapping.pipe import Cast, Digests, Source
from converters.mapping.stream import Hasher, ahead
from converters.steps.rounding import Rounding
from converters.steps.stage import Stage, Staged

_NAMED = 8

Link = tuple[str, Stage | None, Staged | None, Rounding | None]


class Chain:
    """Canonical tensors after every step.

    Args:
        source: Those of the file.
        stages: The steps, in order.
        dtype: The type to cast to, or None.
        measure: Whether to measure how far roundings move the values.

    Attributes:
        source: Serves the tensors after the last step.
        texts: Every step taken, in order.
    """

    def __init__(
        self,
        source: Source,
        stages: Sequence[Stage],
        dtype: str | None,
        measure: bool = True,
    ) -> None:
        self.source, self._measure = source, measure
        self._links: list[Link] = []
        kinds = {info.dtype for info in source.tensors.values()}
        widens = dtype == "float32" and "float64" not in kinds
        if widens:
            self._cast(dtype)
        for stage in stages:
            self._take(stage)
        if not widens:
            self._cast(dtype)
        self.texts = tuple(text for text, *_ in self._links)

    def _take(self, stage: Stage) -> None:
        rounding = Rounding() if stage.measured and self._measure else None
        staged = Staged(self.source, stage, rounding.add if rounding else None)
        self._links.append((stage.text, stage, staged, rounding))
        self.source = staged

    def _cast(self, dtype: str | None) -> None:
        infos = self.source.tensors.values()
        if dtype is None or all(info.dtype == dtype for info in infos):
            return
        rounding = Rounding() if self._measure else None
        self._links.append((f"cast_{dtype}", None, None, rounding))
        self.source = Cast(self.source, dtype, rounding.add if rounding else None)

    def digests(self) -> tuple[list[Issue], Digests]:
        """Reads every tensor once: what became infinite on the way, and the digests."""
        issues = []
        with ahead(self.source, self.source.tensors) as arrays, Hasher() as hasher:
            for name, array in arrays:
                problem = overflow_problem(array) if self._links else ""
                if problem:
                    issues.append(Issue("value", name, problem))
                hasher.add(name, array)
            return issues, hasher.digests()

    def effects(self) -> tuple[StepEffect, ...]:
        """What each step did; the figures are complete after `digests`."""
        return tuple(
            StepEffect(
                step=text,
                notes=(
                    *(stage.notes if stage else ()),
                    *_left_out(staged, stage),
                    *((str(rounding),) if rounding else ()),
                ),
                drawn=stage.drawn if stage else (),
                dropped=staged.gone if staged else (),
                rounding=rounding.to_dict() if rounding else {},
            )
            for text, stage, staged, rounding in self._links
        )


def _left_out(staged: Staged | None, stage: Stage | None) -> tuple[str, ...]:
    """The names of what a step leaves out, some of them if there are many."""
    if staged is None or stage is None or stage.drawn or not staged.gone:
        return ()
    names = list(staged.gone)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (f"left out: {', '.join(names[:_NAMED])}{more}",)
