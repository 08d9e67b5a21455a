"""Canonical tensors from a file that was checked, into a file that is proved."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.checks.source import Checked
from converters.checks.tensors import check_tensors, check_values
from converters.conversion.report import ConversionReport, Verify
from converters.errors import ConversionError, Issue
from converters.files import open_reader, space_needed, write
from converters.files.atomic import atomic, check_output, check_space
from converters.files.base import Raw, Reader
from converters.mapping.pipe import Pipe, Watched, fingerprint
from converters.reports.phases import PROVING, WRITING, Phases

if TYPE_CHECKING:
    from converters.libraries.variant import Variant


def write_checked(
    found: Checked,
    target: Path,
    *,
    source: Path,
    kind: str,
    variant: Variant | None = None,
    raw: Raw | None = None,
    force: bool = False,
    verify: Verify = "weights",
    backend: str = "",
    tick: Callable[[int], None] = lambda count: None,
    phases: Phases | None = None,
) -> ConversionReport:
    """Writes canonical tensors to a file that is proved before it gets its name.

    With a `variant` the file is safetensors under that dialect's names; with `raw` a
    `.keras` has its preprocessing inside. What is proved,
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
    phases = phases or Phases()
    phases(WRITING)
    with atomic(target, force=force) as path:
        if variant is None:
            weights = Watched(found.source, tick)
            saved = write(path, kind, weights, found.config, raw)
            if verify != "none":
                phases(PROVING)
                proved = prove(path, kind, found, saved, tick)
        else:
            proved = write_foreign(path, variant, found, tick, verify != "none", phases)
        if verify == "logits":
            from converters.conversion.outputs import check_outputs

            inside = raw is not None
            outputs = check_outputs(
                path, kind, found.config, found.dtype, backend, inside, phases
            )
        size = path.stat().st_size
    return report_of(
        found,
        source=source,
        target=target,
        target_format=kind,
        raw=raw,
        target_dialect=variant.name if variant else "",
        bytes_written=size,
        proved=proved,
        verify=verify,
        outputs=outputs,
        seconds=time.perf_counter() - start,
        phases=phases.end(),
    )


def report_of(found: Checked, **written: Any) -> ConversionReport:
    """The report on a model that was written.

    Args:
        found: What was written.
        **written: The other fields, about the file or folder.
    """
    return ConversionReport(
        source_format="model",
        config=found.config,
        dtype=found.dtype,
        tensors=len(found.digests),
        parameters=found.parameters,
        bytes_read=found.nbytes,
        steps=found.steps,
        effects=found.effects,
        dropped=found.dropped,
        fingerprint=fingerprint(found.digests),
        **written,
    )


def check_computed(variant: Variant, found: Checked, source: Path) -> None:
    """Whether the dialect's library would compute what its file leaves out.

    Raises:
        ConversionError: If it would compute anything else.
    """
    from converters.sources.dialect_reader import computed_issues

    issues = computed_issues(variant, found.config, found.source, found.digests)
    if issues:
        raise ConversionError(issues, file=source, dialect=variant.name)


def write_foreign(
    path: Path,
    variant: Variant,
    found: Checked,
    tick: Callable[[int], None],
    verify: bool = True,
    phases: Callable[[str], None] = lambda name: None,
) -> int:
    """Writes a file in a dialect, reads it as a stranger's and compares all digests.

    Returns:
        The number of canonical tensors compared.

    Raises:
        ConversionError: If the model has no place in the dialect, or the proof fails.
    """
    from converters.files.safetensors_file import open_as_library, write_safetensors
    from converters.sources.dialect_reader import Foreign, fill_issues, written

    config = found.config
    foreign = Foreign(Watched(found.source, tick), config, variant)
    write_safetensors(path, foreign, config, variant.name)
    if not verify:
        return 0
    phases(PROVING)
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
