"""Low variance and zeros show a wrong epsilon that noise hides."""

from __future__ import annotations

import numpy as np
import pytest

from converters.judging.rms import RMS_LIMIT, compare_rms
from converters.workers.inputs import seeded
from tests.fill import fill_weights
from vit_config import ViTConfig

torch = pytest.importorskip("torch")

CONFIG = ViTConfig(
    img_size=(32, 48), patch_size=8, embed_dim=64, depth=4, num_heads=4, mlp_dim=128
)


def tokens(config: ViTConfig, x: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    from torch_vit import ViT

    model = ViT(config).eval()
    weights = fill_weights(CONFIG)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    with torch.no_grad():
        made = model.to(dtype).forward_features(torch.from_numpy(x).to(dtype))
    return made.numpy()


def ratio(kind: str, eps: float) -> float:
    """RMS ratio of a model whose epsilon is wrong (1e-6 would be right)."""
    x = seeded(kind, CONFIG, 8)
    exact, single = (tokens(CONFIG, x, t) for t in (torch.float64, torch.float32))
    wrong = tokens(CONFIG.replace(norm_eps=eps), x, torch.float32)
    return compare_rms(wrong, single, exact).ratio


@pytest.mark.parametrize("eps", [1e-12, 1e-7])
def test_low_variance_and_zeros_show_an_epsilon_that_noise_hides(eps):
    assert ratio("noise", eps) < RMS_LIMIT
    assert ratio("low_variance", eps) > 2 * RMS_LIMIT
    assert ratio("zeros", eps) > 2 * RMS_LIMIT


@pytest.mark.parametrize("kind", ["noise", "structured", "large", "low_variance"])
def test_every_kind_shows_a_larger_epsilon(kind):
    assert ratio(kind, 1e-5) > RMS_LIMIT
