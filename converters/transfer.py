"""Canonical tensors from a file that was checked, into a file that is proved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.causes import canonical_names, likely_causes
from converters.checks import Inspected, check_tensors, check_values
from converters.engine import (
    Digests,
    Pipe,
    Source,
    TensorInfo,
    Watched,
    fingerprint,
)
from converters.files import open_reader, space_needed, write
from converters.files.atomic import atomic, check_output, check_space
from converters.files.base import Reader
from converters.report import (
    ConversionError,
    ConversionReport,
    Issue,
    StepEffect,
    Verify,
)
from converters.steps.asked import Steps
from converters.steps.chain import Chain
from converters.steps.fresh import forgive, missing
from converters.steps.stage import Stage
from vit_config import SourceConfig, ViTConfig

if TYPE_CHECKING:
    from converters.dialects.base import Variant


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
        effects=chain.effects(),
        dropped=_left_out(reader, chain.effects()),
    )


def _refused(issues: list[Issue], reader: Reader) -> ConversionError:
    return ConversionError(
        issues,
        file=reader.path,
        dialect=reader.dialect,
        causes=_causes(issues, reader),
    )


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


def write_checked(
    found: Checked,
    target: Path,
    *,
    source: Path,
    kind: str,
    variant: Variant | None = None,
    force: bool = False,
    verify: Verify = "weights",
    backend: str = "",
    tick: Callable[[int], None] = lambda count: None,
) -> ConversionReport:
    """Writes canonical tensors to a file that is proved before it gets its name.

    With a `variant` the file is safetensors under that dialect's names. What is proved,
    `verify` says, see `converters.convert`; `"logits"` needs Keras' `backend`.

    Raises:
        ConversionError: If the target may not be written, or the proof fails.
    """
    start = time.perf_counter()
    check_output(target, (source,), force)
    if variant is not None:
        check_computed(variant, found, source)
    check_space(target.parent, space_needed(found.nbytes))
    proved, outputs = 0, None
    with atomic(target, force=force) as path:
        if variant is None:
            saved = write(path, kind, Watched(found.source, tick), found.config)
            if verify != "none":
                proved = prove(path, kind, found, saved, tick)
        else:
            proved = write_foreign(path, variant, found, tick, verify != "none")
        if verify == "logits":
            from converters.parity.verify import check_outputs

            outputs = check_outputs(path, kind, found.config, found.dtype, backend)
        size = path.stat().st_size
    return ConversionReport(
        source=source,
        target=target,
        source_format="model",
        target_format=kind,
        target_dialect=variant.name if variant else "",
        config=found.config,
        dtype=found.dtype,
        tensors=len(found.digests),
        parameters=found.parameters,
        bytes_read=found.nbytes,
        bytes_written=size,
        proved=proved,
        verify=verify,
        outputs=outputs,
        steps=found.steps,
        effects=found.effects,
        dropped=found.dropped,
        fingerprint=fingerprint(found.digests),
        seconds=time.perf_counter() - start,
    )


def check_computed(variant: Variant, found: Checked, source: Path) -> None:
    """Whether the dialect's library would compute what its file leaves out.

    Raises:
        ConversionError: If it would compute anything else.
    """
    from converters.dialects.reading import computed_issues

    issues = computed_issues(variant, found.config, found.source, found.digests)
    if issues:
        raise ConversionError(issues, file=source, dialect=variant.name)


def write_foreign(
    path: Path,
    variant: Variant,
    found: Checked,
    tick: Callable[[int], None],
    verify: bool = True,
) -> int:
    """Writes a file in a dialect, reads it as a stranger's and compares all digests.

    Returns:
        The number of canonical tensors compared.

    Raises:
        ConversionError: If the model has no place in the dialect, or the proof fails.
    """
    from converters.dialects.reading import Foreign, fill_issues, written
    from converters.files.safetensors_file import open_as_library, write_safetensors

    config = found.config
    foreign = Foreign(Watched(found.source, tick), config, variant)
    write_safetensors(path, foreign, config, variant.name)
    if not verify:
        return 0
    open_as_library(path, foreign)
    with written(path, variant, config) as reader:
        issues = fill_issues(reader, variant, config)
        issues = issues or check_tensors(reader, reader.plan())
        issues = issues or differences(reader, found, tick)
        if issues:
            raise ConversionError(issues, file=path, dialect=variant.name)
    return len(found.digests)


def prove(
    path: Path,
    kind: str,
    found: Checked,
    saved: dict[str, list[Any]],
    tick: Callable[[int], None],
) -> int:
    """Reads a written file like any other, maps it back and compares all digests.

    Returns:
        The number of tensors compared.

    Raises:
        ConversionError: If any tensor is not the source's.
    """
    with open_reader(path, found.config, kind) as reader:
        issues = check_tensors(reader, reader.plan())
        if not issues:
            issues = [
                *_second_opinion(reader, found, saved),
                *differences(reader, found, tick),
            ]
        if issues:
            raise ConversionError(
                issues,
                file=path,
                dialect=reader.dialect,
                causes=["the source changed meanwhile, the disk is faulty, or a bug"],
            )
    return len(found.digests)


def _second_opinion(
    reader: Reader, found: Checked, saved: dict[str, list[Any]]
) -> list[Issue]:
    """What others will see: the safetensors library, the guard of the Keras twin."""
    if reader.format == "safetensors":
        from converters.files.safetensors_file import open_as_library

        open_as_library(reader.path, found.source)
        return []
    from converters.files.h5_file import WeightsH5Reader

    if not isinstance(reader, WeightsH5Reader) or reader.digests != saved:
        return [Issue("file", "", "the digests beside the weights were not written")]
    reader.verify = False  # the weights themselves are compared with the source
    return []


def differences(
    reader: Reader, found: Checked, tick: Callable[[int], None]
) -> list[Issue]:
    """Canonical tensors of which a reader does not give the bits that were checked."""
    back = Pipe(Watched(reader, tick), reader.plan())
    issues, digests = check_values(back, found.config, found.digests)
    return issues + [
        Issue("value", name, "the written values are not those of the source")
        for name, digest in found.digests.items()
        if digests[name] != digest
    ]


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
