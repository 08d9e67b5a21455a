"""A folder is there whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from converters.errors import printable, refusal
from converters.files.atomic import sync
from converters.wording import options

_OURS = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?|(preprocessor_)?config\.json"
    r"|(model|task)\.weights\.h5|(metadata|task)\.json"
)
"""Names of the files that such a folder has; no other file is ever removed."""


def check_folder(target: Path, sources: tuple[Path, ...], force: bool) -> None:
    """Refuses a folder that cannot, or must not, be written.

    A folder that holds anything but a model is not touched, `force` or not.

    Raises:
        ConversionError: If it is the source or around it, holds what is not replaced,
            or its own folder does not exist.
    """
    if not target.parent.is_dir():
        raise refusal(f"no such folder: {target.parent}", file=target)
    if target.name in ("", ".."):
        raise refusal("name the folder itself; it is made anew", file=target)
    if os.path.lexists(target) and not target.is_dir():
        raise refusal("a file, not a folder", file=target)
    for source in sources:
        with suppress(OSError):
            # The hub's cache links its files: the link lies in the folder, too.
            places = source.resolve(), source.parent.resolve() / source.name
            inside = any(place.is_relative_to(target.resolve()) for place in places)
            if target.is_dir() and inside:
                raise refusal("the source lies in it", file=target)
    if target.is_symlink():
        raise refusal("a link to a folder; name the folder itself", file=target)
    held = sorted(p.name for p in target.iterdir()) if target.is_dir() else []
    others = [name for name in held if not _OURS.fullmatch(name)]
    if others:
        raise refusal(
            f'holds other files: "{printable(others[0])}"',
            file=target,
            hint="Choose a new folder, or take them out first.",
        )
    check_replaced(target, bool(held), force)


def check_replaced(target: Path, held: bool, force: bool) -> None:
    """Refuses to replace a folder unasked, or where nothing can be written.

    Args:
        target: The folder.
        held: Whether something is in it.
        force: Whether it may be replaced.

    Raises:
        ConversionError: If so.
    """
    if held and not force:
        raise refusal(
            "exists already and is not empty",
            file=target,
            hint=f"Replace it with {options(force=True)}.",
        )
    if not os.access(target.parent, os.W_OK):
        raise refusal("its folder cannot be written to", file=target)


@contextmanager
def atomic_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """A new folder beside the target that takes its place at the very end.

    Whatever happens before, error or interrupt, leaves the target as it was.

    Args:
        target: What the folder will be called.
        force: Whether a model that is there may be replaced.

    Yields:
        The folder to write to.
    """
    with beside(target, lambda: check_folder(target, (), force)) as new:
        new.mkdir()
        yield new


@contextmanager
def beside(target: Path, check: Callable[[], None]) -> Iterator[Path]:
    """A path of the target's name in a folder beside it, moved there at the end.

    Whatever happens before, error or interrupt, leaves the target as it was.

    Args:
        target: What the file or folder will be called.
        check: Whether it may be written, looked at once more at the end.

    Yields:
        Where to write it; nothing is there yet.
    """
    work = Path(tempfile.mkdtemp(prefix=".vit-duet-", suffix=".tmp", dir=target.parent))
    made, old = work / "new" / target.name, work / "old"
    try:
        made.parent.mkdir()
        yield made
        for path in (made, *made.rglob("*")):
            sync(path)
        check()
        if target.is_dir():
            target.rename(old)
        made.replace(target)
        sync(target.parent)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(work, ignore_errors=True)
