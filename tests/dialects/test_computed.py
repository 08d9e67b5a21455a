"""Position tables that a library computes: made on reading, left out on writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.libraries import load, positions
from converters.mapping.pipe import MemorySource, np_dtype
from converters.sources.dialect_reader import Foreign
from tests.dialects.common import same
from tests.dialects.test_variants import CONFIGS
from tests.fill import fill_weights

CASES = {
    # variant: config and table
    "huggingface@videomae": ("videomae", positions.videomae),
    "huggingface@videomae+memory": ("videomae", positions.videomae),
    "huggingface@videomae-bare": ("videomae_tokens", positions.videomae),
    "videomae": ("videomae_own", positions.videomae),
    "lucidrains@simple_vit": ("simple", positions.simple_vit),
    "lucidrains@simple_vit_3d": ("simple_3d", positions.simple_vit),
}


def written(path: Path, name: str, dtype: str = "float32"):
    """A file of the library, its config, and all canonical weights with the table."""
    case, table = CASES[name]
    config = CONFIGS[case]
    dialect = load(name.partition("@")[0])
    variant = next(v for v in dialect.variants if v.name == name)
    weights = {n: v.astype(np_dtype(dtype)) for n, v in fill_weights(config).items()}
    foreign = Foreign(MemorySource(weights), config, variant)
    arrays = {n: foreign.read(n) for n in foreign.tensors}
    assert not any("pos" in n for n in arrays)
    save_file(arrays, path)
    return config, weights | {"pos_embed": table(config).astype(np_dtype(dtype))}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in CASES),
        ("huggingface@videomae", "bfloat16"),
        ("lucidrains@simple_vit", "float16"),
    ],
)
def test_made_once_and_left_out_again(name, dtype, tmp_path):
    source, keras = tmp_path / "a.safetensors", tmp_path / "a.keras"
    config, weights = written(source, name, dtype)
    told = name if name.endswith("_3d") else None
    report = convert(source, keras, config=config, from_dialect=told)
    assert list(report.computed) == ["pos_embed"]
    assert "sine-cosine" in report.computed["pos_embed"]
    assert "computed     pos_embed, " in str(report)
    assert json.loads(report.to_json())["computed"] == dict(report.computed)
    convert(keras, tmp_path / "c.safetensors")
    assert same(load_file(tmp_path / "c.safetensors"), weights)
    back = convert(keras, tmp_path / "b.safetensors", to_dialect=name)
    assert back.target_dialect == name
    assert back.proved == back.tensors == len(weights)
    assert same(load_file(tmp_path / "b.safetensors"), load_file(source))


def test_type_is_the_file_s_and_a_cast_comes_after(tmp_path):
    source = tmp_path / "a.safetensors"
    config, weights = written(source, "videomae")
    out = tmp_path / "c.safetensors"
    convert(source, out, config=config, dtype="bfloat16")
    table = load_file(out)["pos_embed"]
    assert table.dtype == np_dtype("bfloat16")
    assert np.array_equal(table, weights["pos_embed"].astype(table.dtype))


@pytest.mark.parametrize("name", CASES)
def test_another_table_cannot_be_left_out(name, tmp_path):
    """One bit of one value is enough."""
    config, weights = written(tmp_path / "a.safetensors", name)
    bits = weights["pos_embed"].view(np.uint32)
    bits[0, 3, 1] ^= 1
    save_file(weights, tmp_path / "c.safetensors")
    target = tmp_path / "b.safetensors"
    with pytest.raises(ConversionError) as error:
        convert(tmp_path / "c.safetensors", target, config=config, to_dialect=name)
    assert "pos_embed" in str(error.value) and "no place for another" in str(
        error.value
    )
    assert "e-0" in str(error.value)  # how far apart
    assert not target.exists()
    convert(tmp_path / "c.safetensors", tmp_path / "c.keras", config=config)


def test_learned_positions_have_no_place(tmp_path):
    source = tmp_path / "a.safetensors"
    config, _ = written(source, "huggingface@videomae")
    learned = config.replace(pos_embed="learned")
    with pytest.raises(ConversionError, match="no place for pos_embed, which the"):
        convert(source, tmp_path / "c.safetensors", config=learned)
    save_file(fill_weights(learned), tmp_path / "c.safetensors")
    with pytest.raises(ConversionError, match=r"pos_embed.*'learned'.*'sincos'"):
        convert(
            tmp_path / "c.safetensors",
            tmp_path / "b.safetensors",
            config=learned,
            to_dialect="huggingface@videomae",
        )


def test_a_name_of_ours_in_the_file_hides_nothing(tmp_path):
    source = tmp_path / "a.safetensors"
    config, weights = written(source, "huggingface@videomae")
    decoy = {"pos_embed (computed)": weights["pos_embed"]}
    save_file(load_file(source) | decoy, source)
    with pytest.raises(ConversionError, match="is no name here"):
        convert(source, tmp_path / "c.safetensors", config=config)


def test_a_table_in_the_file_of_a_library_that_computes_it(tmp_path):
    """Made with `use_learnable_pos_emb`: what is stored counts."""
    source = tmp_path / "a.safetensors"
    config, weights = written(source, "videomae")
    named = load_file(source) | {"pos_embed": weights["pos_embed"] * 2}
    save_file(named, source)
    changes = {"num_heads": 3, "img_size": list(config.img_size)}
    report = convert(source, tmp_path / "c.safetensors", changes=changes)
    assert report.computed == {} and report.config.pos_embed == "learned"
    found = load_file(tmp_path / "c.safetensors")["pos_embed"]
    assert np.array_equal(found, weights["pos_embed"] * 2)
