"""Torch's other files: TorchScript, torch.export's archives, pickles, odd suffixes."""

from __future__ import annotations

import enum
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from converters.conversion.convert import convert
from converters.errors import ConversionError
from converters.files.torch_file import TorchFile
from tests.dialects.common import MONAI, monai_names, same
from tests.fill import fill_weights

CONFIG = MONAI["bare"]
ARRAYS = fill_weights(CONFIG)
NAMED = monai_names(CONFIG, ARRAYS, False)


def weights():
    return {name: torch.tensor(values) for name, values in NAMED.items()}


class Holder(torch.nn.Module):
    """Holds tensors under dotted names, and multiplies by one of them."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            *parents, leaf = name.split(".")
            module = self
            for parent in parents:
                if parent not in dict(module.named_children()):
                    module.add_module(parent, Part())
                module = getattr(module, parent)
            module.register_parameter(leaf, torch.nn.Parameter(tensor))

    def forward(self, x):
        return x * self.norm.weight


class Part(torch.nn.Module):
    def forward(self, x):
        return x


def x():
    return torch.randn(2, CONFIG.embed_dim)


def read(path):
    out = path.parent / "canonical.safetensors"
    report = convert(path, out, config=CONFIG, force=True)
    return report, load_file(out)


def scripted(path, trace):
    model = Holder(weights()).eval()
    module = torch.jit.trace(model, x()) if trace else torch.jit.script(model)
    torch.jit.save(module, path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trace", [True, False])
def test_torchscript_gives_its_tensors(trace, tmp_path):
    report, found = read(scripted(tmp_path / "m.pt", trace))
    assert same(found, ARRAYS)
    assert not report.others.unchecked


class Layout(enum.Enum):
    FIRST = "first"
    LAST = "last"


class Number(enum.Enum):
    ONE = 1
    TWO = 2


class Enumerated(Holder):
    def __init__(self, tensors):
        super().__init__(tensors)
        self.first, self.last, self.again = Layout.FIRST, Layout.LAST, Layout.LAST
        self.one, self.two = Number.ONE, Number.TWO
        self.sizes, self.table = [1, 2], {"a": 1}

    def forward(self, x):
        kinds = self.last == self.again and self.first != self.last
        if kinds and self.two != self.one and self.table["a"] in self.sizes:
            x = x + 1
        return x * self.norm.weight


@pytest.mark.filterwarnings("ignore")
def test_attributes_of_torchscript_are_left_aside(tmp_path):
    module = torch.jit.script(Enumerated(weights()).eval())
    torch.jit.save(module, tmp_path / "m.pt")
    report, found = read(tmp_path / "m.pt")
    assert same(found, ARRAYS)
    aside = report.others.aside
    assert {"first", "last", "again", "two", "sizes", "table"} <= aside.keys()
    assert (aside["sizes"], aside["table"]) == ("list of 2", "dict of 1")
    assert aside["last"].endswith("Layout") and aside["two"].endswith("Number")


def test_modules_that_multiply_are_refused(tmp_path):
    """Each module stands twice in the one above it: billions of names in all."""
    value = b"\x80\x02c__torch__.m\nM\nq\x00)\x81q\x01}b0"
    for level in range(2, 60):
        inner, here = bytes([level - 1]), bytes([level])
        both = b"X\x01\x00\x00\x00ah" + inner + b"X\x01\x00\x00\x00bh" + inner
        value += b"h\x00)\x81q" + here + b"}(" + both + b"ub0"
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", value + b"h\x1e.")  # 2 ** 29 of them
        archive.writestr("m/constants.pkl", b"\x80\x02).")
    with pytest.raises(ConversionError, match="nested without end"):
        read(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore")
def test_frozen_torchscript_is_refused_by_name(tmp_path):
    model = torch.jit.script(Holder(weights()).eval())
    torch.jit.save(torch.jit.freeze(model), tmp_path / "m.pt")
    with pytest.raises(ConversionError, match=r"frozen modules \(torch.jit.freeze\)"):
        read(tmp_path / "m.pt")


def exported(path, model=None):
    program = torch.export.export(model or Holder(weights()).eval(), (x(),))
    torch.export.save(program, path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_gives_its_tensors(tmp_path):
    _, found = read(exported(tmp_path / "m.pt2"))
    assert same(found, ARRAYS)


@pytest.mark.filterwarnings("ignore")
def test_tensors_of_an_exported_program_may_share_and_be_transposed(tmp_path):
    model = Holder({"norm.weight": torch.ones(CONFIG.embed_dim)})
    both = torch.arange(24.0).reshape(4, 6)
    model.register_buffer("part", both[1:3])
    model.register_buffer("turned", both.t())
    model.register_buffer("brief", torch.arange(5).to(torch.bfloat16))
    path = exported(tmp_path / "m.pt2", model)
    with TorchFile(path) as file:
        assert (file.read("part") == both[1:3].numpy()).all()
        assert (file.read("turned") == both.t().numpy()).all()
        assert file.tensors["brief"].dtype == "bfloat16"
        assert (file.read("brief").astype(np.float32) == np.arange(5)).all()


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


OLDER = {
    # written as torch 2.8, 2.7 and 2.1 did
    "2.8": {
        "m/archive_format": b"pt2",
        "m/models/model.json": b"{}",
        "m/data/weights/model.pt": saved(weights()),
        "m/data/constants/model.pt": saved({"c": torch.ones(3)}),
    },
    "2.7": {
        "serialized_exported_program.json": b"{}",
        "serialized_state_dict.pt": saved(weights()),
        "serialized_constants.pt": saved({"c": torch.ones(3)}),
        "version": b"8.5",
    },
    "2.1": {
        "serialized_exported_program.json": b"{}",
        "serialized_state_dict.json": saved(weights()),
    },
}


@pytest.mark.parametrize("release", OLDER)
def test_older_layouts_of_an_exported_program(release, tmp_path):
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in OLDER[release].items():
            archive.writestr(name, data)
    assert same(read(path)[1], ARRAYS)


def changed(path, change):
    """Rewrites the JSON that says where the tensors of a program are."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if name.endswith("_weights_config.json"):
                fields = json.loads(data)
                change(fields["config"]["norm.weight"])
                archive.writestr(name, json.dumps(fields))
            else:
                archive.writestr(name, data)


def meta(**fields):
    return lambda entry: entry["tensor_meta"].update(fields)


LIES = {
    "longer": (meta(sizes=[{"as_int": 10**9}]), "larger than its storage"),
    "negative": (meta(sizes=[{"as_int": -1}]), "of two ranks"),
    "offset": (meta(storage_offset={"as_int": -1}), "before the first"),
    "rank": (meta(strides=[]), "of two ranks"),
    "text": (meta(sizes="x"), "makes no sense"),
    "type": (meta(dtype=99), "of type unknown"),
    "sparse": (meta(layout=1), "a sparse tensor"),
    "file": (lambda entry: entry.update(path_name="../x"), "there is no entry"),
    "pickle": (lambda entry: entry.update(use_pickle=True), "class of its own"),
    "none": (lambda entry: entry.pop("tensor_meta"), "makes no sense"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lie", LIES)
def test_an_exported_program_that_lies_is_refused(lie, tmp_path):
    change, text = LIES[lie]
    path = exported(tmp_path / "m.pt2", Holder({"norm.weight": torch.ones(24)}))
    changed(path, change)
    with pytest.raises(ConversionError, match=text):
        read(path)


def test_a_compiled_program_is_refused_by_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/data/aotinductor/model/x.so", "")
    with pytest.raises(ConversionError, match="AOTInductor"):
        read(tmp_path / "m.pt2")


@pytest.mark.parametrize("name", ["m.pth.tar", "m.model", "m.pkl", "weights", "m.v1"])
@pytest.mark.parametrize("old", [True, False])
def test_a_checkpoint_is_known_by_its_content(name, old, tmp_path):
    path = tmp_path / name
    torch.save({"net": weights()}, path, _use_new_zipfile_serialization=not old)
    assert same(read(path)[1], ARRAYS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles_of_arrays_are_read(protocol, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"model": NAMED, "__author__": "x"}, protocol))
    report, found = read(path)
    assert same(found, ARRAYS)
    assert report.others.unchecked


def test_other_archives_are_refused_by_name(tmp_path):
    with tarfile.open(tmp_path / "m.pth.tar", "w") as archive:
        archive.add(__file__, "x")
    with pytest.raises(ConversionError, match="a tar archive, to be unpacked"):
        read(tmp_path / "m.pth.tar")
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("best.pth", saved(weights()))
    with pytest.raises(ConversionError, match=r"something else: best.pth, and no"):
        read(tmp_path / "m.pth")
    (tmp_path / "m.xyz").write_bytes(b"hello")
    with pytest.raises(ConversionError, match="unknown suffix"):
        read(tmp_path / "m.xyz")


VIEWS = {
    "transposed": lambda t: t.t().contiguous().t(),
    "channels_last": lambda t: t.unsqueeze(0).expand(3, 4, 6).clone().mT,
    "part": lambda t: torch.stack([t.flip(0), t, t.flip(1)])[1],
    "steps": lambda t: torch.cat([t, t])[::2],
    "scalar": lambda t: t[0, 0],
    "empty": lambda t: t[:0],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "uint8", "bool"])
def test_every_view_has_its_values(view, old, dtype, tmp_path):
    values = (torch.arange(24) * 7 % 11).reshape(4, 6).to(getattr(torch, dtype))
    tensor = VIEWS[view](values)
    path = tmp_path / "m.pth"
    value = {"a": torch.ones(2), "x": tensor}
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    with TorchFile(path) as file:
        found = file.read("x")
        assert file.tensors["x"].dtype == dtype
    assert found.shape == tuple(tensor.shape) and found.flags.c_contiguous
    assert (found.astype(np.float64) == tensor.double().numpy()).all()


def test_values_of_the_other_byte_order(tmp_path):
    path = tmp_path / "m.pth"
    torch.save({"a": torch.arange(5.0)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            turned = b"big"
            if not name.endswith("byteorder"):
                values = "/data/" in name
                turned = np.frombuffer(data, ">f4").astype("<f4") if values else data
            archive.writestr(name, bytes(turned))
    with TorchFile(path) as file:
        assert (file.read("a") == np.arange(5)).all()
    assert torch.load(path, weights_only=True)["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_negative_view_is_refused(tmp_path):
    turned = torch.ones(3, dtype=torch.complex64).conj().imag
    assert turned.is_neg()
    torch.save({"a": torch.ones(1), "x": turned}, tmp_path / "m.pth")
    with pytest.raises(ConversionError, match="a conjugate or negative view"):
        TorchFile(tmp_path / "m.pth")


def test_parameters_are_tensors_with_or_without_attributes(tmp_path):
    value = torch.nn.Parameter(torch.arange(3.0))
    tagged = torch.nn.Parameter(torch.arange(3.0))
    tagged.tag = "x"
    torch.save({"a": value, "b": tagged}, tmp_path / "m.pth")
    with TorchFile(tmp_path / "m.pth") as file:
        assert file.read("a").tolist() == file.read("b").tolist() == [0, 1, 2]


class Labelled(torch.Tensor):
    pass


def test_a_subclass_of_tensor_is_refused(tmp_path):
    torch.save({"a": torch.ones(3).as_subclass(Labelled)}, tmp_path / "m.pth")
    with pytest.raises(ConversionError, match="Labelled, not a plain tensor"):
        TorchFile(tmp_path / "m.pth")
