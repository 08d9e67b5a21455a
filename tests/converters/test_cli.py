"""The command line: exit codes, one-screen errors, no traceback, no file left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from converters.cli.app import app
from tests.converters.cases import CASES, config, files_in, weights, write_canonical
from vit_config import ViTConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CASES["classes"]
PYTHON = [sys.executable, "-m", "converters"]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*arguments, **options):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [*PYTHON, *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, **options
    )


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return write_canonical(folder / "vit.safetensors", CONFIG)


def bare(path, arrays):
    """A safetensors file without a config in its header."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path)
    return path


# ---- what goes well -----------------------------------------------------------------


def test_convert_and_back(source, tmp_path):
    there = call("convert", source, tmp_path / "vit.keras")
    assert there.exit_code == 0
    assert "tensors bit-identical" in there.stdout
    back = call("convert", tmp_path / "vit.keras", tmp_path / "back.safetensors")
    assert back.exit_code == 0
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()


def test_convert_prints_json_for_scripts(source, tmp_path):
    result = call("convert", source, tmp_path / "vit.keras", "--json")
    found = json.loads(result.stdout)
    assert found["ok"] and found["proved"] == found["tensors"] == len(weights(CONFIG))


def test_convert_with_a_config_file(tmp_path):
    path = bare(tmp_path / "bare.safetensors", weights(CONFIG))
    (tmp_path / "config.json").write_text(CONFIG.to_json())
    options = ("--config", tmp_path / "config.json")
    assert call("convert", path, tmp_path / "vit.keras", *options).exit_code == 0
    assert call("convert", path, tmp_path / "vit.weights.h5", *options).exit_code == 0
    back = call(
        "convert", tmp_path / "vit.weights.h5", tmp_path / "b.safetensors", *options
    )
    assert back.exit_code == 0


def test_inspect_agrees_on_the_fingerprint_of_every_format(source, tmp_path):
    call("convert", source, tmp_path / "vit.keras")
    found = [
        json.loads(call("inspect", path, "--json").stdout)
        for path in (source, tmp_path / "vit.keras")
    ]
    assert found[0]["fingerprint"] == found[1]["fingerprint"]
    assert [f["dialect"] for f in found] == ["canonical", "keras"]
    assert found[0]["parameters"] == sum(a.size for a in weights(CONFIG).values())
    assert found[0]["config"] == CONFIG.to_dict()


def test_inspect_shows_what_it_cannot_name(tmp_path):
    path = bare(tmp_path / "x.safetensors", {"encoder.a": np.ones((2, 3), np.float32)})
    result = call("inspect", path)
    assert result.exit_code == 1
    assert "unknown" in result.stdout and "encoder.a" in result.stdout


def test_inspect_tells_what_does_not_fit(tmp_path):
    arrays = weights(CONFIG)
    del arrays["norm.bias"]
    path = write_canonical(tmp_path / "x.safetensors", CONFIG, arrays)
    result = call("inspect", path)
    assert result.exit_code == 1
    assert "missing     norm.bias" in result.stdout


def test_table_has_every_weight_and_every_rule():
    from vit_config.weights import RULES, weight_table

    preset = call("table", "vit-ti16-224").stdout
    for weight in weight_table(ViTConfig.preset("vit-ti16-224")):
        assert f"{weight.name} " in preset and f"{weight.path} " in preset
    rules = json.loads(call("table", "--json").stdout)
    assert len(rules) == 1 + len(RULES)


def test_version_and_module_and_script_are_one():
    import tomllib

    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert run("--version").stdout == f"vit-duet {project['version']}\n"
    assert project["scripts"]["vit-duet"] == "converters.cli:main"


def test_help_is_fast_and_brings_no_framework():
    code = (
        "import sys, time; start = time.process_time()\n"
        "from converters.cli import main\n"
        "sys.argv = ['vit-duet', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'jax', 'numpy', 'pydantic', 'h5py'}\n"
        "print(time.process_time() - start, sorted(heavy & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, heavy = result.stdout.splitlines()[-1].split(maxsplit=1)
    assert heavy == "[]"
    assert float(seconds) < 0.5


def test_convert_and_inspect_bring_no_framework(source, tmp_path):
    code = (
        "import sys; from converters import convert, inspect\n"
        "convert(sys.argv[1], sys.argv[2], verify='weights'); inspect(sys.argv[2])\n"
        "print(sorted({'torch', 'keras', 'tensorflow', 'jax'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, source, tmp_path / "x.keras"]
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# ---- what is refused: exit code 1, a clear text, no file ----------------------------


def config_with(**fields):
    return json.dumps({**CONFIG.to_dict(), **fields})


def configs():
    foreign = {**CONFIG.to_dict(), "hidden_size": 24}
    volume = config(
        spatial_dims=3, img_size=(12, 8, 4), patch_size=4, num_classes=5
    ).to_json()
    return {
        "unknown_field": (config_with(embed_dimm=3), "embed_dimm: not a field"),
        "foreign_name": (json.dumps(foreign), "Use 'embed_dim'"),
        "heads": (
            config_with(num_heads=5),
            "num_heads: 5 does not divide embed_dim 24",
        ),
        "patch": (config_with(img_size=[13, 8]), "13 on axis 0 is not a multiple"),
        "not_json": ("{", "not JSON"),
        "newer": (config_with(schema_version=99), "written by a newer vit-duet"),
        "volume_for_image": (volume, "the file is a 2D model"),
        "depth": (
            config_with(depth=3),
            "the file has 2 blocks, the config says depth=3",
        ),
        "classes": (config_with(num_classes=7), "the head of the file has 5 classes"),
        "no_classes": (
            config_with(num_classes=0),
            "the file was made with num_classes",
        ),
        "width": (config_with(embed_dim=48), "the file is 24 wide"),
        "mlp": (config_with(mlp_dim=41), "the MLP of the file is 40 wide"),
        "channels": (config_with(in_chans=1), "the file has 3 channels"),
        "positions": (
            config_with(img_size=[16, 8]),
            "position table of the file has 7",
        ),
        "patch_size": (
            config_with(patch_size=[2, 4]),
            "patches of the file are (4, 4)",
        ),
        "layer_scale": (
            config_with(init_values=0.1),
            "the config asks for init_values",
        ),
        "no_qkv_bias": (config_with(qkv_bias=False), "the file was made with qkv_bias"),
        "qv_bias": (config_with(qkv_bias="qv"), "key part are not zero"),
    }


@pytest.mark.parametrize("case", configs())
def test_config_that_does_not_fit_is_refused(case, tmp_path):
    text, message = configs()[case]
    path = bare(tmp_path / "vit.safetensors", weights(CONFIG))
    (tmp_path / "config.json").write_text(text)
    result = call(
        "convert", path, tmp_path / "out.keras", "--config", tmp_path / "config.json"
    )
    assert_refused(result, message, tmp_path, ["config.json", "vit.safetensors"])


def assert_refused(result, message, folder, files):
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr and not result.stdout
    assert len(result.stderr.splitlines()) <= 24
    assert files_in(folder) == files


def change(name, value=None):
    arrays = weights(CONFIG)
    arrays.pop(name, None)
    if value is not None:
        arrays[name] = value
    return arrays


def contents():
    prefixed = {f"module.{name}": a for name, a in weights(CONFIG).items()}
    suffix_decoy = change("decoy.norm.bias", np.ones(24, np.float32))
    nan = weights(CONFIG)["norm.bias"] * np.nan
    return {
        "missing": (change("norm.bias"), "missing     norm.bias  expected (24,)"),
        "extra": (
            change("extra", np.ones(2, np.float32)),
            "unexpected  extra  (2,)",
        ),
        "suffix_decoy": (suffix_decoy, "unexpected  decoy.norm.bias"),
        "shape": (
            change("norm.bias", np.ones(25, np.float32)),
            "shape       norm.bias  found (25,);  expected (24,)",
        ),
        "integers": (
            change("norm.bias", np.ones(24, np.int64)),
            "dtype       norm.bias  found int64",
        ),
        "mixed": (
            change("norm.bias", np.ones(24, np.float16)),
            "norm.bias  found float16;  expected float32, as most; or a cast (--dtype)",
        ),
        "nan": (change("norm.bias", nan), "24 NaN and 0 infinite of 24 values"),
        "prefix": (prefixed, 'the names of the file begin with "module."'),
        "empty_tensor": (
            change("norm.bias", np.ones(0, np.float32)),
            "found (0,);  expected (24,)",
        ),
    }


@pytest.mark.parametrize("case", contents())
def test_tensors_that_do_not_fit_are_refused(case, tmp_path):
    arrays, message = contents()[case]
    path = write_canonical(tmp_path / "vit.safetensors", CONFIG, arrays)
    result = call("convert", path, tmp_path / "out.keras")
    assert_refused(result, message, tmp_path, ["vit.safetensors"])


def test_all_problems_are_told_at_once(tmp_path):
    arrays = change("norm.bias")
    arrays["extra"] = np.ones(2, np.float32)
    arrays["head.bias"] = np.full(5, np.nan, np.float32)
    path = write_canonical(tmp_path / "vit.safetensors", CONFIG, arrays)
    result = call("convert", path, tmp_path / "out.keras", "--json")
    kinds = {issue["kind"] for issue in json.loads(result.stdout)["issues"]}
    assert result.exit_code == 1
    assert kinds == {"missing", "unexpected", "value"}


def test_existing_output_is_refused_and_kept(source, tmp_path):
    (tmp_path / "out.keras").write_text("precious")
    result = call("convert", source, tmp_path / "out.keras")
    assert_refused(result, "exists already", tmp_path, ["in", "out.keras"])
    assert "--force" in result.stderr
    assert (tmp_path / "out.keras").read_text() == "precious"
    assert call("convert", source, tmp_path / "out.keras", "--force").exit_code == 0


@pytest.mark.parametrize("name", ["out.h5", "out.pt", "out.safetensors.bak"])
def test_unknown_suffix_is_refused(name, source, tmp_path):
    result = call("convert", source, tmp_path / name)
    assert_refused(result, "unknown suffix", tmp_path, ["in"])


def test_config_at_odds_with_the_file_is_refused(source, tmp_path):
    (tmp_path / "c.json").write_text(config_with(norm_eps=1e-5))
    result = call(
        "convert", source, tmp_path / "out.keras", "--config", tmp_path / "c.json"
    )
    message = "config      norm_eps  found 1e-06;  expected 1e-05"
    assert_refused(result, message, tmp_path, ["c.json", "in"])


def test_missing_config_is_refused(tmp_path):
    path = bare(tmp_path / "bare.safetensors", weights(CONFIG))
    result = call("convert", path, tmp_path / "out.keras")
    assert_refused(result, "does not say which model it is", tmp_path, [path.name])
    assert "--config FILE" in result.stderr


def test_wrong_usage_is_exit_code_2(source):
    assert call("convert", source).exit_code == 2
    assert call("convert", source, "x.keras", "--nonsense").exit_code == 2
    assert call("nonsense").exit_code == 2
    assert call("table", "vit-ti16-224", "--config", "x").exit_code == 2


def test_unknown_preset_is_refused():
    result = call("table", "vit-x99")
    assert result.exit_code == 1 and "there is no preset 'vit-x99'" in result.stderr


def test_missing_extra_is_one_clear_line(tmp_path):
    """Without the framework: its import is made to fail as if it were not there."""
    code = (
        "import sys, typer; sys.modules['torch'] = None\n"
        "from converters.cli.common import refusals\n"
        "from converters.conversion.pretrained import load_torch\n"
        "try:\n    with refusals(): load_torch(None, 'x.safetensors')\n"
        "except typer.Exit as error: sys.exit(error.exit_code)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    line = "torch is not installed: pip install 'vit-duet[torch]'\n"
    assert (result.returncode, result.stderr) == (1, line)


def test_foreign_package_of_that_name_is_told(tmp_path):
    package = tmp_path / "keras_vit"
    package.mkdir()
    (package / "__init__.py").write_text("class ViT: pass\n")
    code = "from converters.extras import twin; twin('keras_vit')"
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (
        result.returncode
        and "'keras_vit' that Python finds is another" in result.stderr
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing(number, source, tmp_path):
    code = (
        "import signal, sys, time, converters.conversion.write as t\n"
        "from converters.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as in a terminal
        "write = t.write\n"
        "def slow(*a):\n    write(*a); print('writing', flush=True); time.sleep(30)\n"
        "t.write = slow; sys.argv[0] = 'vit-duet'; main()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, "convert", source, tmp_path / "x.keras"]
    command += ["--verify", "weights"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        assert len(files_in(tmp_path)) == 2
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)  # less than it sleeps
    assert process.returncode not in (0, 2) and "Traceback" not in errors
    assert files_in(tmp_path) == ["in"]


PHASE = re.compile(r"([a-z ]+): \d+\.\d\d s")
"""What stands on standard error for a phase that has ended, where it is no terminal."""


def test_a_redirected_run_prints_a_line_for_each_phase_and_none_with_json(
    source, tmp_path
):
    options = ("--verify", "weights")
    result = run("convert", source, tmp_path / "x.keras", *options)
    names = ["reading and checking", "writing", "proving"]
    told = [PHASE.fullmatch(line) for line in result.stderr.splitlines()]
    assert result.returncode == 0 and [line and line[1] for line in told] == names
    result = run("convert", source, tmp_path / "y.keras", *options, "--json")
    assert result.returncode == 0 and result.stderr == ""
    assert list(json.loads(result.stdout)["phases"]) == names


def test_a_phase_that_fails_prints_no_line(source, tmp_path):
    arrays = weights(CONFIG)
    del arrays["norm.bias"]
    path = write_canonical(tmp_path / "bad.safetensors", CONFIG, arrays)
    result = call("convert", path, tmp_path / "x.keras")
    assert result.exit_code == 1 and result.stderr.startswith("bad.safetensors")


def test_progress_ends_at_the_total(source, tmp_path):
    from converters import convert

    seen = []
    convert(source, tmp_path / "x.keras", progress=lambda *state: seen.append(state))
    done, total = seen[-1]
    assert done == total == 3 * sum(a.nbytes for a in weights(CONFIG).values())
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
