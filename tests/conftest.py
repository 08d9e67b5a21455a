"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converters import conversion


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
