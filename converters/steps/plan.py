"""From what is asked for to the steps that a model needs, in their order."""

from __future__ import annotations

from converters.steps.asked import Steps
from converters.steps.channels import in_chans
from converters.steps.geometry import geometry
from converters.steps.inflate import inflate
from converters.steps.output import new_head, output
from converters.steps.stage import Stage
from vit_config import ViTConfig


def plan(config: ViTConfig, asked: Steps) -> tuple[Stage, ...]:
    """The steps between a source's config and the config that is asked for.

    Steps that would change nothing are left out. Missing tensors, folds and the cast
    are not among them: they depend on the file, on the target and on the types.

    Raises:
        ConversionError: If a step is not possible for the model.
        ConfigError: If the result describes no model.
    """
    stages: list[Stage] = []

    def add(stage: Stage | None) -> None:
        if stage is not None:
            stages.append(stage)

    def now() -> ViTConfig:
        return stages[-1].config if stages else config

    if asked.output is not None:
        add(output(now(), asked.output, asked.num_classes))
    if asked.num_classes is not None:
        add(new_head(now(), asked.num_classes, asked.seed))
    if asked.in_chans is not None:
        add(in_chans(now(), asked.in_chans))
    if asked.inflate is not None and asked.depth is not None:
        axis = asked.inflate_axis or 0
        add(inflate(now(), asked.inflate, asked.depth, asked.patch_depth, axis))
    stages += geometry(now(), asked.patch_size, asked.image_size)
    return tuple(stages)
