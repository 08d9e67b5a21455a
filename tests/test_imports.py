"""Who may import whom, as the table in CONTRIBUTING.md says.

Twice: what importing a package really brings, each time in a fresh process, and what
its source names.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "keras", "tensorflow", "jax"}
PACKAGES = ("vit_config", "torch_vit", "keras_vit", "converters")

PROBE = """
import json, sys
{code}
tops = {{name.partition(".")[0] for name in sys.modules}}
print("\\n" + json.dumps(sorted(tops)))
"""


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def imported(code: str, backend: str = "") -> set[str]:
    """Top-level modules that a fresh process has after running the code."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    env |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    env.pop("KERAS_BACKEND", None)
    if backend:
        env["KERAS_BACKEND"] = backend
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_vit_config_brings_pydantic_only():
    code = "import vit_config, vit_config.weights, vit_config.taps, vit_config.init\n"
    code += "from vit_config import ViTConfig\n"
    code += "ViTConfig.preset('vit-b16-224').to_json()\n"
    heavy = FRAMEWORKS | {"numpy", "einops", "safetensors", "h5py"}
    assert not imported(code) & (heavy | {"torch_vit", "keras_vit", "converters"})


@needs("torch")
def test_torch_vit_brings_no_other_framework():
    code = "import torch, torch_vit\nfrom vit_config import ViTConfig\n"
    code += "config = ViTConfig(img_size=8, patch_size=4, embed_dim=8, depth=1, "
    code += "num_heads=2, mlp_dim=8)\n"
    code += "torch_vit.ViT(config)(torch.zeros(1, 3, 8, 8))"
    found = imported(code)
    assert "torch" in found
    assert not found & {"keras", "tensorflow", "jax", "keras_vit", "converters"}


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("tensorflow", marks=needs("keras", "tensorflow")),
        pytest.param("jax", marks=[needs("keras", "jax"), pytest.mark.slow]),
    ],
)
def test_keras_vit_brings_no_torch(backend):
    code = "import numpy, keras_vit\nfrom vit_config import ViTConfig\n"
    code += "config = ViTConfig(img_size=8, patch_size=4, embed_dim=8, depth=1, "
    code += "num_heads=2, mlp_dim=8)\n"
    code += "keras_vit.ViT(config)(numpy.zeros((1, 8, 8, 3), 'float32'))"
    found = imported(code, backend)
    assert {"keras", backend} <= found
    assert not found & {"torch", "torch_vit", "converters"}


def test_converters_brings_no_framework():
    code = "import importlib, pkgutil, converters\n"
    code += "skip = ('.demo', '__main__')\n"
    code += "for module in pkgutil.walk_packages(converters.__path__, 'converters.'):\n"
    code += "    if not any(part in module.name for part in skip):\n"
    code += "        importlib.import_module(module.name)\n"
    code += "for name in converters.__all__:\n    getattr(converters, name)\n"
    assert not imported(code) & (FRAMEWORKS | {"torch_vit", "keras_vit"})


def test_the_start_of_the_pytest_plugin_brings_nothing():
    alone = imported("import pytest")
    with_plugin = imported("import pytest, converters.pytest_plugin")
    assert with_plugin - alone == {"converters"}


def test_inspect_brings_no_framework(tmp_path):
    from safetensors.numpy import save_file

    from tests.cases import CASES
    from tests.fill import fill_weights

    config = CASES["two_classes"]
    path = tmp_path / "model.safetensors"
    header = json.dumps({"schema_version": 1, "config": config.to_dict()})
    save_file(fill_weights(config), path, {"format": "pt", "vit_duet": header})
    code = f"sys.argv = ['vit-duet', 'inspect', {str(path)!r}]\n"
    code += "from converters.cli import main\ntry:\n    main()\n"
    code += "except SystemExit as end:\n    assert not end.code, end\n"
    assert not imported(code) & (FRAMEWORKS | {"torch_vit", "keras_vit"})


# ---- the source -------------------------------------------------------------------


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether at import time) of every import in a file.

    `if TYPE_CHECKING:` is never run, so what stands there does not count.
    """
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_import) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.append((node.module or "", at_import))
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inner)

    visit(ast.parse(path.read_text("utf-8")), True)
    return found


def tops(path: Path, at_import: bool | None = None) -> set[str]:
    """Top-level names that a file imports, standard library left out."""
    found = {
        module.partition(".")[0]
        for module, now in imports(path)
        if at_import is None or now is at_import
    }
    return found - sys.stdlib_module_names


MAY = {
    "vit_config": {"vit_config", "pydantic", "pydantic_core"},
    "torch_vit": {"vit_config", "torch_vit", "torch"},
    "keras_vit": {"vit_config", "keras_vit", "keras", "numpy"},
    "converters": {
        *("vit_config", "converters", "numpy", "einops", "safetensors", "h5py"),
        *("ml_dtypes", "typer", "rich", "pydantic"),
    },
}
"""What each package may import when it is imported."""

INSIDE = {
    "vit_config": {"vit_config", "numpy", "converters"},
    "torch_vit": {"torch_vit", "vit_config", "converters"},
    "keras_vit": {"keras_vit", "vit_config", "converters", "ml_dtypes", "torch"},
    # Frameworks and twins inside functions only; extras as well.
    "converters": None,
}
"""What each may import inside functions; None is anything."""

UPWARD = {
    "vit_config": {"config.py": {"from_dialect"}, "pathology.py": {"fields_of"}},
    "torch_vit": {"vit.py": {"from_pretrained", "save_pretrained"}},
    "keras_vit": {"vit.py": {"from_pretrained", "save_pretrained"}},
}
"""Methods that may import `converters`: the only imports that point upwards."""

PLUGIN = "converters/pytest_plugin/"
"""Imported by pytest alone, so that it may import that."""

PROCESSES = {"converters/workers/worker.py"}
"""Programs of a process of their own, which nothing imports."""


@pytest.mark.parametrize("package", PACKAGES)
def test_source_imports_only_what_it_may(package):
    for path in sources(package):
        name = path.relative_to(ROOT).as_posix()
        if name in PROCESSES:
            continue
        more = {"pytest"} if name.startswith(PLUGIN) else set()
        assert tops(path, at_import=True) <= MAY[package] | more, name
        inside = INSIDE[package]
        if inside is not None:
            assert tops(path, at_import=False) <= MAY[package] | inside, name


def test_only_linear_mentions_torch_in_keras_vit():
    naming = {path.name for path in sources("keras_vit") if "torch" in tops(path)}
    assert naming == {"linear.py"}


@pytest.mark.parametrize("package", sorted(UPWARD))
def test_upward_calls_are_the_named_ones(package):
    for path in sources(package):
        allowed = UPWARD[package].get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for part in ast.walk(node):
                    module = getattr(part, "module", None)
                    if isinstance(part, ast.ImportFrom) and module:
                        up = module.partition(".")[0] == "converters"
                        assert not up or node.name in allowed, f"{path}: {node.name}"


@pytest.mark.parametrize("package", ["vit_config", "torch_vit", "keras_vit"])
def test_nobody_below_imports_the_other_twin(package):
    others = {"torch_vit", "keras_vit"} - {package}
    for path in sources(package):
        assert not tops(path) & others, path


def test_packages_import_neither_tests_nor_tools():
    for package in PACKAGES:
        for path in sources(package):
            assert not tops(path) & {"tests", "tools", "benchmarks"}, path
