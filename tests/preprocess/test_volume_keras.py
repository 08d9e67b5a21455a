"""Volumes in the Keras twin on every backend: see `tests.preprocess.volume_worker`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.once import shared_folder
from tests.preprocess.test_keras import part, ran
from tests.preprocess.volume_cases import CASES, share
from tests.preprocess.volume_common import config_of, difference
from tests.saving.backends import backend_param

pytestmark = pytest.mark.parametrize(
    "backend",
    [
        backend_param("tensorflow"),
        # compiles every size anew
        backend_param("jax", marks=(pytest.mark.slow,)),
        backend_param("torch"),
    ],
)


@pytest.fixture
def found(backend, tmp_path_factory):
    return ran(shared_folder(tmp_path_factory, "preprocess"), backend)


def test_goldens(backend, found):
    made = part(found, "volume-golden")
    assert made.keys() == share(backend).keys()
    beyond = {name: difference(CASES[name], made[name]) for name in made}
    # A tenth of the promised 1e-5 of the range.
    assert not {name: value for name, value in beyond.items() if value >= 1e-6}


def test_the_twins_agree(found):
    torch = pytest.importorskip("torch")
    from torch_vit import Preprocess

    for name, made in part(found, "volume-golden").items():
        case = CASES[name]
        volume = np.ascontiguousarray(np.moveaxis(case.values[None], -1, 1))
        theirs = Preprocess(config_of(case))(torch.from_numpy(volume)).numpy()
        extent = max(np.abs(theirs).max(), 1e-3)
        largest = np.abs(np.moveaxis(made, -1, 1) - theirs).max()
        assert largest < 1e-6 * extent, name


def test_one_graph_serves_all_sizes(backend, found):
    if backend != "tensorflow":
        pytest.skip("graphs of no fixed size are TensorFlow's")
    assert max(part(found, "volume-graph").values()) < 1e-6


def test_a_saved_model_begins_with_the_raw_volume(found):
    made = part(found, "volume-model")
    wholes = [key for key in made if key.endswith("whole")]
    assert len(wholes) >= 2
    for key in wholes:
        whole = made[key]
        scale = np.abs(whole).max()
        assert scale > 0.01
        assert np.array_equal(made[key.replace("whole", "again")], whole), key
        for other in ("parts", "predict"):
            largest = np.abs(made[key.replace("whole", other)] - whole).max()
            assert largest < 1e-5 * scale, (key, other)
        for other in ("pipeline", "piped"):
            near = np.abs(made[key.replace("whole", other)] - whole).max()
            assert near < 1e-5 * scale, (key, other)
        assert np.array_equal(
            made[key.replace("whole", "pipeline")], made[key.replace("whole", "piped")]
        )
    apart = [np.abs(made[key] - made[wholes[0]]).max() for key in wholes[1:]]
    assert min(apart) > 1e-3  # the volume counts


def test_half_precision_does_not_reach_it(found):
    made = part(found, "volume-half")
    assert np.array_equal(made["before"], made["after"])
    assert np.array_equal(made["before"], made["integers"])


def test_other_volumes_are_refused(found):
    said = {name: str(text) for name, text in part(found, "volume-refused").items()}
    assert said.keys() == {"layout", "axes", "bool"}
    assert "9 channels; expected (B, *spatial, C) with 2" in said["layout"]
    assert "shape (9, 9, 9, 2); expected (B, *spatial, C) in 3D" in said["axes"]
    assert "found bool; only floats or integers" in said["bool"]
