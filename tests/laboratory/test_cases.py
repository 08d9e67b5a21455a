"""A user's list of cases: what is read, what is counted, what is written."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError
from converters.parity.case_list import chunks, read_cases
from converters.parity.cases import Tally, changed, in_words, write_case_rows
from converters.parity.decisions import UNDECIDED, Rule
from converters.parity.record import CaseSummary
from vit_config import ViTConfig

LARGEST, YES, EACH = Rule("largest"), Rule("yes", 0.5), Rule("each", 0.5)


def config(**changes) -> ViTConfig:
    fields = {"img_size": 4, "patch_size": 2, "embed_dim": 8, "depth": 1}
    fields |= {"num_heads": 2, "mlp_dim": 8, "in_chans": 1, "num_classes": 3}
    return ViTConfig(**{**fields, **changes})


PLAIN = config()
NAMED = config(labels=("cat", "dog", "2"))
SINGLE = config(num_classes=1, problem_type="multi_label")


def arrays(folder: Path, count: int) -> np.ndarray:
    """Files 0.npy, 1.npy ... and what they hold."""
    values = np.random.default_rng(1).standard_normal((count, 1, 4, 4), np.float32)
    for i, one in enumerate(values):
        np.save(folder / f"{i}.npy", one)
    return values


def listed(folder: Path, text: str | bytes) -> Path:
    path = folder / "cases.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path, c: ViTConfig = PLAIN, rule: Rule = LARGEST) -> str:
    with pytest.raises(ConversionError) as caught:
        read_cases(path, c, rule)
    assert path.name in str(caught.value)
    return str(caught.value)


# ---- the list ---------------------------------------------------------------------


def test_paths_start_from_the_list_and_labels_are_indices_or_names(tmp_path):
    arrays(tmp_path, 4)
    path = listed(
        tmp_path, f"path,label\n0.npy,dog\n1.npy,0\n{tmp_path}/2.npy, 1\n\n3.npy,\n"
    )
    cases = read_cases(path, NAMED, LARGEST)
    assert [case.path.name for case in cases] == [f"{i}.npy" for i in range(4)]
    assert [case.label for case in cases] == [1, 0, 1, None]
    assert [case.line for case in cases] == [2, 3, 4, 6]


def test_a_label_that_is_a_name_is_no_index(tmp_path):
    arrays(tmp_path, 1)
    path = listed(tmp_path, "path,label\n0.npy,2\n")
    swapped = config(labels=("2", "dog", "cat"))
    assert read_cases(path, swapped, LARGEST)[0].label == 0


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,label\r\n0.npy,1\r\n",
        'label,path\n1,"0.npy"\n',
        "path , label\n 0.npy ,1",
    ],
)
def test_ways_to_write_the_same_list(tmp_path, text):
    arrays(tmp_path, 1)
    (case,) = read_cases(listed(tmp_path, text), PLAIN, LARGEST)
    assert (case.path.name, case.label) == ("0.npy", 1)


def test_labels_may_be_missing_altogether(tmp_path):
    arrays(tmp_path, 2)
    path = listed(tmp_path, "path\n0.npy\n1.npy\n")
    assert [case.label for case in read_cases(path, PLAIN, EACH)] == [None, None]


def test_every_wrong_line_is_named(tmp_path):
    arrays(tmp_path, 3)
    (tmp_path / "notes.txt").touch()
    rows = ["0.npy,3", "1.npy,-1", "2.npy,dog", "gone.npy,0", "notes.txt,0"]
    rows += ["0.npy,0", ",1", "x\0.npy,1", f"{'long' * 99}.npy,1"]
    text = refused(listed(tmp_path, "path,label\n" + "\n".join(rows)))
    assert "9 problems" in text
    for line, what in [
        (2, "label '3'; expected 0 to 2"),
        (3, "label '-1'"),
        (4, "label 'dog'"),
        (5, "gone.npy: no such file"),
        (6, "notes.txt: another kind"),
        (7, "same file as line 2"),
        (8, "no path"),
        (9, "no path"),
        (10, "name too long"),
    ]:
        assert any(
            f"line {line} " in row and what in row for row in text.splitlines()
        ), (line, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header ''"),
        ("path;label\n0.npy;1\n", "expected path,label"),
        ("path,lable\n0.npy,1\n", "'path,lable'"),
        ("path,path\n0.npy,1\n", "expected path,label"),
        ("path,label\n", "without cases"),
        ("path,label\n0.npy\n", "line 2: 1 fields; the header has 2"),
        ("path,label\n0.npy,1,2\n", "line 2: 3 fields"),
        ('path,label\n"0.npy,1\n', "not a CSV"),
        (b"path,label\n\xff.npy,1\n", "not UTF-8"),
    ],
)
def test_what_is_no_such_list_is_refused(tmp_path, text, says):
    arrays(tmp_path, 1)
    assert says in refused(listed(tmp_path, text))


def test_a_list_that_is_not_there_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").mkdir()
    assert "directory" in refused(tmp_path / "cases.csv")


def test_one_output_has_labels_0_and_1(tmp_path):
    arrays(tmp_path, 2)
    path = listed(tmp_path, "path,label\n0.npy,0\n1.npy,1\n")
    assert [case.label for case in read_cases(path, SINGLE, YES)] == [0, 1]
    path = listed(tmp_path, "path,label\n0.npy,2\n")
    assert "expected 0 to 1" in refused(path, SINGLE, YES)


def test_one_label_does_not_say_which_of_many_are_right(tmp_path):
    arrays(tmp_path, 1)
    path = listed(tmp_path, "path,label\n0.npy,1\n")
    assert "leave the column out" in refused(path, PLAIN, EACH)


def test_a_name_of_two_classes_is_no_label(tmp_path):
    arrays(tmp_path, 1)
    path = listed(tmp_path, "path,label\n0.npy,cat\n")
    assert "several classes" in refused(path, config(labels=("cat", "cat", "dog")))


# ---- reading in chunks ------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_chunks_hold_all_cases_in_order(tmp_path, size):
    values = arrays(tmp_path, 5)
    path = listed(
        tmp_path, "path,label\n" + "".join(f"{i}.npy,{i % 3}\n" for i in range(5))
    )
    made = list(chunks(read_cases(path, PLAIN, LARGEST), PLAIN, size))
    np.testing.assert_array_equal(np.concatenate([one.values for one in made]), values)
    assert max(len(one.values) for one in made) == min(size, 5)
    digests = [
        hashlib.sha256((tmp_path / f"{i}.npy").read_bytes()).hexdigest()
        for i in range(5)
    ]
    assert [case for one in made for case in one.cases] == digests
    assert [label for one in made for label in one.labels] == [0, 1, 2, 0, 1]


def test_chunks_are_read_when_asked_for(tmp_path):
    arrays(tmp_path, 4)
    path = listed(tmp_path, "path\n" + "".join(f"{i}.npy\n" for i in range(4)))
    reading = chunks(read_cases(path, PLAIN, LARGEST), PLAIN, 2)
    next(reading)
    (tmp_path / "3.npy").unlink()
    with pytest.raises(ConversionError, match=r"3\.npy"):
        next(reading)


def test_a_copy_of_a_case_is_refused(tmp_path):
    arrays(tmp_path, 2)
    (tmp_path / "copy.npy").write_bytes((tmp_path / "0.npy").read_bytes())
    path = listed(tmp_path, "path\n0.npy\n1.npy\ncopy.npy\n")
    cases = read_cases(path, PLAIN, LARGEST)
    with pytest.raises(ConversionError, match="line 4: the same content as line 2"):
        list(chunks(cases, PLAIN))


def test_a_file_of_several_inputs_is_no_case(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((2, 1, 4, 4)))
    path = listed(tmp_path, "path\n0.npy\n")
    cases = read_cases(path, PLAIN, LARGEST)
    with pytest.raises(ConversionError, match="2 inputs in one file"):
        list(chunks(cases, PLAIN))


# ---- counting ---------------------------------------------------------------------


def counted(tmp_path: Path, rule: Rule, labels: list, a: list, b: list) -> CaseSummary:
    """All outputs in two chunks, as they come from the models."""
    pytest.importorskip("scipy")
    arrays(tmp_path, len(a))
    rows = [f"{i}.npy,{'' if y is None else y}\n" for i, y in enumerate(labels)]
    path = listed(tmp_path, "path,label\n" + "".join(rows))
    c = PLAIN if rule == LARGEST else SINGLE
    tally = Tally("B, Keras on jax", rule)
    for i, chunk in enumerate(chunks(read_cases(path, c, rule), c, 2)):
        rows = slice(2 * i, 2 * i + 2)
        tally.add(chunk, np.array(a[rows], np.float32), np.array(b[rows], np.float32))
    return tally.summary()


def test_changed_decisions_and_right_ones_are_counted(tmp_path):
    a = [[3, 1, 0], [0, 1, 0], [0, 0, 5]]
    b = [[3, 2, 0], [0, 1, 2], [0, 0, 5]]
    found = counted(tmp_path, LARGEST, [0, 2, None], a, b)
    assert (found.count, found.changed) == (3, 1)
    assert (found.correct_a, found.correct_b) == (0.5, 1.0)
    assert [row.decision_a for row in found.rows] == ["0", "1", "2"]
    assert [row.decision_b for row in found.rows] == ["0", "2", "2"]
    assert [row.margin for row in found.rows] == [2, 1, 5]
    assert found.threshold is None
    # P(at most 1 of 3) = (1 - p)^3 + 3 p (1 - p)^2 is 5 % there
    p = found.upper_bound
    assert (1 - p) ** 3 + 3 * p * (1 - p) ** 2 == pytest.approx(0.05)


def test_a_threshold_decides_and_is_recorded(tmp_path):
    found = counted(tmp_path, YES, [1, 0], [[0.2], [-0.1]], [[-0.2], [-0.1]])
    assert (found.changed, found.threshold) == (1, 0.5)
    assert (found.correct_a, found.correct_b) == (1.0, 0.5)


def test_without_labels_nothing_is_right_or_wrong(tmp_path):
    found = counted(tmp_path, YES, [None], [[0.2]], [[0.2]])
    assert found.changed == 0
    assert found.correct_a is found.correct_b is None


def test_what_is_not_a_number_counts_as_changed_on_both_sides(tmp_path):
    nan = float("nan")
    found = counted(tmp_path, YES, [0, 0], [[nan], [1.0]], [[nan], [1.0]])
    assert found.changed == 1
    assert changed(found.rows[0])
    assert found.rows[0].decision_a == UNDECIDED


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (
            (0, 412, 1 - 0.05 ** (1 / 412)),
            "0 of 412 decisions changed (95 % upper bound 0.7 %)",
        ),
        ((1, 3, 0.8646), "1 of 3 decisions changed (95 % upper bound 86.5 %)"),
        ((0, 9999, 0.0003), "0 of 9999 decisions changed (95 % upper bound 0.03 %)"),
    ],
)
def test_in_words(numbers, text):
    count, of, bound = numbers
    summary = CaseSummary(
        subject="B", count=of, changed=count, upper_bound=bound, confidence=0.95
    )
    assert in_words(summary) == text


def test_the_rows_name_cases_by_hash_only(tmp_path):
    found = counted(tmp_path, YES, [1, None], [[0.25], [-0.5]], [[-0.2], [-0.5]])
    target = tmp_path / "rows.csv"
    write_case_rows(target, [found])
    text = target.read_text("utf-8")
    assert str(tmp_path) not in text
    assert "npy" not in text
    rows = list(csv.DictReader(text.splitlines()))
    hashes = [
        hashlib.sha256((tmp_path / f"{i}.npy").read_bytes()).hexdigest()
        for i in range(2)
    ]
    assert [row["case"] for row in rows] == hashes
    assert [row["label"] for row in rows] == ["1", ""]
    assert [row["changed"] for row in rows] == ["yes", "no"]
    assert [float(row["margin"]) for row in rows] == [0.25, 0.5]
    assert {row["subject"] for row in rows} == {"B, Keras on jax"}
    with pytest.raises(ConversionError, match="exists already"):
        write_case_rows(target, [found])
    write_case_rows(target, [found, found], force=True)
    assert len(target.read_text("utf-8").splitlines()) == 5


def test_rows_need_a_folder_that_is_there(tmp_path):
    with pytest.raises(ConversionError, match="no such folder"):
        write_case_rows(tmp_path / "gone" / "rows.csv", [])
