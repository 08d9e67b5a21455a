"""Checks a source as a whole, takes the steps, and gives its canonical tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from converters.checks.causes import canonical_names, likely_causes
from converters.checks.tensors import Inspected, check_tensors
from converters.conversion.report import StepEffect
from converters.errors import ConversionError, Issue
from converters.files.base import Reader
from converters.mapping.pipe import Digests, Pipe, Source, TensorInfo, Watched
from converters.steps.asked import Steps
from converters.steps.chain import Chain
from converters.steps.fresh import forgive, missing
from converters.steps.stage import Stage
from vit_config import SourceConfig, ViTConfig


@dataclass(frozen=True)
class Checked:
    """Canonical tensors in which nothing wrong was found.

    Attributes:
        source: Serves them.
        config: Their config, with the steps taken.
        digests: Type, shape and SHA-256 of each.
        steps: Named one-way steps, in order.
        effects: What each of them did.
        dropped: Tensors of the file that a step left out, with the step.
    """

    source: Source
    config: ViTConfig
    digests: Digests
    steps: tuple[str, ...]
    effects: tuple[StepEffect, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        return sum(info.nbytes for info in self.source.tensors.values())

    @property
    def parameters(self) -> int:
        """Number of scalars in all tensors."""
        return sum(info.size for info in self.source.tensors.values())

    @property
    def dtype(self) -> str:
        """Type of all tensors."""
        return next(iter(self.source.tensors.values())).dtype


def checked(
    reader: Reader,
    *,
    asked: Steps | None = None,
    stages: Sequence[Stage] = (),
    tick: Callable[[int], None] = lambda count: None,
) -> Checked:
    """Checks a whole file: names, shapes, types, values; and takes the steps.

    Args:
        reader: The file.
        asked: Whether there is a cast, and what may be missing.
        stages: The other steps, planned for the file's config.
        tick: Called with the bytes read.

    Raises:
        ConversionError: With every problem found, and their likely cause.
    """
    asked = asked or Steps()
    config, plan = reader.config, reader.plan()
    issues = check_tensors(reader, plan, casting=asked.dtype is not None)
    issues, fresh = forgive(issues, plan, asked.allow_missing)
    bad = {issue.name for issue in issues}
    good = [
        step
        for step in plan.steps
        if not bad.intersection(step.sources) and not fresh.issuperset(step.targets)
    ]
    plan = replace(plan, steps=tuple(good))
    seen = Inspected(Pipe(Watched(reader, tick), plan), config)
    if issues:
        for name in plan.target_shapes:
            seen.read(name)
        raise _refused(issues + seen.issues, reader)
    if fresh:
        stages = (missing(config, tuple(fresh), asked.seed), *stages)
    chain = Chain(seen, stages, asked.dtype)
    wrong, digests = chain.digests()
    if seen.issues or wrong:
        raise _refused(seen.issues or wrong, reader)
    after = stages[-1].config if stages else config
    return Checked(
        source=Chain(Pipe(reader, plan), stages, asked.dtype, measure=False).source,
        config=with_steps(after, chain.texts),
        digests=digests,
        steps=chain.texts,
        effects=(*getattr(reader, "effects", ()), *chain.effects()),
        dropped=_left_out(reader, chain.effects()),
    )


def _refused(issues: list[Issue], reader: Reader) -> ConversionError:
    return ConversionError(
        issues,
        file=reader.path,
        dialect=reader.dialect,
        causes=_causes(issues, reader),
        hint=advice(issues, reader),
    )


def advice(issues: Sequence[Issue], reader: Reader) -> str:
    """What to do about tensors that no model has; nothing if that is not all."""
    extras = [issue.name for issue in issues if issue.kind == "unexpected"]
    known = getattr(reader, "advice", None)
    if known is None or not extras or any(i.kind == "missing" for i in issues):
        return ""
    return str(known(extras))


def _left_out(reader: Reader, effects: Iterable[StepEffect]) -> dict[str, str]:
    """Tensors of the file that no tensor of the result is made from."""
    sources = {
        name: [source for source in step.sources if source in reader.tensors]
        for step in reader.plan().steps
        for name in step.targets
    }
    return {
        source: effect.step
        for effect in effects
        for name in effect.dropped
        for source in sources.get(name, ())
    }


def with_steps(config: ViTConfig, steps: tuple[str, ...]) -> ViTConfig:
    """Notes one-way steps in the config's `source.steps`."""
    if not steps:
        return config
    source = config.source or SourceConfig()
    fields = {**source.model_dump(mode="json"), "steps": [*source.steps, *steps]}
    return config.replace(source=fields)


def _causes(issues: list[Issue], reader: Reader) -> list[str]:
    """The likely causes, in canonical terms whatever the dialect."""
    config = reader.config
    if reader.dialect == "canonical":
        return likely_causes(issues, reader.tensors, config)
    if reader.dialect != "keras":
        plan = reader.plan()
        names = {name: s.targets[0] for s in plan.steps for name in s.sources}
        found = {names.get(n, n): info for n, info in reader.tensors.items()}
        known = [replace(i, name=names.get(i.name, i.name)) for i in issues]
        return likely_causes(known, found, config)
    names = dict(canonical_names(config))
    found = {
        _canonical_name(name, names): TensorInfo(info.dtype, _torch_shape(name, info))
        for name, info in reader.tensors.items()
    }
    renamed = [replace(i, name=_canonical_name(i.name, names)) for i in issues]
    return likely_causes(renamed, found, config)


def _canonical_name(name: str, names: Mapping[str, str]) -> str:
    if name in names:
        return names[name]
    head, mark, rest = name.partition("blocks/block")
    if mark and not head:
        number, _, tail = rest.partition("/")
        name = f"blocks/{number.lstrip('_') or 0}/{tail}"
    layer, _, key = name.removeprefix("layers/").partition("/vars/")
    leaf = {"0": ".weight", "1": ".bias"}.get(key, key and f".{key}")
    return layer.replace("/", ".") + leaf if layer != "vars" else key


def _torch_shape(name: str, info: TensorInfo) -> tuple[int, ...]:
    shape = info.shape
    if name.endswith("kernel") and len(shape) > 1:
        return (shape[-1], shape[-2], *shape[:-2])
    return shape
