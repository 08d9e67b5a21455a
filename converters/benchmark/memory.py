"""The most memory that this process has had."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_bytes() -> int:
    """Largest resident size so far, in bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `getrusage`: a process begins with the peak of the one that started it.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
