"""DINOv2's training files: blocks in any number of chunks, there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.libraries import find
from tests.dialects.common import Arrays, same
from tests.fill import fill_weights
from vit_config import ViTConfig


def dinov2(depth: int, gated: bool = False, registers: int = 0) -> ViTConfig:
    return ViTConfig(
        img_size=(8, 8),
        patch_size=(4, 4),
        embed_dim=12,
        depth=depth,
        num_heads=3,
        mlp_dim=20,
        init_values=1e-5,
        reg_tokens=registers,
        pos_embed_tokens="cls",
        pos_resize="bicubic_aa" if registers else "bicubic_offset",
        **({"mlp_layer": "swiglu", "act_layer": "silu"} if gated else {}),
    )


def chunks_of(depth: int, block_chunks: int) -> list[list[int]]:
    """DINOv2's own loop: the blocks of each chunk, behind fillers without weights."""
    size = depth // block_chunks
    return [list(range(i, min(i + size, depth))) for i in range(0, depth, size)]


def training_names(config: ViTConfig, block_chunks: int) -> Arrays:
    chunk_of = {
        block: chunk
        for chunk, blocks in enumerate(chunks_of(config.depth, block_chunks))
        for block in blocks
    }
    found = {}
    for name, values in fill_weights(config).items():
        parts = name.replace("reg_token", "register_tokens").split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(chunk_of[int(parts[1])]))
        if config.mlp_layer == "swiglu":
            swaps = {"fc1": "w12", "fc2": "w3"}
            parts = [swaps.get(part, part) for part in parts]
        found[".".join(parts)] = values
    return found | {"mask_token": np.zeros((1, config.embed_dim), np.float32)}


CASES = [
    # depth, block_chunks
    *((4, 1), (4, 2), (4, 4), (5, 1), (6, 3), (6, 4), (7, 2), (7, 3), (7, 4), (7, 7)),
    *((1, 1), (2, 1), (13, 3), (13, 4), (12, 5)),
]


GATED = [(7, 3, True, 0), (5, 1, True, 2), (4, 4, True, 2), (6, 2, False, 2)]


@pytest.mark.parametrize(
    ("depth", "block_chunks", "gated", "registers"),
    [*((depth, chunks, False, 0) for depth, chunks in CASES), *GATED],
)
def test_any_number_of_chunks_comes_back(
    tmp_path: Path, depth: int, block_chunks: int, gated: bool, registers: int
) -> None:
    config = dinov2(depth, gated, registers)
    names = training_names(config, block_chunks)
    path = tmp_path / "teacher.safetensors"
    save_file({f"backbone.{name}": values for name, values in names.items()}, path)
    out = tmp_path / "out.safetensors"
    report = convert(path, out, changes={"num_heads": 3, "img_size": 8})
    assert report.config.architecture() == config.architecture()
    assert same(load_file(out), fill_weights(config))
    family = "facebook@dinov2+swiglu+chunked" if gated else "facebook@dinov2+chunked"
    for to in ("facebook", family, report.source_dialect):
        convert(out, tmp_path / "back.safetensors", to_dialect=to, force=True)
        assert same(load_file(tmp_path / "back.safetensors"), names)


def test_another_number_of_chunks_is_written_by_name(tmp_path: Path) -> None:
    config = dinov2(6)
    path = tmp_path / "teacher.safetensors"
    save_file(training_names(config, 1), path)
    out = tmp_path / "out.safetensors"
    convert(path, out, changes={"num_heads": 3, "img_size": 8})
    back = tmp_path / "back.safetensors"
    report = convert(out, back, to_dialect="facebook@dinov2+chunked3")
    assert report.target_dialect == "facebook@dinov2+chunked3"
    assert same(load_file(back), training_names(config, 3))
    again = convert(back, tmp_path / "again.safetensors")
    assert again.source_dialect == "facebook@dinov2+chunked3"


def test_chunks_of_another_rule_are_refused(tmp_path: Path) -> None:
    config = dinov2(5)
    names = training_names(config, 2)  # 2, 2 and 1
    odd = {n.replace("blocks.2.4.", "blocks.1.4."): v for n, v in names.items()}
    path = tmp_path / "odd.safetensors"
    save_file(odd, path)
    with pytest.raises(ConversionError, match=r"blocks\.1\.4") as caught:
        convert(path, tmp_path / "o.keras", changes={"num_heads": 3, "img_size": 8})
    assert {issue.kind for issue in caught.value.issues} == {"missing", "unexpected"}


@pytest.mark.parametrize("number", ["0", "04", "x", "1000"])
def test_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(ConversionError, match="has no"):
        find(f"facebook@dinov2+chunked{number}")


def test_pooling_is_what_dinov2_returns_unless_another_is_stated(
    tmp_path: Path,
) -> None:
    path = tmp_path / "teacher.safetensors"
    save_file(training_names(dinov2(2), 1), path)
    sizes = {"num_heads": 3, "img_size": 8}
    for stated, pool in (({}, "token"), ({"global_pool": "none"}, "none")):
        out = tmp_path / "out.safetensors"
        report = convert(path, out, changes={**sizes, **stated}, force=True)
        assert report.config.global_pool == pool
