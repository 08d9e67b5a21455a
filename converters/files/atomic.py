"""A file is there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters.errors import refusal
from converters.wording import options


def check_output(target: Path, sources: tuple[Path, ...], force: bool) -> None:
    """Refuses a target that cannot, or must not, be written.

    Raises:
        ConversionError: If it is the source, exists, or its folder does not.
    """
    if not target.parent.is_dir():
        raise refusal(f"no such folder: {target.parent}", file=target)
    for source in sources:
        with suppress(OSError):
            if target.samefile(source):
                raise refusal("this is the source itself", file=target)
    if target.is_dir():
        raise refusal("a folder, not a file", file=target)
    if os.path.lexists(target) and not force:
        raise refusal(
            "exists already",
            file=target,
            hint=f"Replace it with {options(force=True)}.",
        )
    if not os.access(target.parent, os.W_OK):
        raise refusal("its folder cannot be written to", file=target)


def check_space(folder: Path, needed: int) -> None:
    """Refuses to begin what cannot fit.

    Raises:
        ConversionError: If the disk has less than that free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise refusal(
            f"the disk has {free / 1e6:,.0f} MB left, {needed / 1e6:,.0f} MB are needed"
        )


@contextmanager
def atomic(target: Path, *, force: bool) -> Iterator[Path]:
    """A new file in the target's folder that becomes the target at the very end.

    Whatever happens before, error or interrupt, leaves the folder as it was.

    Args:
        target: What the file will be called.
        force: Whether a file of that name may be replaced.

    Yields:
        The path to write to.
    """
    with scratch(target) as path:
        yield path
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o666 & ~umask)
        sync(path)
        check_output(target, (), force)
        path.replace(target)
        sync(target.parent)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """An empty file beside the target, gone at the end unless it was renamed."""
    handle, name = tempfile.mkstemp(
        prefix=".vit-duet-", suffix=".tmp", dir=target.parent
    )
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync folders
            raise
    finally:
        os.close(handle)
