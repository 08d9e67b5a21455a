"""What `data` of a config says wrong: checks of its fields against each other."""

from __future__ import annotations

from vit_config.data import DataConfig, IntensityConfig

LETTERS = {"L": "X", "R": "X", "P": "Y", "A": "Y", "I": "Z", "S": "Z"}
"""Which anatomical axis a letter of an orientation is an end of."""

_OF_VOLUMES = ("spacing_mode", "fit", "fit_first", "pad_value")


def data_problems(data: DataConfig, spatial_dims: int, in_chans: int) -> list[str]:
    """Returns one line per problem: field, value found, what would be right."""
    problems = []
    for field in ("mean", "std"):
        value = getattr(data, field)
        if value is not None and len(value) != in_chans:
            problems.append(
                f"data.{field}: {len(value)} values for in_chans={in_chans}"
            )
    if data.std is not None and min(data.std, default=1) <= 0:
        problems.append(
            f"data.std: found {data.std}; values are divided by it, each above 0"
        )
    if spatial_dims == 2:  # a volume's intensity may be of any unit
        problems += _mean_problems(data)
    lengths = []
    for field in ("axes", "spacing_mm"):
        value = getattr(data, field)
        if value is not None and len(value) != spatial_dims:
            lengths.append(
                f"data.{field}: {len(value)} values for spatial_dims={spatial_dims}"
            )
    problems += lengths
    if data.intensity is not None:
        problems += _intensity_problems(data.intensity)
    if spatial_dims == 3:
        return problems + ((lengths and []) or _volume_problems(data))
    problems += [
        f"data.{field}: found {getattr(data, field)!r}; volumes only, spatial_dims=3"
        for field in _OF_VOLUMES
        if getattr(data, field) is not None
    ]
    if data.interpolation == "area":
        problems.append(
            "data.interpolation: found 'area'; of volumes only, of images 'nearest', "
            "'bilinear', 'bicubic' or 'lanczos'"
        )
    return problems


def _mean_problems(data: DataConfig) -> list[str]:
    """A mean is one of the values that it is the mean of."""
    if data.mean is None or data.input_range is None or len(data.input_range) != 2:
        return []
    low, high = sorted(data.input_range)
    if all(low <= mean <= high for mean in data.mean):
        return []
    return [
        f"data.mean: found {data.mean}, of values from {low:g} to {high:g} "
        "(data.input_range)"
    ]


def _volume_problems(data: DataConfig) -> list[str]:
    problems = []
    axes = data.axes
    if data.orientation is not None:
        meant = tuple(LETTERS.get(letter, "") for letter in data.orientation)
        if sorted(meant) != ["X", "Y", "Z"]:
            problems.append(
                f"data.orientation: found {data.orientation!r}; expected a letter of "
                "each of LR, PA and IS, such as 'RAS'"
            )
        elif axes is not None and sorted(axes) == ["X", "Y", "Z"] and axes != meant:
            problems.append(
                f"data.axes: found {axes}, but orientation {data.orientation!r} is of "
                f"{meant}"
            )
    if data.spacing_mm is not None and min(data.spacing_mm) <= 0:
        problems.append(f"data.spacing_mm: found {data.spacing_mm}; expected above 0")
    if data.spacing_mode == "keep" and data.spacing_mm is not None:
        problems.append(
            f"data.spacing_mode: 'keep' takes any spacing, but spacing_mm is "
            f"{data.spacing_mm}; state one of them"
        )
    if data.pad_value is not None and data.fit == "resize":
        problems.append(
            f"data.pad_value: found {data.pad_value} with fit='resize', which pads "
            "nothing"
        )
    return problems


def _intensity_problems(found: IntensityConfig) -> list[str]:
    where = "data.intensity"
    problems = []
    ends = {"low": found.low, "high": found.high}
    low, high = found.low, found.high
    if found.kind == "zscore":
        fields = {**ends, "clip": found.clip}
        return [
            f"{where}.{field}: found {value!r} with kind 'zscore', which has no range"
            for field, value in fields.items()
            if value is not None
        ]
    if found.nonzero:
        problems.append(
            f"{where}.nonzero: found True with kind {found.kind!r}; 'zscore' only"
        )
    if found.kind == "window" and found.channel_wise:
        problems.append(
            f"{where}.channel_wise: found True with kind 'window', which is the same "
            "for all channels"
        )
    if found.kind == "percentile":
        problems += [
            f"{where}.{end}: found {value}; a percentile is from 0 to 100"
            for end, value in ends.items()
            if value is not None and not 0 <= value <= 100
        ]
    if low is not None and high is not None and low >= high:
        problems.append(f"{where}.low: found {low}, not below high, {high}")
    return problems
