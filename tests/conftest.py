"""What holds for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from converters.conversion import convert as conversion
from converters.workers import process
from tests.alone_worker import AloneWorker

# Each worker of pytest has processes of its own at work: with a thread for every core
# in each of them they would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing here is about speed, and a busy machine takes a second for what takes a
# millisecond; under CI=true hypothesis has no deadline either.
settings.register_profile("vit-duet", settings(), deadline=None)
settings.load_profile("vit-duet")

FIRST = (
    "saving/test_matrix.py",  # two processes a backend
    "parity/test_other_backends.py",  # one process each of tensorflow and jax
    "converters/test_outputs.py",
    "export/test_saved_model.py",
    "export/test_formats.py",
    "test_readme.py",
    "laboratory/test_runners.py",
    "laboratory/test_live_object.py",
    "laboratory/test_verify.py",
    "laboratory/test_verify_more.py",
    "laboratory/test_runtime_faults.py",
    "converters/test_keras.py",
    "laboratory/test_selftest.py",
    "plugin/test_suite.py",
    "parity/test_torch_backend.py",
    "training/test_resume.py",
    "serving/test_operands.py",
    "serving/test_serve.py",
    "preprocess/test_keras.py",
    "preprocess/test_volume_keras.py",
    "predict/test_keras.py",
    "parity/test_goldens.py",
    "converters/test_writing.py",
    "dialects/test_keras_hub.py",
    "demo/test_run.py",
    "steps/test_together.py",
)
"""Files that take long, the longest first: none of them shall be left at the end."""

LAST = (
    "saving/test_compat.py",
    "saving/test_guard.py",
    "saving/test_life.py",
    "saving/test_silent_weights.py",
    "parity/test_detection.py",
    "parity/test_float64.py",
    "parity/test_goldens_keras.py",
    "parity/test_init.py",
)
"""Files that need what the processes of earlier ones leave, and would wait for it."""


def pytest_configure(config: pytest.Config) -> None:
    """Lets the order below stand: pytest-xdist >= 3.7 orders by numbers of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the files by the time they take, and keeps the order within each."""
    here = Path(__file__).parent
    ranks = {here / name: i - len(FIRST) for i, name in enumerate(FIRST)}
    ranks |= {here / name: i + 1 for i, name in enumerate(LAST)}
    items.sort(key=lambda item: ranks.get(item.path, 0))


def pytest_collection_finish() -> None:
    """Refuses files that import Keras to see whether it is there.

    With TensorFlow that takes ten seconds of every worker, and it would be the backend
    of all that the worker runs; `find_spec` tells as much.
    """
    if "keras" in sys.modules:
        raise pytest.UsageError("collecting the tests imported Keras")


@pytest.fixture(scope="session", autouse=True)
def _weights_are_enough() -> Iterator[None]:
    """Conversions to Keras run no models unless a test asks for it.

    Each would start two processes; that they do by default, and what they find, is the
    matter of `tests/converters/test_outputs.py`. Tests that start the command line in a
    process of its own say `--verify weights`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "default_verify", lambda kind: "weights")
        yield


@pytest.fixture(scope="session", autouse=True)
def _keras_alone() -> Iterator[None]:
    """Processes that this one starts to run Keras import no other framework.

    Most of their time would be that. The command line in a process of its own starts
    them as users do: the README's, for one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "Worker", AloneWorker)
        yield
