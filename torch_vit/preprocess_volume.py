"""Volumes as a scan has them to what the model takes."""

import torch
from torch import Tensor

from vit_config.preprocess_volume import LOWEST, VolumePlan, constant, rank


def prepared(x: Tensor, plan: VolumePlan) -> Tensor:
    """(B, C, *spatial), float32, of any size -> (B, C, *img_size)."""
    if plan.fit_first:
        return normalised(fitted(x, plan), plan)
    return fitted(normalised(x, plan), plan)


def normalised(x: Tensor, plan: VolumePlan) -> Tensor:
    """The intensity step, then minus the mean and divided by the deviation."""
    kind = plan.intensity.kind if plan.intensity else None
    if kind == "zscore":
        x = zscore(x, plan)
    elif kind is not None:
        low, high = plan.intensity.low, plan.intensity.high
        if kind == "percentile":
            low, high = percentiles(x, (low, high), plan.channel_wise)
        else:
            low, high = (x.new_tensor(value) for value in (low, high))
        x = scaled(x, low, high, plan)
    if plan.mean:
        mean, std = (x.new_tensor(v).view(-1, 1, 1, 1) for v in (plan.mean, plan.std))
        x = (x - mean) / std
    return x


def scaled(x: Tensor, low: Tensor, high: Tensor, plan: VolumePlan) -> Tensor:
    """From low..high to the range that the model takes."""
    flat = high == low  # a volume of one value
    y = (x - low) / torch.where(flat, 1.0, high - low)
    y = y * (plan.top - plan.bottom) + plan.bottom
    if plan.clip:
        y = torch.clip(y, plan.bottom, plan.top)
    return torch.where(flat, x - low + plan.bottom, y)


def percentiles(
    x: Tensor, percents: tuple[float, float], channel_wise: bool
) -> list[Tensor]:
    """(B, C or 1, 1, 1, 1) for each: of each volume, or of each of its channels."""
    batch, chans = x.shape[:2]
    groups = chans if channel_wise else 1
    values = torch.sort(x.reshape(batch, groups, -1), dim=2).values
    found = []
    for percent in percents:
        below, above, part = rank(percent, values.shape[2])
        lower, upper = values[:, :, below], values[:, :, above]
        value = lower + part * (upper - lower)
        found.append(value.view(batch, groups, 1, 1, 1))
    return found


def zscore(x: Tensor, plan: VolumePlan) -> Tensor:
    """Mean 0 and deviation 1 of each volume, or of each of its channels."""
    counted = (x != 0).to(x.dtype) if plan.nonzero else torch.ones_like(x)
    count = torch.clip(total(counted, plan), 1.0)
    # From the largest value: one that all voxels have then leaves no rounding.
    top = torch.where(counted > 0, x, LOWEST)
    top = torch.amax(top, (2, 3, 4) if plan.channel_wise else (1, 2, 3, 4), True)
    x = (x - torch.where(top > LOWEST, top, 0.0)) * counted
    x = (x - total(x, plan) / count) * counted
    std = torch.sqrt(total(torch.square(x), plan) / count)
    return x / torch.where(std == 0, 1.0, std)


def total(x: Tensor, plan: VolumePlan) -> Tensor:
    """The sum, one axis after the other: of few numbers each, so that none is lost."""
    for axis in (4, 3, 2) if plan.channel_wise else (4, 3, 2, 1):
        x = torch.sum(x, axis, keepdim=True)
    return x


def fitted(x: Tensor, plan: VolumePlan) -> Tensor:
    """(B, C, *spatial) -> (B, C, *img_size)."""
    kind = plan.interpolation if plan.fit == "resize" else plan.fit
    for axis, new in enumerate(plan.size, 2):
        made = constant(kind, x.shape[axis], new)
        tables = [torch.tensor(array, device=x.device) for array in made]
        along = [new if i == axis else 1 for i in range(5)]
        if kind == "area":
            x = torch.tensordot(x, tables[0], dims=([axis], [1]))
            x = torch.movedim(x, 4, axis)
        elif kind == "pad_or_crop":
            index, inside = tables
            x = torch.index_select(x, axis, index)
            x = torch.where(inside.view(along), x, plan.pad_value)
        else:
            lower, upper, part = tables
            part = part.view(along)
            below = torch.index_select(x, axis, lower)
            above = torch.index_select(x, axis, upper)
            x = below + (above - below) * part
    return x
