"""Checks that `torch_vit` and timm give the same bits from the same weights.

Run in the environment that `tools/make_goldens.py` names, from the root of the
repository:

    peers/bin/python tools/check_timm_bitwise.py

Both models run in this one process, on the CPU, in float32, with fused attention.
Compared are outputs, features, pre-logits and intermediates for every kind of input and
batches of 1 and 3, then the gradients of every parameter and of the input. The models
are those of the golden outputs and three of more usual sizes. Writes
`docs/results/timm_bitwise.json`; exit status 1 if a single bit differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from make_goldens import (  # beside this file; makes the packages below importable
    CASES,
    ROOT,
    Case,
    InputKind,
    check_map,
    fill_weights,
    image,
    load,
    timm_case,
)
from torch import Tensor, nn

from torch_vit import ViT

WHERE = ROOT / "docs" / "results" / "timm_bitwise.json"
KINDS: tuple[InputKind, ...] = ("noise", "low_variance", "large", "zeros")

SMALL = {"embed_dim": 384, "depth": 3, "num_heads": 6}
USUAL_SIZES = [
    timm_case(
        "s16_224",
        {**SMALL, "img_size": [224, 224], "patch_size": [16, 16], "mlp_ratio": 4.0},
        {**SMALL, "img_size": (224, 224), "patch_size": (16, 16), "mlp_dim": 1536},
        "ViT-S/16, three blocks",
    ),
    timm_case(
        "s14_reg_126",
        {
            **SMALL,
            "img_size": [126, 126],
            "patch_size": [14, 14],
            "mlp_ratio": 4.0,
            "init_values": 1e-5,
            "reg_tokens": 4,
            "no_embed_class": True,
            "num_classes": 0,
        },
        {
            **SMALL,
            "img_size": (126, 126),
            "patch_size": (14, 14),
            "mlp_dim": 1536,
            "init_values": 1e-5,
            "reg_tokens": 4,
            "pos_embed_tokens": "patch",
            "num_classes": 0,
        },
        "DINOv2-S/14 with registers, three blocks",
    ),
    timm_case(
        "s16_siglip_112",
        {
            **SMALL,
            "img_size": [112, 112],
            "patch_size": [16, 16],
            "mlp_ratio": 4.0,
            "class_token": False,
            "global_pool": "map",
            "act_layer": "gelu_tanh",
        },
        {
            **SMALL,
            "img_size": (112, 112),
            "patch_size": (16, 16),
            "mlp_dim": 1536,
            "class_token": False,
            "global_pool": "map",
            "act_layer": "gelu_tanh",
        },
        "SigLIP of the width of ViT-S, three blocks",
    ),
]


def pair(case: Case, faint: bool) -> tuple[nn.Module, ViT]:
    """timm's model and the twin, with the same weights."""
    weight_map = case.weight_map(case.config)
    check_map(weight_map, case.config)
    weights = fill_weights(case.config, faint=faint)
    theirs = case.build(case).eval()
    load(theirs, weight_map, weights, None)
    if not all(block.attn.fused_attn for block in theirs.blocks):
        raise SystemExit("timm does not use fused attention here")
    ours = ViT(case.config, attn_impl="fused").eval()
    ours.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return theirs, ours


def forward(theirs: nn.Module, ours: ViT, x: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Everything both can give without gradients: name -> (ours, theirs)."""
    features, our_features = theirs.forward_features(x), ours.forward_features(x)
    found = {"output": (ours(x), theirs(x)), "features": (our_features, features)}
    if ours.config.global_pool != "none":
        found["pre_logits"] = (
            ours.forward_head(our_features, pre_logits=True),
            theirs.forward_head(features, pre_logits=True),
        )
    for norm in (False, True):
        for reshape in (False, True):
            given = theirs.forward_intermediates(
                x,
                norm=norm,
                output_fmt="NCHW" if reshape else "NLC",
                return_prefix_tokens=True,
                intermediates_only=True,
            )
            mine = ours.forward_intermediates(
                x, norm=norm, reshape=reshape, return_prefix_tokens=True
            )
            for i, (ours_i, theirs_i) in enumerate(zip(mine, given, strict=True)):
                name = f"intermediates.{i}, norm={norm}, reshape={reshape}"
                if isinstance(theirs_i, tuple):
                    found[f"{name}: patches"] = (ours_i[0], theirs_i[0])
                    found[f"{name}: prefix"] = (ours_i[1], theirs_i[1])
                else:  # timm gives no pair where there is no prefix
                    found[f"{name}: patches"] = (ours_i[0], theirs_i)
    return found


def backward(theirs: nn.Module, ours: ViT, x: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Gradients of a fixed weighted sum of the outputs: name -> (ours, theirs)."""
    inputs = []
    for model in (ours, theirs):
        model.zero_grad()
        x_i = x.clone().requires_grad_()
        output = model(x_i)
        output.backward(torch.from_numpy(image(tuple(output.shape), 2)))
        inputs.append(x_i.grad)
    their_gradients = {name: p.grad for name, p in theirs.named_parameters()}
    found = {"input": tuple(inputs)}
    for name, parameter in ours.named_parameters():
        theirs_i = their_gradients.pop(name)
        if parameter.grad is None or theirs_i is None:
            raise ValueError(f"{name}: no gradient")
        found[name] = (parameter.grad, theirs_i)
    if their_gradients:
        raise ValueError(f"timm has more parameters: {sorted(their_gradients)}")
    return found


def differences(pairs: dict[str, tuple[Tensor, ...]], prefix: str) -> dict[str, float]:
    """Largest differences of those that are not the same bits."""
    found = {}
    for name, (ours, theirs) in pairs.items():
        if ours.shape != theirs.shape:
            found[prefix + name] = float("inf")
        elif not torch.equal(ours, theirs):
            found[prefix + name] = (ours - theirs).abs().max().item()
    return found


def check(case: Case) -> dict[str, Any]:
    """Compares one case.

    Returns:
        How much was compared, and what was not identical.
    """
    config = case.config
    unequal: dict[str, float] = {}
    counts = {"outputs": 0, "gradients": 0}
    for kind in KINDS:
        theirs, ours = pair(case, faint=kind == "low_variance")
        for batch in (1, 3):
            shape = (batch, config.in_chans, *config.img_size)
            x = torch.from_numpy(image(shape, 1, kind))
            prefix = f"{kind}, batch {batch}: "
            with torch.no_grad():
                pairs = forward(theirs, ours, x)
            counts["outputs"] += len(pairs)
            unequal |= differences(pairs, prefix)
            pairs = backward(theirs, ours, x)
            counts["gradients"] += len(pairs)
            unequal |= differences(pairs, f"{prefix}gradient of ")
    return {
        "note": case.note,
        "compared": counts,
        "identical": not unequal,
        "differences": dict(sorted(unequal.items())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WHERE)
    parser.add_argument("--only", help="check the cases whose name contains this")
    options = parser.parse_args()
    cases = [case for case in CASES if case.library == "timm"] + USUAL_SIZES
    results = {}
    for case in cases:
        if options.only and options.only not in case.name:
            continue
        results[case.name] = result = check(case)
        verdict = "identical" if result["identical"] else "DIFFERENT"
        counts = result["compared"]
        print(
            f"{case.name:24} {counts['outputs']:4} outputs {counts['gradients']:4} "
            f"gradients  {verdict}",
            flush=True,
        )
        for name, value in list(result["differences"].items())[:10]:
            print(f"    {name}: {value:.3g}")
    identical = bool(results) and all(r["identical"] for r in results.values())
    record = {
        "what": "torch_vit against timm, same weights, one process: are the bits equal",
        "device": "cpu",
        "dtype": "float32",
        "attention": "fused",
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {name: version(name) for name in ("numpy", "timm", "torch")},
        "identical": identical,
        "cases": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0 if identical else 1


if __name__ == "__main__":
    sys.exit(main())
