"""The twins read line by line: same files, classes, methods, arguments, names.

Only the source is read, no framework is imported. What may differ is written down here.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

KERAS_FILES = {
    "dropout.py": "torch's dropout has nothing to store",
    "feature_extractor.py": "in torch a hook or a plain module does this",
    "guard.py": "load_state_dict is strict by itself",
    "loading.py": "torch has no file format of its own here",
    "named_weights.py": "torch stores all parameters by name",
    "saving.py": "get_config, load_weights: Keras' own",
}
"""Files that only the Keras twin has, and why."""

KERAS_NAMES = {
    "linear.py": {
        *("PatchConv", "PatchConv2D", "PatchConv3D"),  # torch uses nn.Conv2d, nn.Conv3d
        "dot_product_attention",  # torch uses torch.nn.functional
        "products",  # attention on TensorFlow
        "split_patches",  # torch transposes any number of axes
    },
    "init.py": {"loading", "no_init"},
    "preprocess_volume.py": {"rank_of", "tables_of"},  # graphs of no fixed size
    "pos_embed.py": {"expand"},  # a method of torch's tensors
}
"""Classes and functions that only the Keras twin has."""

KERAS_METHODS = {
    *("build", "get_config", "from_config"),
    *("used_bias", "quantize"),  # Linear: LoRA and quantisation are Keras' own
    *(
        "check",
        "compute_output_shape",
        "matrices",
    ),  # Preprocess: images of no fixed size
    "_add_token",  # torch makes a Parameter in one expression
}
TORCH_METHODS = {
    "set_grad_checkpointing",  # Keras: keras.RematScope
    "_run",  # checkpointing
}
NO_METHODS = {"DropPath"}
"""Classes that take their call from Keras' own layer."""

KERAS_ARGUMENTS = {
    *("kwargs", "name", "dtype", "trainable"),
    *("frozen", "quantized"),  # what the saved config holds beside the config
    "training",  # torch: a state of the module
}
TORCH_ARGUMENTS = {"factory", "device", "dtype"}
ARGUMENT_NAMES = {"in_features": None, "out_features": "units", "bias": "use_bias"}
"""Of `Linear`, which keeps the names of its base class in either framework."""

KERAS_ATTRIBUTES = {
    "config",  # needed by build
    *("_guard", "built"),
}
TORCH_ATTRIBUTES = {
    "grad_checkpointing",
    "rate",  # DropPath: Keras' base class has it
}
MADE_IN_BUILD = {"latent", "gamma"}
"""Weights of their own, which Keras layers make in `build`."""


@dataclass
class Class:
    """What is compared of a class."""

    methods: dict[str, list[str]] = field(default_factory=dict)
    attributes: list[str] = field(default_factory=list)
    taps: dict[str, list[str]] = field(default_factory=dict)
    wrong_names: list[str] = field(default_factory=list)


def files(package: str) -> dict[str, ast.Module]:
    paths = sorted((ROOT / package).glob("*.py"))
    return {path.name: ast.parse(path.read_text("utf-8")) for path in paths}


TORCH, KERAS = files("torch_vit"), files("keras_vit")
SHARED = sorted(TORCH.keys() & KERAS.keys() - {"__init__.py"})


def names(tree: ast.Module, skipped: set[str] = frozenset()) -> list[str]:
    """Classes and functions of a file, in order."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    found = [node.name for node in tree.body if isinstance(node, kinds)]
    return [name for name in found if name not in skipped]


def arguments(function: ast.FunctionDef) -> list[str]:
    spec = function.args
    found = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    found += [a.arg for a in (spec.vararg, spec.kwarg) if a is not None]
    return [name for name in found if name not in ("self", "cls")]


def classes(tree: ast.Module) -> dict[str, Class]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = read_class(node)
    return found


def read_class(node: ast.ClassDef) -> Class:
    found = Class()
    for function in node.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        name = "forward" if function.name == "call" else function.name
        found.methods[name] = arguments(function)
        for part in ast.walk(function):
            if isinstance(part, ast.Assign):
                read_assignment(part, found)
            elif isinstance(part, ast.Call) and (tap := tap_name(part)):
                found.taps.setdefault(name, []).append(tap)
    return found


def read_assignment(node: ast.Assign, found: Class) -> None:
    targets = []
    for target in node.targets:
        targets += target.elts if isinstance(target, ast.Tuple) else [target]
    for target in targets:
        is_own = isinstance(target, ast.Attribute) and (
            isinstance(target.value, ast.Name) and target.value.id == "self"
        )
        if not is_own:
            continue
        if target.attr not in found.attributes:
            found.attributes.append(target.attr)
        for call in ast.walk(node.value):
            if not isinstance(call, ast.Call):
                continue
            for keyword in call.keywords:
                given = keyword.value
                fixed = keyword.arg == "name" and isinstance(given, ast.Constant)
                if fixed and given.value.strip("_") != target.attr.strip("_"):
                    found.wrong_names.append(f"{target.attr} = ... {given.value!r}")


def tap_name(call: ast.Call) -> str | None:
    """The name in `taps("qkv", ...)` or `taps.of("attn", ...)`."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "of":
        function = function.value
    if not (isinstance(function, ast.Name) and function.id == "taps" and call.args):
        return None
    return ast.unparse(call.args[0])


def test_same_files():
    assert KERAS.keys() - TORCH.keys() == KERAS_FILES.keys()
    assert not TORCH.keys() - KERAS.keys()


@pytest.mark.parametrize("file", SHARED)
def test_same_names_in_the_same_order(file):
    extra = KERAS_NAMES.get(file, set())
    assert names(KERAS[file], extra) == names(TORCH[file])
    assert extra <= set(names(KERAS[file])), "an exception that is not needed"


def pairs() -> list[tuple[str, str]]:
    return [(file, name) for file in SHARED for name in classes(TORCH[file])]


@pytest.mark.parametrize(("file", "name"), pairs())
def test_same_methods_in_the_same_order(file, name):
    if name in NO_METHODS:
        return
    torch_class, keras_class = classes(TORCH[file])[name], classes(KERAS[file])[name]
    ours = [m for m in keras_class.methods if m not in KERAS_METHODS]
    theirs = [m for m in torch_class.methods if m not in TORCH_METHODS]
    assert ours == theirs


@pytest.mark.parametrize(("file", "name"), pairs())
def test_same_arguments(file, name):
    torch_class, keras_class = classes(TORCH[file])[name], classes(KERAS[file])[name]
    for method in torch_class.methods.keys() & keras_class.methods.keys():
        theirs = [
            ARGUMENT_NAMES.get(argument, argument) if name == "Linear" else argument
            for argument in torch_class.methods[method]
            if argument not in TORCH_ARGUMENTS
        ]
        ours = [a for a in keras_class.methods[method] if a not in KERAS_ARGUMENTS]
        assert ours == [a for a in theirs if a is not None], method


@pytest.mark.parametrize("file", SHARED)
def test_same_arguments_of_functions(file):
    def functions(tree):
        return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}

    ours, theirs = functions(KERAS[file]), functions(TORCH[file])
    for name in theirs:
        if file == "init.py" and name == "fill":
            continue  # tensor, variable: each its framework's word
        assert arguments(ours[name]) == arguments(theirs[name]), name


@pytest.mark.parametrize(("file", "name"), pairs())
def test_same_attributes_in_the_same_order(file, name):
    theirs = classes(TORCH[file])[name].attributes
    ours = classes(KERAS[file])[name].attributes
    common = {*theirs} & {*ours} - MADE_IN_BUILD
    assert {*theirs} & MADE_IN_BUILD == {*ours} & MADE_IN_BUILD
    theirs, ours = ([a for a in x if a not in MADE_IN_BUILD] for x in (theirs, ours))
    assert set(theirs) - common <= TORCH_ATTRIBUTES
    assert set(ours) - common <= KERAS_ATTRIBUTES
    order = [attribute for attribute in ours if attribute in common]
    assert order == [attribute for attribute in theirs if attribute in common]


@pytest.mark.parametrize(("file", "name"), pairs())
def test_same_taps_in_the_same_order(file, name):
    assert classes(KERAS[file])[name].taps == classes(TORCH[file])[name].taps


def test_taps_were_found():
    """Against a reader that sees none."""
    assert classes(TORCH["block.py"])["Block"].taps["forward"][:2] == [
        "'norm1'",
        "'attn'",
    ]


@pytest.mark.parametrize("file", sorted(KERAS))
def test_an_attribute_has_the_name_of_its_layer(file):
    wrong = [
        f"{name}: {line}"
        for name, found in classes(KERAS[file]).items()
        for line in found.wrong_names
    ]
    assert not wrong


def test_keras_layers_are_registered():
    """An unregistered layer would be saved under a path that a rename breaks."""
    unregistered = [
        f"{file}: {node.name}"
        for file, tree in KERAS.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(b).startswith(("layers.", "keras.")) for b in node.bases)
        and not any("vit_duet" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert not unregistered
