"""timm's tiny models for `tools/make_state_dict_keys.py`: those of the golden outputs.

And `SwiGLU`, whose gate and value are layers of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from make_goldens import TIMM_CASES, Case, Part, build_timm, load, timm_case

from vit_config import ViTConfig

SPLIT = timm_case(
    "swiglu_split",
    {"mlp_layer": "SwiGLU", "mlp_ratio": 1.5},
    {"mlp_layer": "swiglu", "act_layer": "silu"},
    "gate and value apart",
)


@dataclass(frozen=True)
class TimmModel:
    """One golden case, or one made here.

    Attributes:
        case: Arguments, config and hand-written map.
    """

    case: Case

    @property
    def name(self) -> str:
        return self.case.name.removeprefix("timm_")

    @property
    def builder(self) -> str:
        return self.case.builder

    @property
    def arguments(self) -> dict[str, Any]:
        return self.case.arguments

    def make(self) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
        """The names in memory, which are those of every file."""
        config = self.case.config
        if self.case is SPLIT:
            library, weight_map = _split(), _split_map(config)
        else:
            library, weight_map = build_timm(self.case), self.case.weight_map(config)
        from tests.fill import fill_weights

        load(library, weight_map, fill_weights(config), None)
        found = {n: np.array(t.detach()) for n, t in library.state_dict().items()}
        described = {"dialect": "", "given": config.to_dict(), "set": {}}
        return {"memory": found}, described, set()


def _split() -> Any:
    from timm.layers import SwiGLU
    from timm.models.vision_transformer import VisionTransformer

    arguments = dict(SPLIT.arguments)
    for name in ("img_size", "patch_size"):
        arguments[name] = tuple(arguments[name])
    return VisionTransformer(**{**arguments, "mlp_layer": SwiGLU})


def _split_map(config: ViTConfig) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for name, part in SPLIT.weight_map(config).items():
        if ".mlp.fc1." not in name:
            found[name] = part
            continue
        for i, half in enumerate(("fc1_g", "fc1_x")):
            found[name.replace("fc1", half)] = Part(part.name, piece=(i, 2))
    return found


TIMM_MODELS = [TimmModel(case) for case in (*TIMM_CASES, SPLIT)]
