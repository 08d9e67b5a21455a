"""`torch_vit` against MONAI in the same process: the same bits, gradients too.

Both with attention by explicit scores, on the CPU, in float32. Only models with
patches by convolution: MONAI's matrix product (`proj_type="perceptron"`) sums in
another order, and is compared by the golden outputs.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.fill import fill_weights, image
from tools.make_goldens import DEAD, MONAI_CASES, Case, load, monai_case

pytest.importorskip("torch")
pytest.importorskip("monai")

import torch

from torch_vit import ViT

pytestmark = pytest.mark.peers

CASES = [
    *(case for case in MONAI_CASES if case.arguments["proj_type"] == "conv"),
    monai_case(
        "2d_bare_conv",
        {
            "proj_type": "conv",
            "classification": True,
            "post_activation": None,
            "qkv_bias": True,
        },
        {"head_act": None, "qkv_bias": True, "in_chans": 3},
        "2D, head without activation, biases on q, k, v",
    ),
    monai_case(
        "3d_features_conv",
        {"proj_type": "conv", "qkv_bias": True},
        {"qkv_bias": True, "in_chans": 4},
        "3D features, biases on q, k, v",
    ),
    monai_case(
        "3d_no_pos",  # MONAI's "none" still adds a trainable table
        {"proj_type": "conv", "pos_embed_type": "none", "classification": True},
        {},
        "3D, tanh",
    ),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small only lose by sharing work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pair(case: Case) -> tuple[torch.nn.Module, ViT]:
    """MONAI's model and the twin, with the same weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own, on import and on torch.meshgrid
        theirs = case.build(case).eval()
    weights = fill_weights(case.config)
    if case.table:
        table = theirs.patch_embedding.position_embeddings.detach().numpy().copy()
        weights["pos_embed"] = table
    load(theirs, case.weight_map(case.config), weights, case.table)
    ours = ViT(case.config, attn_impl="explicit").eval()
    ours.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return theirs, ours


def same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["noise", "low_variance", "large", "zeros"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits_forward(case, batch, kind):
    theirs, ours = pair(case)
    config = case.config
    x = torch.from_numpy(image((batch, config.in_chans, *config.img_size), 1, kind))
    with torch.no_grad():
        output, hidden = theirs(x)
        our_output, our_hidden = ours.monai_forward(x)
        maps = ours.attention_maps(x)
        assert same_bits(our_output, output)
        assert same_bits(ours(x), output)
    assert len(our_hidden) == len(hidden) == config.depth
    for i in range(config.depth):
        assert same_bits(our_hidden[i], hidden[i]), f"block {i}"
        assert same_bits(maps[i], theirs.blocks[i].attn.att_mat), f"map {i}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bits_backward(case):
    theirs, ours = pair(case)
    config = case.config
    x = torch.from_numpy(image((3, config.in_chans, *config.img_size), 1))
    inputs = []
    for model in (theirs, ours):
        x_i = x.clone().requires_grad_()
        output = model(x_i)
        output = output[0] if isinstance(output, tuple) else output
        output.backward(torch.from_numpy(image(tuple(output.shape), 2)))
        inputs.append(x_i.grad)
    assert same_bits(inputs[1], inputs[0])

    gradients = {name: p.grad for name, p in ours.named_parameters()}
    their_parameters = dict(theirs.named_parameters())
    compared = set()
    for name, part in case.weight_map(config).items():
        gradient = their_parameters[name].grad
        if part is DEAD or not their_parameters[name].requires_grad:
            assert gradient is None
            continue
        wanted = part.of(gradients[part.name].numpy())
        assert np.array_equal(wanted, gradient.numpy()), name
        compared.add(part.name)
    frozen = {"pos_embed"} if config.pos_embed == "sincos" else set()
    assert compared == gradients.keys() - frozen
    assert all(gradients[name] is None for name in frozen)
