"""The verdict in one sentence."""

from __future__ import annotations

from collections.abc import Iterable

from converters.parity.identity import STATED
from converters.parity.record import LIVE, Check, Level, Verdict


def sentence(verdict: Verdict, checks: Iterable[Check], level: Level) -> str:
    """What was found, for somebody who reads nothing else."""
    checks = list(checks)
    if verdict == "failed":
        failed = [check for check in checks if check.status == "failed"]
        first = failed[0]
        what = f"{first.name}{_on(first)}"
        about = f" ({first.subject})" if first.subject not in ("", "B") else ""
        more = f"; {len(failed) - 1} more checks failed" if len(failed) > 1 else ""
        if all(check.subject.endswith(LIVE) for check in failed):
            role = first.subject[0]
            return (
                f"The {LIVE} {role} is not what its weights and config say: {what}: "
                f"{first.message}{more}."
            )
        if all(check.meaning == "source" for check in failed):
            return (
                "What was read of A is not the original library's model: "
                f"{what}{about}: {first.message}{more}."
            )
        return f"B is not the same model as A: {what}{about}: {first.message}{more}."
    parts = []
    if any(check.level == "weights" and check.same_bits for check in checks):
        parts.append("all weights have the same bits")
    worst = _worst(checks)
    if worst is not None:
        parts.append(
            f"the largest error of {worst.name} is {worst.ratio:.2f} times float "
            f"rounding (at most {worst.limit:g})"
        )
    same = [c for c in checks if c.level == "logits" and c.subject != "B"]
    if same and all(check.same_bits for check in same):
        parts = [*parts[:1], "all outputs have the same bits"]
    if verdict == "passed":
        said = f"B is the same model as A up to {level}: {', '.join(parts)}."
        return " ".join([said, *_untested(checks)])
    left = [check for check in checks if check.status == "not checked"]
    if not left:
        return "Nothing was judged."
    about = ", ".join(dict.fromkeys(check.subject or check.name for check in left))
    found = f": {', '.join(parts)}" if parts else ""
    said = f"Not everything was checked (missing: {about}); nothing differed{found}."
    return " ".join([said, *_untested(checks)])


def _untested(checks: Iterable[Check]) -> list[str]:
    """What both sides were told, which no comparison of them can tell from wrong."""
    return [
        f"{one.message[:1].upper()}{one.message[1:]}."
        for one in checks
        if one.name == STATED
    ]


def _worst(checks: Iterable[Check]) -> Check | None:
    judged = [c for c in checks if c.level == "logits" and c.ratio and c.limit]
    return max(judged, key=lambda check: check.ratio or 0.0, default=None)


def _on(check: Check) -> str:
    if not check.inputs:
        return ""
    return f"{',' if check.name.endswith(' on') else ' on'} {check.inputs}"
