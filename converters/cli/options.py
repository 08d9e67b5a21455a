"""The options of `vit-duet convert` that name steps."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Text = Optional[str]  # noqa: UP045  (typer reads annotations at run time)
Number = Optional[int]  # noqa: UP045

STEPS = "Named one-way steps"


def _step(help_text: str, metavar: str, *names: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *names, help=help_text, metavar=metavar, rich_help_panel=STEPS
    )
    return option


Output = Annotated[
    Text,
    _step(
        "Drop what stands behind: the head, or head and pooling.",
        "logits|pooled|tokens",
    ),
]
NumClasses = Annotated[Number, _step("Draw a new head of N classes.", "N")]
InChans = Annotated[Number, _step("Take N input channels, adapted as in timm.", "N")]
Inflate = Annotated[
    Text, _step("Make a 3D model of a 2D one; needs --depth.", "mean|center")
]
Depth = Annotated[Number, _step("Size of the input along the new axis.", "N")]
PatchDepth = Annotated[Number, _step("Size of a patch along the new axis.", "N")]
InflateAxis = Annotated[
    Number, _step("Where the new axis stands: 0 first (default) to 2 last.", "0|1|2")
]
PatchSize = Annotated[Text, _step("Resize the patch kernel (FlexiViT).", "N|HxW|DxHxW")]
ImageSize = Annotated[Text, _step("Resample the position table.", "N|HxW|DxHxW")]
Fold = Annotated[
    bool,
    typer.Option("--fold", help="Let --to fold what folds up to rounding only."),
]
Dtype = Annotated[Text, _step("Cast all weights.", "float32|float16|bfloat16")]
AllowMissing = Annotated[
    Optional[list[str]],  # noqa: UP045
    _step("Draw tensors of such names where the source lacks them.", "GLOB"),
]
Seed = Annotated[int, _step("What new tensors are drawn from.", "N")]
