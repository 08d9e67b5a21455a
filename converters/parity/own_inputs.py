"""The user's own inputs of a verification: written for the processes, and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.inputs.user_inputs import Written, find_inputs, write_inputs
from converters.parity.findings import Findings
from converters.parity.plan import OWN_FILE
from converters.parity.record import Check
from converters.parity.run import Run
from vit_config import ViTConfig

MOST_INPUTS = 1024
"""Own inputs are compared whole; more of them belong into a list of cases."""


def own_inputs(
    paths: Sequence[Path], config: ViTConfig, folder: Path
) -> Written | None:
    """Writes the user's own inputs where the processes find them."""
    if not paths:
        return None
    listed = find_inputs(paths)
    own = write_inputs(folder / OWN_FILE, listed.files, config, MOST_INPUTS)
    notes = (*own.notes, *filter(None, [listed.note()]))
    return Written(own.cases, notes)


def note_inputs(found: Findings, ran: Run, own: Written | None) -> None:
    """Keeps how many they are, and what was done to them."""
    if own is not None:
        ran.own_inputs = len(own.cases)
        found.checks += [
            Check(level="logits", name="own inputs", status="reported", message=note)
            for note in own.notes
        ]
