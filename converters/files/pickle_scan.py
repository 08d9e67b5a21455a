"""Goes through the instructions of a pickle, without following them.

Before a pickle is read its size is known, but not what it makes of it: a table as long
as a number in it, or values so deeply nested that Python's stack ends.
"""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

from converters.errors import printable, refusal

MAX_OPCODES = 20_000_000
MAX_NESTING = 5_000


def scan(data: bytes) -> None:
    """Refuses what would take memory, time or stack beyond the size of the pickle.

    Raises:
        UnpicklingError: With what that is.
        ValueError: If it is no pickle.
    """
    nesting = _Nesting()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        role = ROLES[opcode.name]
        if role == "push":  # what most instructions are
            nesting.depths.append(0)
            continue
        if count > MAX_OPCODES:
            raise pickle.UnpicklingError(f"more than {MAX_OPCODES} instructions")
        if role == "put" and (argument or 0) > count:  # the table is as long
            raise pickle.UnpicklingError(f"a memo numbered {argument}")
        if role == "extension":
            raise pickle.UnpicklingError("an extension code")
        nesting.follow(opcode.name, role, argument)


class _Nesting:
    """How deeply values are nested: Python recurses into a tuple that is a key.

    A dict or list counts as it was when it was noted in the memo, as neither can be a
    key. What a broken pickle lacks is left to the unpickler to say.

    Attributes:
        depths: Depth of each value on the stack.
    """

    def __init__(self) -> None:
        self.depths: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[Any, int] = {}

    def follow(self, name: str, role: str, argument: Any) -> None:
        """Does to the depths what an instruction does to the values."""
        depths = self.depths
        if role == "mark":
            self._marks.append(len(depths))
        elif role == "get":
            depths.append(self._memo.get(argument, 0))
        elif role == "put":
            key = len(self._memo) if name == "MEMOIZE" else argument
            self._memo[key] = depths[-1] if depths else 0
        else:
            taken, marked, given = _EFFECTS[name]
            cut = self._marks.pop() if marked and self._marks else len(depths)
            start = max(cut - taken, 0)
            own = depths[start] if name in _FILLING and start < cut else -1
            inside = max(depths[start + (own >= 0) :], default=-1) + 1
            if inside > MAX_NESTING:
                raise pickle.UnpicklingError(f"nested more than {MAX_NESTING} deep")
            del depths[start:]
            depths += [max(own, inside)] * given


_FILLING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"})


def _effect(opcode: Any) -> tuple[int, bool, int]:
    """Values taken below a mark or in all, whether there is a mark, values given."""
    before = opcode.stack_before
    marked = pickletools.markobject in before
    taken = before.index(pickletools.markobject) if marked else len(before)
    return taken, marked, len(opcode.stack_after)


def _role(name: str) -> str:
    if name == "MARK":
        return "mark"
    if name.startswith("EXT"):
        return "extension"
    if name == "MEMOIZE" or name.endswith("PUT"):
        return "put"
    if name.endswith("GET"):
        return "get"
    return "push" if _EFFECTS[name] == (0, False, 1) else "other"


_EFFECTS = {opcode.name: _effect(opcode) for opcode in pickletools.opcodes}
ROLES = {name: _role(name) for name in _EFFECTS}


def with_tuples(data: bytes) -> bytes:
    """A pickle of TorchScript as Python's unpickler takes it.

    TorchScript calls the class of an enum with the bare value, where Python has a tuple
    of it. A tuple is put around it; broken pickles stay broken.
    """
    made, begin, bare = bytearray(), 0, False
    memo: dict[Any, bool] = {}
    try:
        for opcode, argument, place in pickletools.genops(data):
            if opcode.name == "REDUCE" and bare and place is not None:
                made += data[begin:place] + pickle.TUPLE1
                begin = place
            if ROLES[opcode.name] == "put":
                memo[argument] = bare
            elif ROLES[opcode.name] == "get":
                bare = memo.get(argument, False)
            else:
                bare = opcode.name in _BARE
    except Exception:  # unpickling says what is wrong
        return data
    return bytes(made + data[begin:])


_BARE = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if not opcode.stack_before
    and [kind.name for kind in opcode.stack_after]
    in (["str"], ["int"], ["int_or_bool"], ["float"], ["bool"])
)


def pickle_at(file: Any, path: Path, what: str) -> bytes:
    """The pickle that begins at a file's position, which then is behind it.

    Raises:
        ConversionError: If there is none.
    """
    start = file.tell()
    try:
        for _ in pickletools.genops(file):
            pass
    except Exception as error:
        text = f"{what} is broken: {printable(error, 160)}"
        raise refusal(text, file=path) from None
    end = file.tell()
    file.seek(start)
    data: bytes = file.read(end - start)
    return data
