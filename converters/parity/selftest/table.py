"""Outcomes as a page of documentation: what finds which faults, and false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from converters.parity.decisions import upper_bound
from converters.parity.faults import BASES, FAULTS, families
from converters.parity.selftest.common_checks import COMMON, LARGEST_KL
from converters.parity.selftest.trial import Outcome

OURS: dict[str, Callable[[Outcome], bool]] = {
    "verify": lambda one: one.caught,
    "files": lambda one: bool({"weights", "config", "refused"} & set(one.found_by)),
    "outputs": lambda one: "logits" in one.found_by,
    "layers": lambda one: "layers" in one.found_by,
}
"""Whether a fault was found, by all of `verify` and by each level alone."""

NOTE = f"""\
`verify` is all of `--level layers`; *files* (weights, also in memory, and configs),
*outputs* and *layers* are what each of its parts finds alone. *Blame* counts the faults
of which nothing but the place is blamed; *first step* the same of the first wrong step,
of the faults that have one: what is known without comparing files. The common checks
get the same outputs on the same noise: `allclose` with rtol 1e-5 and the stated atol, a
KL divergence of at most {LARGEST_KL:g} nats for each input, and the same largest logit
for each input; the last two only of models with logits. Counts are faults **found**.
Where a fault changes which weights there are (one block more, no positions), these are
blamed beside the field, which counts as wrong here.
"""


def page(outcomes: Sequence[Outcome], versions: str, ran: str) -> str:
    """The whole page.

    Args:
        outcomes: Of faults, and of clean pairs.
        versions: Of the packages they were found with.
        ran: How.
    """
    faults = [one for one in outcomes if one.fault]
    clean = [one for one in outcomes if not one.fault]
    parts = [
        "# What `verify` finds, and what common checks miss",
        f"Written by `tools/report_faults.py`. {ran}",
        f"With {versions}.",
        "## Faults",
        f"{len(faults)} faults, fixed before the code that finds them "
        f"(`converters.parity.faults`), each done to those of {len(BASES)} small "
        "models that can have it: 2D and 3D, classification and features.",
        NOTE.strip(),
        table(faults),
        *_missed(faults),
        "## False alarms",
        *_alarms(clean),
    ]
    return "\n\n".join(parts) + "\n"


def table(faults: Sequence[Outcome]) -> str:
    """Faults found, by family and check."""
    head = ["family", "faults", *OURS, "blame", "first step", *COMMON]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for family in families():
        some = [one for one in faults if FAULTS[one.fault].family == family]
        if some:
            lines.append(_row(family, some))
    lines.append(_row("**all**", faults))
    return "\n".join(lines)


def _row(name: str, some: Sequence[Outcome]) -> str:
    cells = [name, str(len(some))]
    cells += [str(sum(map(found, some))) for found in OURS.values()]
    cells.append(str(sum(one.right is True for one in some)))
    steps = [one for one in some if one.step_right is not None]
    cells.append(_of(sum(one.step_right is True for one in steps), len(steps)))
    for check in COMMON:
        said = [one.common[check] for one in some if one.common.get(check) is not None]
        cells.append(_of(sum(not passed for passed in said), len(said)))
    return "| " + " | ".join(cells) + " |"


def _of(count: int, whole: int) -> str:
    return f"{count} of {whole}" if whole else "–"


def _missed(faults: Iterable[Outcome]) -> list[str]:
    faults = list(faults)
    missed = [one for one in faults if not one.caught]
    wrong = [one for one in faults if one.caught and not one.right]
    failed = [one for one in faults if one.problem]
    share = 1 - len(wrong) / max(1, len(faults) - len(missed))
    found = [
        f"Not found: {_listed(missed)}.",
        f"Blamed wrongly ({share:.1%} rightly): {_listed(wrong)}.",
    ]
    if failed:
        found.append(
            f"Of {len(failed)} the model could not compute at all, which is no pass "
            f"either: {_listed(failed)}."
        )
    return found


def _listed(some: Sequence[Outcome]) -> str:
    names = [f"`{one.fault}` ({one.base})" for one in some]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(names[:12]) + more) or "none"


def _alarms(clean: Sequence[Outcome]) -> list[str]:
    """How many correct pairs were not passed, and how near the limits they came."""
    if not clean:
        return ["No clean pairs were run."]
    alarms = [one for one in clean if not one.passed]
    bound = upper_bound(len(alarms), len(clean))
    lines = [
        "| backend | pairs | alarms | outputs | steps alone | from the input on |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for backend in dict.fromkeys(one.backend for one in clean):
        some = [one for one in clean if one.backend == backend]
        cells = [backend, str(len(some)), str(sum(not one.passed for one in some))]
        cells += [
            _largest(some, name)
            for name in ("outputs", "each step alone", "from the input on")
        ]
        lines.append("| " + " | ".join(cells) + " |")
    said = ", ".join(f"{one.base} on {one.backend}" for one in alarms) or "none"
    return [
        f"{len(clean)} correct pairs, their configs drawn over the whole schema, every "
        f"weight filled: {len(alarms)} not passed ({len(alarms) / len(clean):.2%}, "
        f"95 % upper bound {bound:.2%}): {said}.",
        "Ratios are RMS errors over the noise of float32; the limits are 2 for outputs "
        "and tokens, 8 for a step alone and for what is no tokens. Each column has the "
        "largest and, in brackets, what 99 of 100 pairs stay below.",
        "\n".join(lines),
    ]


def _largest(some: Sequence[Outcome], name: str) -> str:
    values = sorted(one.largest[name] for one in some if name in one.largest)
    if not values:
        return "–"
    return f"{values[-1]:.2f} ({values[int(0.99 * (len(values) - 1))]:.2f})"
