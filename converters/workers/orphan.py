"""Ends a process when the one that started it is gone, however it went.

A parent that is killed cleans nothing up, and its worker would go on computing for
nobody. The parent holds the other end of this process' standard input: when it closes,
there is nobody left.
"""

from __future__ import annotations

import os
import sys
import threading

WATCHED = "VIT_DUET_PARENT"
"""Set in the environment of a process whose standard input its parent holds open."""

ORPHANED = 70


def leave_with_parent() -> None:
    """Watches for the end of the parent; does nothing in a process started by hand."""
    if os.environ.pop(WATCHED, None) is not None:
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(ORPHANED)
