"""The Keras twin on every backend, in a process each."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tests.once import once, shared_folder
from tests.preprocess.common import config, config_of, excess, image_of
from tests.preprocess.golden_cases import CASES, share
from tests.saving.backends import backend_param

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.parametrize(
    "backend",
    [
        backend_param("tensorflow"),
        # compiles every size anew
        backend_param("jax", marks=(pytest.mark.slow,)),
        backend_param("torch"),
    ],
)


@lru_cache(maxsize=3)
def ran(folder: Path, backend: str) -> dict[str, np.ndarray]:
    """What `tests.preprocess.worker` found."""
    folder = folder / backend
    out = folder / "out.npz"

    def work() -> None:
        env = {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        env |= {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
        env |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        # Few optimisations: JAX compiles every size of image anew.
        env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = ["tests.alone", "tests.preprocess.worker", str(out)]
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"{result.stdout[-2000:]}\n{result.stderr[-8000:]}")

    once(folder / "done", work)
    with np.load(out) as file:
        return dict(file)


@pytest.fixture
def found(backend, tmp_path_factory):
    return ran(shared_folder(tmp_path_factory, "preprocess"), backend)


def part(found, name):
    """Results whose key begins with that word, without it."""
    picked = {k.removeprefix(f"{name} "): v for k, v in found.items()}
    picked = {k: v for k, v in picked.items() if k not in found}
    assert picked, name
    return picked


def test_goldens(backend, found):
    made = part(found, "golden")
    assert made.keys() == share(backend).keys()
    beyond = {name: excess(CASES[name], made[name]) for name in made}
    assert not {name: value for name, value in beyond.items() if value >= 1}


def test_the_twins_agree(found):
    torch = pytest.importorskip("torch")
    from torch_vit import Preprocess

    for name, made in part(found, "golden").items():
        case = CASES[name]
        module = Preprocess(config_of(case), white=1.0 if case.in_floats else None)
        image = np.ascontiguousarray(image_of(case).transpose(0, 3, 1, 2))
        theirs = module(torch.from_numpy(image)).numpy().transpose(0, 2, 3, 1)
        # A tenth of what is promised, 1e-5 of the range before mean and deviation.
        assert np.abs((made - theirs) * case.std).max() < 1e-6, name


def test_weights_made_in_a_graph_are_the_same(found):
    assert max(part(found, "weights").values()) < 1e-6


def test_one_graph_serves_all_sizes(found):
    made = part(found, "compiled")
    std = np.array(config().data.std)
    for key in made:
        if key.endswith("eager"):
            graph = made[key.replace("eager", "graph")]
            assert np.abs((made[key] - graph) * std).max() < 1e-6, key


def test_a_saved_model_begins_with_the_raw_image(found):
    made = part(found, "model")
    wholes = [key for key in made if key.endswith("whole")]
    assert len(wholes) == 4
    for key in wholes:
        whole = made[key]
        scale = np.abs(whole).max()
        assert scale > 0.01
        assert np.array_equal(made[key.replace("whole", "again")], whole), key
        for other in ("parts", "predict"):
            difference = np.abs(made[key.replace("whole", other)] - whole).max()
            assert difference < 1e-5 * scale, (key, other)
    apart = [np.abs(made[key] - made[wholes[0]]).max() for key in wholes[1:]]
    assert min(apart) > 1e-3  # the image counts


def test_a_pipeline_is_its_parts(found):
    made = part(found, "pipeline")
    wholes = [key for key in made if key.endswith("whole")]
    assert len(wholes) == 4
    for key in wholes:
        for other in ("parts", "again"):
            assert np.array_equal(made[key.replace("whole", other)], made[key]), key
        near = np.abs(made[key.replace("whole", "mixed")] - made[key]).max()
        assert 0 < near < 0.05 * np.abs(made[key]).max(), key
    apart = [np.abs(made[key] - made[wholes[0]]).max() for key in wholes[1:]]
    assert min(apart) > 1e-3  # the image counts


def test_half_precision_does_not_reach_it(found):
    made = part(found, "half")
    assert np.array_equal(made["before"], made["after"])
    assert np.array_equal(made["before"], made["floats"])


def test_other_images_are_refused(found):
    said = {name: str(text) for name, text in part(found, "refused").items()}
    assert said.keys() == {"layout", "axes", "floats", "integers"}
    assert "9 channels; expected (B, H, W, C) with 3" in said["layout"]
    assert "shape (9, 9, 3); expected (B, H, W, C)" in said["axes"]
    assert "white=255.0" in said["floats"]
    assert "found int32; only uint8 or float" in said["integers"]
