"""A live model and the torch twin that is read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters import ConversionError
from converters.checks.source import Checked, checked
from converters.sources.door import open_source
from converters.sources.request import Asked


def randomised(model: Any) -> Any:
    """The model in evaluation mode, every weight drawn anew, none zero or one."""
    import torch

    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = rng.standard_normal(tuple(parameter.shape), np.float32) * 0.3
            values += "norm" in name and name.endswith("weight")
            parameter.copy_(torch.from_numpy(values))
    return model.eval()


def inputs(*shape: int) -> Any:
    import torch

    rng = np.random.default_rng(4)
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def read(model: Any, **changes: Any) -> Checked:
    with open_source(model, Asked(changes=changes)) as reader:
        assert reader.format == "module"
        return checked(reader)


def twin_of(model: Any, **changes: Any) -> Any:
    """`torch_vit.ViT.from_pretrained`, with fields that the modules do not say."""
    import torch

    import torch_vit

    with open_source(model, Asked(changes=changes)) as reader:
        found = checked(reader)
        arrays = {name: found.source.read(name) for name in found.digests}
    twin = torch_vit.ViT(found.config, device="meta")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    twin.load_state_dict(state, strict=True, assign=True)
    return twin.eval()


def check_outputs(
    model: Any,
    x: Any,
    given: Callable[[Any], Any] = lambda y: y,
    ours: Callable[[Any], Any] = lambda x: x,
    **changes: Any,
) -> Any:
    """Both say the same up to rounding; the twin."""
    import torch

    twin = twin_of(randomised(model), **changes)
    with torch.no_grad():
        theirs, mine = given(model(x)), twin(ours(x))
    assert theirs.shape == mine.shape
    spread = float(theirs.std())
    assert spread > 1e-3
    assert float((theirs - mine).abs().max()) < 5e-6 * max(1.0, spread)
    return twin


def refused(model: Any, *names: str, **changes: Any) -> str:
    """The refusal, which names exactly these."""
    with pytest.raises(ConversionError) as error:
        read(model, **changes)
    assert sorted({issue.name for issue in error.value.issues}) == sorted(names)
    return str(error.value)
