"""What training loops save beside the weights is left aside, and said."""

from __future__ import annotations

import argparse
import collections
import json
import pathlib

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from converters.checks.inspection import inspect
from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.wording import COMMAND_LINE, speaking
from tests.dialects.common import MONAI, monai_names, same
from tests.fill import fill_weights

CONFIG = MONAI["bare"]  # 5 classes
ARRAYS = fill_weights(CONFIG)
NAMED = monai_names(CONFIG, ARRAYS, False)


def weights(prefix="", factor=1):
    return collections.OrderedDict(
        (prefix + name, torch.tensor(values) * factor) for name, values in NAMED.items()
    )


def optimizer():
    """The state of a real AdamW after a step: moments of the weights' own shapes."""
    values = [torch.nn.Parameter(tensor) for tensor in weights().values()]
    adam = torch.optim.AdamW(values)
    for value in values:
        value.grad = torch.ones_like(value)
    adam.step()
    return adam


def save(value, path, **options):
    torch.save(value, path, **options)
    return path


def read(path, **options):
    out = path.parent / "canonical.safetensors"
    report = convert(path, out, config=CONFIG, force=True, **options)
    return report, load_file(out)


class Tracker:
    def __init__(self):
        self.best, self.path = 0.5, pathlib.PurePosixPath("runs/1")


class Attributes(dict):
    """A dict with attributes, as many libraries have one."""


def schedule(step):
    return step


def lightning():
    adam = optimizer()
    return {
        "epoch": 3,
        "global_step": 30,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": weights("model."),
        "loops": {"fit_loop": {"state": {"batches": torch.tensor(3)}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'loss'}": {
                "best_model_score": torch.tensor(0.5),
                "best_k_models": {"/runs/../a.ckpt": torch.tensor(0.5)},
                "weights": torch.ones(3),
            }
        },
        "optimizer_states": [adam.state_dict()],
        "lr_schedulers": [{"last_epoch": 3, "lr_lambdas": [schedule]}],
        "hyper_parameters": Attributes(
            args=argparse.Namespace(out=pathlib.PurePosixPath("out")),
            act=torch.nn.functional.relu,
            class_weights=torch.ones(5),
        ),
    }


def timm_train():
    return {
        "epoch": 9,
        "arch": "vit_tiny_patch16_224",
        "state_dict": weights(),
        "optimizer": optimizer().state_dict(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, class_map=None),
        "amp_scaler": {"scale": 65536.0, "_growth_tracker": 0},
        "metric": np.float64(0.5),
    }


def torchvision_train():
    adam = optimizer()
    schedule_state = torch.optim.lr_scheduler.LambdaLR(adam, schedule).state_dict()
    return {
        "model": weights("module."),
        "optimizer": adam.state_dict(),
        "lr_scheduler": schedule_state,
        "epoch": 1,
        "args": argparse.Namespace(device="cuda"),
    }


def ignite():
    return {
        "net": weights(),
        "trainer": {"epoch_length": 7, "max_epochs": 3, "iteration": 21},
        "optimizer": optimizer().state_dict(),
        "evaluator": collections.OrderedDict(rng_states=None),
    }


def tutorial():
    return {
        "epoch": 1,
        "model_state_dict": weights(),
        "optimizer_state_dict": optimizer().state_dict(),
        "loss": torch.tensor(0.5, requires_grad=True),
        "history": {"loss": [1.0, 0.5], "acc": [np.float32(0.5)]},
        "best": np.float32(0.9),
        "rng": torch.get_rng_state(),
        "numpy_rng": np.random.RandomState(0).get_state(),
        "cuda_rng": [torch.get_rng_state()],
    }


def objects():
    return {
        "weights": weights(),
        "g_opt": optimizer().state_dict(),
        "whole_optimizer": optimizer(),
        "tracker": Tracker(),
        "criterion": torch.nn.CrossEntropyLoss(weight=torch.ones(5)),
        "default": collections.defaultdict(list, a=[1]),
        "recent": collections.deque([1.0], maxlen=3),
        0: {1: torch.zeros((), dtype=torch.int64), "x": {2: Tracker()}},
        None: 3,
        (1, 2): "x",
    }


FLOWS = {
    lightning: "callbacks (dict of 1), optimizer_states (list of 1)",
    timm_train: "args (argparse.Namespace), amp_scaler (dict of 2)",
    torchvision_train: "lr_scheduler (dict of",
    ignite: "trainer (dict of 3)",
    tutorial: "loss (tensor, float32), history (dict of 2)",
    objects: f"tracker ({__name__}.Tracker)",
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_a_training_checkpoint_gives_its_model_and_names_the_rest(flow, old, tmp_path):
    path = tmp_path / "last.ckpt"
    save(flow(), path, _use_new_zipfile_serialization=not old)
    report, found = read(path)
    assert same(found, ARRAYS)
    row = next(text for text in str(report).splitlines() if "left aside" in text)
    assert FLOWS[flow] in row or FLOWS[flow] in listed(report.others.aside)
    assert not report.dropped and not report.steps
    told = json.loads(report.to_json())["left_aside"]
    assert told == dict(report.others.aside) and len(told) >= 3
    assert "left aside" in str(inspect(path, config=CONFIG))


def listed(aside):
    return ", ".join(f"{name} ({kind})" for name, kind in aside.items())


@pytest.mark.parametrize("wrap", [Attributes, collections.OrderedDict, dict])
@pytest.mark.parametrize("protocol", [2, 4])
def test_any_kind_of_dict_is_a_dict(wrap, protocol, tmp_path):
    inside = wrap(epoch=1, net=wrap(weights()))
    path = save(inside, tmp_path / "m.pth", pickle_protocol=protocol)
    assert same(read(path)[1], ARRAYS)


def test_lists_are_looked_into_where_no_dict_has_weights(tmp_path):
    path = save([3, weights()], tmp_path / "m.pth")
    assert same(read(path)[1], ARRAYS)
    save({"folds": [weights(), weights(factor=2)], "epoch": 1}, path)
    with pytest.raises(ConversionError) as error, speaking(COMMAND_LINE):
        read(path)
    assert "--prefix folds.0. or --prefix folds.1." in str(error.value)
    assert same(read(path, prefix="folds.0.")[1], ARRAYS)


def test_numpy_arrays_instead_of_tensors(tmp_path):
    arrays = {name: np.asarray(value) for name, value in NAMED.items()}
    path = save({"model": arrays, "epoch": np.int64(3)}, tmp_path / "m.pth")
    report, found = read(path)
    assert same(found, ARRAYS)
    assert report.others.aside == {"epoch": "int"}


@pytest.mark.parametrize("names", [("state_dict", "state_dict_ema"), ("model", "ema")])
def test_averaged_weights_beside_the_model_are_asked_for(names, tmp_path):
    plain, averaged = names
    value = {plain: weights(), averaged: weights(factor=2), "args": Tracker()}
    path = save(value, tmp_path / "model_best.pth.tar")
    with pytest.raises(ConversionError) as error, speaking(COMMAND_LINE):
        read(path)
    options = " or ".join(f"--prefix {name}." for name in sorted(names))
    assert str(error.value).endswith(options)
    assert same(read(path, prefix=f"{plain}.")[1], ARRAYS)
    doubled = {name: values * 2 for name, values in ARRAYS.items()}
    assert same(read(path, prefix=f"{averaged}.")[1], doubled)


def test_what_shards_hold_beside_the_weights_is_said(tmp_path):
    names = sorted(NAMED)
    files = {"a.bin": names[::2], "b.bin": names[1::2]}
    for file, held in files.items():
        part = {name: torch.tensor(NAMED[name]) for name in held}
        save({**part, "args": Tracker()}, tmp_path / file)
    index = {"weight_map": {n: file for file, held in files.items() for n in held}}
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps(index))
    report, found = read(path)
    assert same(found, ARRAYS)
    assert report.others.aside == {"args": f"{__name__}.Tracker"}


# ---- objects that have the weights ---------------------------------------------------


class Trainer:
    def __init__(self, model):
        self.model, self.step = model, 3
        self.trainer = self  # a cycle


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(30, 20)


def replayed(error, path, monkeypatch):
    """Runs the two lines that the refusal gives, and reads what they write."""
    lines = [line.strip() for line in str(error.value).splitlines()[-2:]]
    monkeypatch.chdir(path.parent)
    exec("\n".join(lines), {"torch": torch})
    return torch.load("weights.pth", weights_only=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "wrap",
    {
        "module": lambda net: net,
        "nested": lambda net: {"epoch": 1, "model": net},
        "parallel": torch.nn.DataParallel,
        "object": lambda net: {"trainer": Trainer(net)},
        "list": lambda net: [1, {"it's": net}],
        "more": lambda net: {"model": net, "class_weights": torch.ones(5)},
        "fx": lambda net: torch.fx.symbolic_trace(torch.nn.Sequential(net.inner)),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_weights_in_an_object_are_refused_with_the_lines_that_save_them(
    wrap, tmp_path, monkeypatch
):
    net = Net()
    path = save(wrap[1](net), tmp_path / "m.pth")
    with pytest.raises(ConversionError, match="the weights are in an object") as error:
        convert(path, tmp_path / "o.safetensors", config=CONFIG)
    saved = replayed(error, path, monkeypatch)
    assert any(torch.equal(value, net.inner.weight) for value in saved.values())


def test_a_module_beside_the_weights_is_left_aside(tmp_path):
    value = {"model": weights(), "projector": Net(), "criterion": Net()}
    report, found = read(save(value, tmp_path / "m.pth"))
    assert same(found, ARRAYS)
    assert report.others.aside["projector"] == f"{__name__}.Net"


# ---- labels ------------------------------------------------------------------------

NAMES = ("cat", "dog", "eel", "fox", "it's")
PLACES = {
    "class_to_idx": {name: i for i, name in reversed(list(enumerate(NAMES)))},
    "idx_to_class": dict(enumerate(NAMES)),
    "id2label": {str(i): name for i, name in enumerate(NAMES)},
    "label2id": {name: np.int64(i) for i, name in enumerate(NAMES)},
    "classes": list(NAMES),
    "class_names": NAMES,
}


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("nested", [False, True])
def test_labels_are_offered_and_not_taken(key, nested, tmp_path):
    held = {key: PLACES[key]}
    more = {"args": argparse.Namespace(data=held)} if nested else held
    path = save({"state_dict": weights(), **more}, tmp_path / "m.pth")
    report, _ = read(path)
    assert report.config.labels is None
    with speaking(COMMAND_LINE):
        text = str(report)
        seen = str(inspect(path))
    option = """--set 'labels=["cat","dog","eel","fox","it'"'"'s"]'"""
    assert f"in the file: cat, dog, eel, fox, it's ({option})" in text
    assert option in seen
    (told,) = json.loads(report.to_json())["labels_in_file"]
    assert told["names"] == list(NAMES) and told["where"].endswith(key)
    taken, _ = read(path, changes={"labels": list(NAMES)})
    assert taken.config.labels == NAMES and "in the file: cat" not in str(taken)


@pytest.mark.parametrize(
    "value, text",
    [
        ({"cat": 0, "dog": 2}, "its numbers are not 0 to 1"),
        ({"cat": 1, "dog": 1}, "its numbers are not 0 to 1"),
        ({"cat": 0, "dog": 1}, "cat, dog (class_to_idx: 2 names, for 5 classes)"),
        (dict(zip("ab\x1bde", range(5), strict=True)), "control characters"),
        ({f"class {i}": i for i in range(70)}, "70 names, for 5 classes"),
    ],
)
def test_labels_that_do_not_fit_are_only_said(value, text, tmp_path):
    path = save({"net": weights(), "class_to_idx": value}, tmp_path / "m.pth")
    report, _ = read(path)
    assert text in str(report) and "changes=" not in str(report)
    assert "\x1b" not in str(report)


@pytest.mark.parametrize("value", [{"train": ["a"]}, 5, [], [1, 2], {"a": 0.5}])
def test_what_is_only_called_labels_is_no_list_of_them(value, tmp_path):
    report, _ = read(save({"net": weights(), "labels": value}, tmp_path / "m.pth"))
    assert not report.others.labels


# ---- size --------------------------------------------------------------------------


def test_shared_and_circular_values_end(tmp_path):
    level = {"x": 1}
    for _ in range(60):
        level = {"a": level, "b": level, "c": [level] * 3}
    level["self"] = level
    args = argparse.Namespace(level=level)
    args.me = args
    value = {"net": weights(), "level": level, "args": args}
    assert same(read(save(value, tmp_path / "m.pth"))[1], ARRAYS)


def test_names_that_are_no_names_are_refused_only_of_the_model(tmp_path):
    value = {"net": weights(), "callbacks": {"/a/../b": torch.ones(3)}}
    path = save(value, tmp_path / "m.pth")
    assert same(read(path)[1], ARRAYS)
    save({"net": weights(), "bank": {"/a/../b": torch.ones(3)}}, path)
    with pytest.raises(ConversionError, match="a path, not a name"):
        read(path)
