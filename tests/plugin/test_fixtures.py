"""The fixtures, the options, and how little the plugin does without them."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

import converters
from converters.parity import options as parity_options, record
from converters.pytest_plugin import backends, options
from converters.workers import device, process
from tests.laboratory import reports
from tests.plugin.common import Run, checkpoint, outcomes

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the plugin see some modules as installed, and no others."""

    def only(*names: str) -> None:
        monkeypatch.setattr(
            backends, "find_spec", lambda name: name if name in names else None
        )

    return only


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What tests ask `converters.assert_parity` for; nothing is run."""
    found = []

    def note(a: Any, b: Any, **arguments: Any) -> record.ParityReport:
        found.append(arguments)
        return reports.incomplete()

    monkeypatch.setattr(converters, "assert_parity", note)
    return found


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name,) = project["entry-points"]["pytest11"].values()
    plugin = import_module(name)
    assert plugin.pytest_addoption
    assert plugin.assert_parity


@pytest.mark.skipif(find_spec("torch") is None, reason="torch: not installed")
def test_a_changed_live_model_fails_its_test(
    run: Run, pytester: pytest.Pytester
) -> None:
    checkpoint(pytester.path)
    pytester.makepyfile(
        """
        import pytest
        import torch_vit

        @pytest.mark.parametrize("eps", [1e-6, 0.5])
        def test_model(assert_parity, eps):
            model = torch_vit.ViT.from_pretrained("vit.safetensors")
            model.blocks[1].norm1.eps = eps
            assert_parity("vit.safetensors", model, level="weights")
        """
    )
    result = run("-v")
    found = {name.rpartition("[")[2]: to for name, to in outcomes(result).items()}
    assert found == {"1e-06]": "PASSED", "0.5]": "FAILED"}
    result.stdout.fnmatch_lines(["*B: ViT*", "*blocks.1.norm1.eps*found 0.5*1e-06*"])


def test_packages_may_be_imported_before_pytest_starts() -> None:
    """pytest would warn of it, of every package that comes with a plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        tree = ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))
        assert "PYTEST_DONT_REWRITE" in (ast.get_docstring(tree) or ""), package


def test_choices_are_those_of_verify() -> None:
    assert options.LEVELS == record.LEVELS == get_args(record.Level)
    assert options.DTYPES == parity_options.DTYPES
    assert options.DEVICES == device.DEVICES
    assert tuple(process.BACKENDS) == options.BACKENDS
    assert backends.EXTRAS == process.BACKENDS


def test_a_project_that_asks_for_nothing_sees_nothing(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        """
        def test_one(request):
            assert request.fixturenames == ["request"]
        """
    )
    words = ("-W", "error", "--strict-markers", "--strict-config", "-rA")
    result = run(*words)
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    assert "parity" not in result.stdout.str()
    assert result.stderr.str() == ""


def test_every_option_has_the_prefix(run: Run) -> None:
    text = run("--help").stdout.str()
    begin = text.index("parity of models (vit-duet)")
    section = text[begin:].partition("\n\n")[0]
    names = [word for word in section.split() if word.startswith("--")]
    assert len(names) >= 13
    assert all(name.startswith("--parity-") for name in names)


@pytest.mark.parametrize(
    ("words", "modules", "ids"),
    [
        ((), ("keras", "jax", "torch"), ["jax", "torch"]),
        (("--parity-backend=jax",), ("keras", "jax", "torch"), ["jax"]),
        (
            ("--parity-backend=torch", "--parity-backend", "jax"),
            ("keras", "jax", "torch"),
            ["torch", "jax"],
        ),
        ((f"--parity-keras-python={sys.executable}",), (), ["tensorflow"]),
    ],
)
def test_backends_are_those_named_or_installed(
    pytester: pytest.Pytester,
    run: Run,
    installed: Callable[..., None],
    words: tuple[str, ...],
    modules: tuple[str, ...],
    ids: list[str],
) -> None:
    installed(*modules)
    pytester.makepyfile(test_it="def test_it(parity_backend): print(parity_backend)")
    found = outcomes(run("-v", *words))
    assert found == {f"test_it.py::test_it[{name}]": "PASSED" for name in ids}


def test_without_a_backend_its_tests_are_skipped_with_the_reason(
    pytester: pytest.Pytester, run: Run, installed: Callable[..., None]
) -> None:
    installed("torch", "tensorflow")
    pytester.makepyfile(test_it="def test_it(parity_backend): pass")
    result = run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*keras is not installed: pip install*"])


def test_a_named_backend_that_is_missing_ends_the_run(
    pytester: pytest.Pytester, run: Run, installed: Callable[..., None]
) -> None:
    installed("keras", "torch")
    pytester.makepyfile(test_it="def test_it(parity_backend): pass")
    result = run("--parity-backend", "jax")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --parity-backend jax: jax is not installed*"])


def test_a_test_may_name_its_own_backends(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.parametrize("parity_backend", ["mine"])
        def test_it(parity_backend):
            assert parity_backend == "mine"
        """
    )
    assert outcomes(run("-v")) == {"test_it.py::test_it[mine]": "PASSED"}


def test_the_device_is_the_cpu_unless_told(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_it(parity_device): assert parity_device == 'cpu'")
    run().assert_outcomes(passed=1)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_a_device_that_is_not_there_skips_with_the_reason(
    pytester: pytest.Pytester, run: Run
) -> None:
    import torch

    pytester.makepyfile("def test_it(parity_device): assert parity_device == 'cuda'")
    result = run("--parity-device", "cuda", "-rs")
    if torch.cuda.is_available():
        result.assert_outcomes(passed=1)
        return
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*--parity-device cuda: torch sees no CUDA device"])


def test_the_fixture_asks_as_the_options_say(
    pytester: pytest.Pytester,
    run: Run,
    asked: list[dict[str, Any]],
    installed: Callable[..., None],
) -> None:
    pytester.makepyfile(
        """
        def test_options(assert_parity):
            assert_parity("a", "b")

        def test_backend(assert_parity, parity_backend):
            assert_parity("a", "b", level="training")
        """
    )
    installed("keras", "jax", "torch")
    given = ("--parity-backend=torch", "--parity-backend=jax", "--parity-level=layers")
    more = ("--parity-dtype=bfloat16", "--parity-criteria=limits.json")
    run(*given, *more).assert_outcomes(passed=3)
    common = {
        "device": "cpu",
        "dtype": "bfloat16",
        "criteria": str(pytester.path / "limits.json"),
    }
    assert asked == [
        {**common, "level": "layers", "backends": ("torch", "jax")},
        {**common, "level": "training", "backends": ("torch",)},
        {**common, "level": "training", "backends": ("jax",)},
    ]


def test_the_fixture_leaves_defaults_to_verify(
    pytester: pytest.Pytester, run: Run, asked: list[dict[str, Any]]
) -> None:
    pytester.makepyfile("def test_it(assert_parity): assert_parity('a', 'b')")
    run().assert_outcomes(passed=1)
    assert asked == [{"device": "cpu", "dtype": "float32", "backends": ()}]


def test_what_was_accepted_unchecked_is_named_at_the_end(
    pytester: pytest.Pytester, run: Run, asked: list[dict[str, Any]]
) -> None:
    pytester.makepyfile(
        test_it="""
        def test_it(assert_parity):
            assert_parity("a", "b", allow_unchecked=True)
        """
    )
    result = run("-W", "error", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*accepted by assert_parity, not checked*",
            "test_it.py::test_it: B, Keras on jax: jax is not installed*",
            "test_it.py::test_it: A, timm: timm is not installed",
        ]
    )
    assert "timm is not installed" in (pytester.path / "junit.xml").read_text()


def test_a_failure_shows_the_test_and_the_message_alone(
    pytester: pytest.Pytester, run: Run
) -> None:
    checkpoint(pytester.path, "a.safetensors")
    checkpoint(pytester.path, "b.keras", norm_eps=1e-3)
    pytester.makepyfile(
        test_it="""
        import converters

        def test_fixture(assert_parity):
            assert_parity("a.safetensors", "b.keras", level="weights")

        def test_function():
            converters.assert_parity("a.safetensors", "b.keras", level="weights")
        """
    )
    result = run()
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert text.count("E         norm_eps is 1e-06 in A and 0.001 in B") == 2
    for hidden in ("assertion.py", "fixtures.py", "__tracebackhide__", "raise "):
        assert hidden not in text
    result.stdout.fnmatch_lines(["FAILED *AssertionError: B is not the same model*"])


def test_the_checkpoint_is_a_path_or_a_hub_id(
    pytester: pytest.Pytester, run: Run
) -> None:
    path = checkpoint(pytester.path, "models.safetensors")
    pytester.makepyfile(
        """
        def test_it(parity_checkpoint):
            print("given:", repr(parity_checkpoint))
        """
    )
    without = run("-rs")
    without.assert_outcomes(skipped=1)
    without.stdout.fnmatch_lines(["*no --parity-checkpoint was given"])
    found = run("--parity-checkpoint=models.safetensors", "-s", "-k", "test_it")
    found.stdout.fnmatch_lines([f"*given: PosixPath('{path}')*"])
