"""A generator that waits leaves the state of its thread alone.

`with np.errstate(...): yield` gives the caller the changed state until the generator
goes on, and raises where it is closed in another context.
"""

from __future__ import annotations

import ast
import contextvars
from pathlib import Path

import numpy as np
import pytest

from converters.inputs.arrays import read_array
from vit_config import ViTConfig

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vit_config", "torch_vit", "keras_vit", "converters")

OWNERS = {
    *("open", "Archive", "Arrays", "ExitStack", "TemporaryDirectory", "safe_open"),
    *("_opened", "closing", "ThreadPoolExecutor", "started"),
}
"""Context managers that only own something: a file, a folder, a process, threads."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.ClassDef)


def paused_contexts(source: str) -> list[str]:
    """Context managers that a generator holds while it waits, unless `OWNERS`.

    Functions under `@contextmanager` are left out: they wait inside on purpose.

    Returns:
        `"line: name"` of each.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, FUNCTIONS) or not waits(node):
            continue
        decorators = map(ast.unparse, node.decorator_list)
        if any(name.endswith("contextmanager") for name in decorators):
            continue
        for statement in within(node):
            if isinstance(statement, ast.With | ast.AsyncWith):
                if not waits(ast.Module(statement.body, [])):
                    continue
                entered = [item.context_expr for item in statement.items]
            elif called(statement) == "enter_context":
                entered = list(statement.args)
            else:
                continue
            found += [
                f"{one.lineno}: {ast.unparse(one)}"
                for one in entered
                if called(one) not in OWNERS
            ]
    return found


def within(node: ast.AST) -> list[ast.AST]:
    """All nodes of a function, without those of functions inside it."""
    found = [node]
    for one in found:
        found += [n for n in ast.iter_child_nodes(one) if not isinstance(n, SCOPES)]
    return found[1:]


def waits(node: ast.AST) -> bool:
    """Whether there is a `yield` in it, outside of functions inside it."""
    return any(isinstance(n, ast.Yield | ast.YieldFrom) for n in within(node))


def called(node: ast.AST) -> str:
    """Last name of what an expression calls, `"errstate"`; empty if it is no call."""
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
    return ""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_generator_waits_inside_a_context_that_is_not_its_own(package):
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / package).rglob("*.py")
        for line in paused_contexts(path.read_text("utf-8"))
    }
    assert not found


@pytest.mark.parametrize(
    "body",
    [
        "with np.errstate(over='ignore'):\n        yield 1",
        "with open('a') as a, torch.no_grad():\n        yield 1",
        "with warnings.catch_warnings():\n        for i in x:\n            yield i",
        "with decimal.localcontext():\n        x = yield from range(3)",
        "with ExitStack() as stack:\n"
        "        stack.enter_context(quiet())\n        yield 1",
        "with open('a'):\n        with state:\n            yield 1",
    ],
)
def test_a_state_that_is_held_is_seen(body):
    source = f"def numbers():\n    {body}\n"
    assert paused_contexts(source)
    assert not paused_contexts(f"@contextmanager\n{source}")


@pytest.mark.parametrize(
    "body",
    [
        "with np.errstate(over='ignore'):\n        x = 1\n    yield x",
        "with path.open() as lines:\n        yield from lines",
        "with np.errstate(all='ignore'):\n"
        "        def inner():\n            yield 1\n        return list(inner())",
    ],
)
def test_what_is_left_before_waiting_is_fine(body):
    assert not paused_contexts(f"def numbers():\n    {body}\n")


CONFIG = ViTConfig(
    img_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, mlp_dim=4
)


@pytest.fixture
def large(tmp_path):
    """Three inputs, some beyond what float32 holds."""
    values = np.random.default_rng(0).normal(size=(3, 3, 4, 4)) * 1e38
    np.save(tmp_path / "x.npy", values * 10)
    return tmp_path / "x.npy"


def test_reading_an_array_leaves_the_error_state_alone(large):
    with np.errstate(over="raise", invalid="raise"):
        before = np.geterr()
        for values in read_array(large, CONFIG):
            assert np.geterr() == before
            assert values.dtype == np.float32 and np.isinf(values).any()
        assert np.geterr() == before


def test_reading_an_array_may_end_in_another_context(large):
    inputs = contextvars.copy_context().run(lambda: started(read_array(large, CONFIG)))
    before = np.geterr()
    contextvars.copy_context().run(inputs.close)
    assert np.geterr() == before


def started(inputs):
    next(inputs)
    return inputs
