"""A process with one backend of Keras, as if the others were not installed.

`python -m tests.alone MODULE ...` runs a module so, with `KERAS_BACKEND`.

Keras 3.15.1 imports scikit-learn, which imports JAX, and to save anything TensorFlow:
half of the time that a short process takes.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

OTHERS = ("tensorflow", "jax", "torch", "sklearn", "pandas")


class Without(PathFinder):
    """Finds all modules but some."""

    names: frozenset[str] = frozenset()

    @classmethod
    def find_spec(cls, fullname: str, *rest: Any, **more: Any) -> ModuleSpec | None:
        """Of a name left out, what is said of one that is not there."""
        if fullname in cls.names:
            return None
        return super().find_spec(fullname, *rest, **more)


def leave_out_others(backend: str) -> None:
    """From now on nothing of `OTHERS` can be imported but the backend.

    Raises:
        RuntimeError: If it is too late for one of them.
    """
    names = frozenset(OTHERS) - {backend}
    if late := names & sys.modules.keys():
        raise RuntimeError(f"imported already: {sorted(late)}")
    Without.names = names
    sys.meta_path[sys.meta_path.index(PathFinder)] = Without


def remember_skipped() -> None:
    """Lets Keras find again which attributes of a layer it does not save.

    Keras 3.15.1 stores them under `saving_attr_skipset_` and looks for them under
    `saving_attr_skiplist_`, so that it makes a new layer to ask for every one it saves.
    """
    from keras.src.backend.common import global_state
    from keras.src.saving import saving_lib

    for kind in ("Layer", "Functional"):
        found = saving_lib.get_attr_skipset(kind)
        global_state.set_global_attribute(f"saving_attr_skiplist_{kind}", found)


if __name__ == "__main__":
    leave_out_others(os.environ["KERAS_BACKEND"])
    remember_skipped()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
