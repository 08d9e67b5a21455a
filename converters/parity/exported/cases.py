"""The user's own cases, decided by an exported or served B.

It gets them prepared, as the torch twin of A does. Its own preprocessing is judged on
other pictures and volumes (`serve_bytes`).
"""

from __future__ import annotations

from converters.errors import ConversionError
from converters.extras import MissingExtraError
from converters.parity.case_list import Case
from converters.parity.case_run import FILE, ask_reference, missing, tallied, written
from converters.parity.decisions import Rule
from converters.parity.exported.operand import Exported
from converters.parity.exported.run import ask_cases, in_a_line
from converters.parity.operands import Opened
from converters.parity.plan import Plan
from converters.parity.record import CaseSummary, Check
from converters.workers.process import ProcessError


def run_exported_cases(
    plan: Plan, rule: Rule, cases: tuple[Case, ...], a: Opened, b: Exported
) -> tuple[list[CaseSummary], list[Check]]:
    """Decisions of the torch twin of A, and of B.

    Raises:
        ConversionError: If a case cannot be read.
    """
    found = written(cases, a.config, plan.folder / FILE)
    try:
        reference = ask_reference(plan, a)
    except ProcessError as error:
        return [], [missing("the torch twin", str(error))]
    try:
        outputs = ask_cases(b, a.config, plan.folder, FILE)
    except (ProcessError, ConversionError, MissingExtraError) as error:
        return [], [missing(b.label, in_a_line(error))]
    return tallied(found, rule, reference, {b.label: outputs}), []
