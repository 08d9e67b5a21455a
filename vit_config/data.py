"""What a checkpoint says about its inputs and its origin.

Nothing here changes what the network computes; `ViTConfig.architecture()` leaves
it out. `None` always means "the source did not say", never "the usual value".
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from vit_config.base import Frozen

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]


def _as_tuple(value: Any) -> Any:
    """JSON has lists only; strict mode wants the tuple that the field is."""
    return tuple(value) if isinstance(value, list) else value


FloatTuple = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
StrTuple = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class IntensityConfig(Frozen):
    """Intensity normalisation of a volume.

    A window or percentile range is scaled to `input_range` of the preprocessing.

    Attributes:
        kind: `"window"` (low..high in the scan's units), `"percentile"` (between those
            percentiles, 0 to 100, of each volume) or `"zscore"` (each volume's mean 0,
            deviation 1).
        low: Lower end of a window or percentile range.
        high: Upper end.
        clip: Whether values beyond the ends are cut off. None is read as true.
        nonzero: Z-score only. Whether mean and deviation are those of the voxels that
            are not 0, and only these are changed. None is read as false.
        channel_wise: Whether percentiles, or mean and deviation, are those of each
            channel. None is read as false.
    """

    part: ClassVar[str] = "data.intensity"
    kind: Literal["window", "percentile", "zscore"]
    low: float | None = None
    high: float | None = None
    clip: bool | None = None
    nonzero: bool | None = None
    channel_wise: bool | None = None


class DataConfig(Frozen):
    """Preprocessing that the weights were trained with.

    Attributes:
        mean: Per-channel mean, subtracted after rescaling to `input_range`.
        std: Per-channel standard deviation, divided by after `mean`.
        input_range: Values of the image just before mean and std, for example
            `(0.0, 1.0)`.
        interpolation: Resampling filter of the resize step; `"area"` of volumes only.
        crop_pct: Fraction of the resized image that the crop keeps, in (0, 1].
        crop_mode: `"center"` (shortest edge, then center crop), `"squash"` (both
            edges to the target size) or `"border"` (longest edge, then padding).
        crop_start: Where the crop begins if half a pixel is left over: `"round"` (to
            the even one: torchvision, timm) or `"floor"` (transformers). None is read
            as `"round"`.
        axes: 3D only. Anatomical or temporal meaning of the spatial axes in tensor
            order, for example `("X", "Y", "Z")` or `("T", "H", "W")`.
        orientation: 3D only. Orientation code of those axes, for example `"RAS"`.
        spacing_mm: 3D only. Voxel spacing along those axes, in millimetres.
        spacing_mode: 3D only. How files of another spacing are resampled:
            `"bilinear"` or `"nearest"`; `"keep"`: any spacing is taken as it is.
        intensity: 3D only. Intensity normalisation.
        fit: 3D only. How a volume of another size comes to the model's: `"resize"` or
            `"pad_or_crop"` (around the middle).
        fit_first: 3D only. Whether that comes before the intensity, or after it and
            mean and std.
        pad_value: 3D only. What `"pad_or_crop"` pads with, in the units of the values
            at that step.
    """

    part: ClassVar[str] = "data"
    mean: FloatTuple | None = None
    std: FloatTuple | None = None
    input_range: FloatTuple | None = None
    interpolation: Interpolation | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None
    crop_start: Literal["round", "floor"] | None = None
    axes: StrTuple | None = None
    orientation: str | None = None
    spacing_mm: FloatTuple | None = None
    spacing_mode: Literal["bilinear", "nearest", "keep"] | None = None
    intensity: IntensityConfig | None = None
    fit: Literal["resize", "pad_or_crop"] | None = None
    fit_first: bool | None = None
    pad_value: float | None = None


class Statement(Frozen):
    """One field that somebody stated, and that nothing in the source confirms.

    Attributes:
        field: Its name: `"num_heads"`, `"data.mean"`.
        value: Its value, in the form that `--set` takes.
        origin: How it was stated: `"set"` (a single field), `"config"` (within a whole
            config), or `"preset NAME"`.
    """

    part: ClassVar[str] = "source.stated"
    field: str
    value: str
    origin: str

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


Statements = Annotated[tuple[Statement, ...], BeforeValidator(_as_tuple)]


class SourceConfig(Frozen):
    """Where the weights come from and what was done to them on the way.

    Attributes:
        dialect: Naming and layout of the source file, for example `"timm"`.
        library: Library that wrote it.
        library_version: Version of that library.
        name: Public name of the checkpoint.
        revision: Commit or tag of that name.
        sha256: Hash of the source file.
        licence: Licence of the weights, as stated by the source.
        pretraining_data: Data the weights were trained on, as stated by the source.
        steps: Named one-way steps taken since, oldest first, for example
            `"output:logits->pooled"`.
        stated: Fields of the config that were stated by hand: no tensor and no config
            of the source says them, so no comparison of files can tell a wrong one.
    """

    part: ClassVar[str] = "source"
    dialect: str | None = None
    library: str | None = None
    library_version: str | None = None
    name: str | None = None
    revision: str | None = None
    sha256: str | None = None
    licence: str | None = None
    pretraining_data: str | None = None
    steps: StrTuple = ()
    stated: Statements = ()


class RopeConfig(Frozen):
    """Rotary position embedding of a source model. No twin computes it yet.

    Attributes:
        kind: Whose convention: DINOv3 (2D, rotate-half) or V-JEPA 2 (3D).
        theta: Base of the frequencies.
    """

    part: ClassVar[str] = "rope"
    kind: Literal["dinov3", "vjepa2"]
    theta: Annotated[float, Field(gt=0)] = 100.0
