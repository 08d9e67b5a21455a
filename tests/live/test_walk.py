"""What holds for every live model, with torch alone."""

from __future__ import annotations

import functools
import subprocess
import sys

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.libraries.known_modules import ANY, COUNT, LINEAR, LIST
from converters.libraries.walk import Walk
from converters.sources.live import is_module, unwrapped
from converters.sources.live_reader import ModuleState
from converters.twins.patches import foreign_methods

torch = pytest.importorskip("torch")
nn = torch.nn


def model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4, eps=1e-3), nn.GELU("tanh"), nn.Dropout(0.25)
    )


def whole(root: nn.Module) -> Walk:
    """Takes all of it."""
    walk = Walk(root)
    walk.take("", ())
    walk.linear("0")
    assert walk.norm("1", 4) == {"1": 1e-3}
    assert walk.activation("2") == {"2": "gelu_tanh"}
    assert walk.dropout("3") == {"3": 0.25}
    return walk


def test_what_is_understood_passes():
    whole(model()).finish("nn")


def test_a_module_that_nobody_takes():
    root = model()
    root.append(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ConversionError, match="no such module in nn") as error:
        whole(root).finish("nn")
    assert [issue.name for issue in error.value.issues] == ["4"]  # what is in it is not


def _hook(root):
    root[0].register_forward_hook(lambda module, x, y: y * 2)


def _pre_hook(root):
    root[1].register_forward_pre_hook(lambda module, x: None)


def _own_forward(root):
    root[0].forward = lambda x: x


def _attribute(root):
    root[3].rate = 0.5


def _subclass(root):
    class Lora(nn.Linear):
        pass

    root[0] = Lora(3, 4)


def _parametrised(root):
    torch.nn.utils.parametrize.register_parametrization(root[0], "weight", nn.ReLU())


def _activation(root):
    root[2] = nn.Tanh()


def _weights_hook(root):
    root[0].register_state_dict_post_hook(lambda *given: None)


def _table(root):
    root[3].register_buffer("table", torch.arange(3), persistent=False)


def _order(root):
    root._modules["0"] = root._modules.pop("0")


@pytest.mark.parametrize(
    "change, name",
    [
        (_hook, "0"),
        (_pre_hook, "1"),
        (_own_forward, "0.forward"),
        (_attribute, "3.rate"),
        (_subclass, "0"),
        (_parametrised, "0"),
        (_activation, "2"),
        (_weights_hook, "0"),
        (_table, "3.table"),
        (_order, ""),
    ],
)
def test_what_could_change_the_outputs(change, name):
    root = model()
    change(root)
    walk = Walk(root)
    walk.take("", ())
    walk.linear("0")
    walk.norm("1", 4)
    walk.activation("2")
    walk.dropout("3")
    with pytest.raises(ConversionError) as error:
        walk.finish("nn")
    assert [issue.name for issue in error.value.issues] == [name]


def test_hooks_around_every_module_are_seen():
    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, x: None)
    try:
        with pytest.raises(ConversionError, match="global forward hook"):
            whole(model()).finish("nn")
    finally:
        handle.remove()
    whole(model()).finish("nn")


def test_a_table_that_no_state_dict_has_counts_from_zero():
    def walk(table):
        root = nn.Identity()
        root.register_buffer("ids", table, persistent=False)
        walk = Walk(root)
        walk.take("", (), {"ids": COUNT})
        return [issue.name for issue in walk.issues]

    assert walk(torch.arange(5)[None]) == []
    assert walk(torch.arange(5).flip(0)) == ["ids"]


@pytest.mark.parametrize("wrap", [lambda new: new, functools.wraps(nn.Linear.forward)])
def test_methods_put_into_a_library_s_class_are_seen(monkeypatch, wrap):
    assert not foreign_methods([nn.Linear, nn.LayerNorm, nn.GELU], ["torch"])
    monkeypatch.setattr(nn.Linear, "forward", wrap(lambda self, x: x))
    (issue,) = foreign_methods([nn.Linear], [])
    assert issue.name == "torch.nn.modules.linear.Linear.forward"
    assert __name__ in issue.found


def test_norms_have_one_width_and_both_weights():
    walk = Walk(nn.ModuleList([nn.LayerNorm((2, 4)), nn.LayerNorm(4, bias=False)]))
    walk.norm("0", 4)
    walk.norm("1", 4)
    assert [issue.name for issue in walk.issues] == ["0", "1.bias"]


@pytest.mark.parametrize(
    "change, name",
    [
        ({"stride": 1}, ".stride"),
        ({"padding": 1}, ".padding"),
        ({"dilation": 2}, ".dilation"),
        ({"groups": 2}, ".groups"),
        ({"padding_mode": "circular"}, ".padding_mode"),
        ({"padding": "valid"}, ""),
        ({}, ""),
    ],
)
def test_patches_are_cut_side_by_side(change, name):
    walk = Walk(
        nn.ModuleList([nn.Conv2d(2, 4, (3, 2), **{"stride": (3, 2), **change})])
    )
    assert walk.patches("0") == (3, 2)
    assert [issue.name for issue in walk.issues] == ([f"0{name}"] if name else [])


def test_one_value_for_all():
    walk = Walk(nn.Identity())
    assert walk.agree({"a": 1, "b": 2, "c": 1}) == 1
    assert [(i.name, i.found) for i in walk.issues] == [("b", "2")]
    assert walk.agree({}, 5) == 5


@pytest.mark.parametrize(
    "rates, last, wrong",
    [
        ((0.0, 0.0, 0.1, 0.1, 0.2, 0.2), 0.2, []),
        ((0.0,) * 6, 0.0, []),
        ((0.2,) * 6, 0.2, ["0", "1", "2", "3"]),
        ((0.0, 0.0, 0.1, 0.3, 0.2, 0.2), 0.2, ["3"]),
    ],
)
def test_stochastic_depth_grows(rates, last, wrong):
    walk = Walk(nn.Identity())
    named = {str(number): rate for number, rate in enumerate(rates)}
    assert walk.growing(named, 3) == last
    assert [issue.name for issue in walk.issues] == wrong


def test_attributes_have_their_one_value():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.causal, self.free, self.flag = True, object(), 1

    walk = Walk(Odd())
    walk.take("", (), {"causal": False, "free": ANY, "flag": True})
    assert [i.name for i in walk.issues] == ["causal", "flag"]  # 1 is not True


def test_an_absent_module_is_named():
    walk = Walk(nn.ModuleList([nn.Identity()]))
    assert walk.take("7.fc", LINEAR) is None
    assert walk.blocks("0") == 0 and walk.is_a("", LIST)
    assert [issue.name for issue in walk.issues] == ["7.fc", "0"]


def test_wrappers_are_looked_through():
    inner = model()
    assert unwrapped(nn.DataParallel(torch.compile(inner))) is inner


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ConversionError, match="no model that is known here"):
        convert(model(), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
    assert not is_module("x.safetensors") and not is_module(tmp_path)


def test_tensors_are_copies_of_plain_ones():
    linear = nn.Linear(3, 2, dtype=torch.bfloat16)
    state = ModuleState(linear)
    values = state.read("weight")
    assert values.dtype.name == "bfloat16"
    assert np.array_equal(values.astype("float32"), linear.weight.detach().float())
    before = values.copy()
    with torch.no_grad():
        linear.weight.zero_()
    assert values.tobytes() == before.tobytes()
    with pytest.raises(ConversionError, match="without values"):
        ModuleState(nn.Linear(2, 2, device="meta"))


def test_a_model_is_told_from_a_path_without_torch():
    code = (
        "import sys; from converters.sources.live import is_module\n"
        "assert not is_module('x'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
