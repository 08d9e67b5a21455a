"""The page and the comment show the record, and nothing else."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from base64 import b64decode
from collections import Counter
from html import escape
from html.parser import HTMLParser
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from converters.extras import MissingExtraError
from converters.parity.page import Picture, render_html, render_markdown
from converters.parity.page.text import number, percent, ratio, words
from converters.parity.record import Check, ParityReport
from tests.laboratory import reports

pytest.importorskip("jinja2")
matplotlib = pytest.importorskip("matplotlib")

REPORTS = {
    name: getattr(reports, name)
    for name in ("passed", "failed", "incomplete", "volume", "hostile")
}
LARGE = {"large": reports.large}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
EVERY_REPORT = pytest.mark.parametrize("name", REPORTS)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render_html(make()) for name, make in (REPORTS | LARGE).items()}


# ---- in a browser -------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page and says what it did: (page, what must be empty)."""
    contexts = []

    def opening(html: str, width: int = 1280, **options):
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(html, "utf-8")
        size = {"width": width, "height": 800}
        contexts.append(browser.new_context(viewport=size, **options))
        page = contexts[-1].new_page()
        bad: list[str] = []
        page.on("console", lambda message: bad.append(message.text))
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.on("dialog", lambda dialog: (bad.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: bad.append(request.url))
        page.goto(file.as_uri())
        bad.remove(file.as_uri())
        return page, bad

    yield opening
    for context in contexts:
        context.close()


FIGURES = """nodes => nodes.map(
    node => [node.dataset.at, node.textContent.trim()])"""
COUNTS = """nodes => nodes.map(
    node => [node.dataset.count, node.dataset.where, node.textContent])"""


def at(record: dict, pointer: str):
    """What a JSON pointer finds (RFC 6901)."""
    found = record
    for part in pointer.split("/")[1:]:
        step = part.replace("~1", "/").replace("~0", "~")
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def read(shown: str) -> float:
    """The number that a reader of the page sees."""
    shown = shown.replace(",", "").replace("∞", "inf")
    if shown.endswith(" %"):
        return float(shown[:-2]) / 100
    return float(shown)


def agrees(shown: str, value) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        text = value if isinstance(value, str) else json.dumps(value)
        return shown.casefold() == " ".join(words(text).split()).casefold()
    if math.isnan(value) or math.isinf(value):
        return shown in (number(value), json.dumps(value))
    exact = isinstance(value, int) and not shown.endswith("%")
    return math.isclose(read(shown), value, rel_tol=0 if exact else 0.0051)


@pytest.mark.browser
@EVERY_REPORT
def test_figures_in_the_browser_are_those_of_the_record(name, pages, opened):
    page, bad = opened(pages[name])
    text = page.eval_on_selector("#record", "node => node.textContent")
    assert ParityReport.from_json(text).to_json() == REPORTS[name]().to_json()
    record = json.loads(text)
    figures = page.eval_on_selector_all("[data-at]", FIGURES)
    wrong = [
        (pointer, shown, at(record, pointer))
        for pointer, shown in figures
        if not agrees(" ".join(shown.split()), at(record, pointer))
    ]
    assert not wrong
    for rows, where, shown in page.eval_on_selector_all("[data-count]", COUNTS):
        pairs = [pair.split("=", 1) for pair in where.split("&") if pair]
        kept = [r for r in record[rows] if all(r[k] == v for k, v in pairs)]
        assert int(shown.replace(",", "")) == len(kept), where
    assert not bad


SHOWN = ("ratio", "limit", "error", "noise", "max_difference", "max_ratio", "kl")
SHOWN += ("top1", "top5", "count", "status", "message", "subject", "inputs", "name")


@EVERY_REPORT
def test_every_figure_of_every_check_is_shown(name, pages):
    found = set(re.findall(r'data-at="(/checks/[^"]*)"', pages[name]))
    for place, check in enumerate(REPORTS[name]().checks):
        for part in SHOWN:
            value = getattr(check, part)
            # A limit says nothing without what it limits.
            if value not in (None, "") and (part != "limit" or check.ratio is not None):
                assert f"/checks/{place}/{part}" in found


@EVERY_REPORT
def test_both_models_and_what_was_stated_of_them_are_shown(name, pages):
    found = set(re.findall(r'data-at="(/[ab]/[^"]*)"', pages[name]))
    for side in "ab":
        operand = getattr(REPORTS[name](), side)
        parts = [step.replace("~", "~0").replace("/", "~1") for step in operand.about]
        wanted = {f"/{side}/about/{escape(part)}" for part in parts}
        wanted |= {
            f"/{side}/stated/{place}/{part}"
            for place in range(len(operand.stated))
            for part in ("field", "value", "origin")
        }
        wanted |= {f"/{side}/model"} if operand.model else set()
        assert wanted <= found


@pytest.mark.browser
@EVERY_REPORT
def test_page_says_verdict_and_sentence_first(name, pages, opened):
    page, _ = opened(pages[name])
    report = REPORTS[name]()
    assert page.inner_text("#verdict").lower() == report.verdict
    assert page.inner_text("header .sentence") == words(report.sentence)
    assert page.title().lower().startswith(report.verdict)
    assert page.eval_on_selector("main > :first-child", "n => n.tagName") == "HEADER"


@pytest.mark.browser
@pytest.mark.parametrize("name", REPORTS | LARGE)
def test_page_fits_a_phone(name, pages, opened):
    page, bad = opened(pages[name], width=360)
    page.eval_on_selector_all("details", "nodes => nodes.forEach(n => n.open = true)")
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    assert wide == 360
    assert not bad


def long_failure() -> ParityReport:
    """Many checks, of which two failed."""
    report = reports.passed()
    checks = [
        check.model_copy(update={"status": "failed", "message": "too far"})
        if place in (3, 20)
        else check
        for place, check in enumerate(report.checks)
    ]
    return report.model_copy(update={"checks": tuple(checks), "verdict": "failed"})


def seen(page) -> set[int]:
    """Places of the checks that can be seen."""
    found = page.eval_on_selector_all(
        "[data-check]",
        "nodes => nodes.filter(n => n.checkVisibility()).map(n => n.dataset.check)",
    )
    return {int(place) for place in found}


@pytest.mark.browser
def test_on_a_phone_a_long_failed_page_folds_what_passed(opened):
    html = render_html(long_failure())
    every = set(range(len(long_failure().checks)))
    phone, bad = opened(html, width=390)
    assert seen(phone) == {3, 20}
    level = long_failure().checks[3].level
    fold = phone.locator(f"#level-{level} ~ .fold").first
    count = sum(c.level == level for c in long_failure().checks) - 2
    assert fold.locator("summary").inner_text() == f"{count} passed"
    fold.locator("summary").click()
    assert len(seen(phone)) == 2 + count
    assert phone.evaluate("document.scrollingElement.scrollWidth") == 390
    assert not bad
    desk, _ = opened(html)
    assert seen(desk) == every
    plain, _ = opened(html, width=390, java_script_enabled=False)
    assert seen(plain) == every


@pytest.mark.browser
@pytest.mark.parametrize("name", ["passed", "failed", "volume"])
def test_shorter_or_passed_pages_fold_no_check(name, pages, opened):
    page, _ = opened(pages[name], width=390)
    shown = {
        place
        for place, check in enumerate(REPORTS[name]().checks)
        if check.status != "not checked"
    }
    assert seen(page) >= shown


ROWS_INSIDE = """() => {
    const rows = [...document.querySelectorAll("details tbody tr")];
    return [rows.length, rows.filter(row => row.checkVisibility()).length];
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_everything_is_open(scripts, opened):
    html = render_html(long_failure())
    page, bad = opened(html, width=390, java_script_enabled=scripts)
    rows, shown = page.evaluate(ROWS_INSIDE)
    assert shown < rows
    page.emulate_media(media="print")
    assert page.evaluate(ROWS_INSIDE) == [rows, rows]
    assert not bad


@pytest.mark.browser
def test_printing_opens_and_closes_again_in_older_browsers(opened):
    """In those a closed element cannot be shown by a style."""
    html = render_html(long_failure()).replace("details::details-content", "nothing")
    page, _ = opened(html, width=390)
    rows, before = page.evaluate(ROWS_INSIDE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ROWS_INSIDE) == [rows, rows]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(ROWS_INSIDE) == [rows, before]


@pytest.mark.browser
def test_foreign_text_runs_nothing(pages, opened):
    page, bad = opened(pages["hostile"])
    assert page.locator("script").count() == 2
    assert page.locator("[onerror]").count() == 0
    assert page.locator("img").count() == 0
    assert reports.HOSTILE.split("\n")[0] in page.inner_text("#not-checked")
    assert not bad


@pytest.mark.browser
def test_policy_stops_what_is_not_the_page(pages, opened):
    """Were an escape forgotten, the browser would still run and load nothing."""
    evil = "<script>document.title='evil'</script><img src='http://127.0.0.1:9/x.png'>"
    page, bad = opened(pages["passed"].replace("<main>", f"<main>{evil}"))
    assert page.title() != "evil"
    assert any("Content Security Policy" in line for line in bad)


VISIBLE = "nodes => nodes.filter(n => n.offsetParent !== null).length"
ROWS = "#tensor-rows tr"


@pytest.mark.browser
def test_search_and_filter_choose_rows(pages, opened):
    page, bad = opened(pages["failed"])
    rows = reports.failed().tensors

    def shown() -> int:
        count = page.eval_on_selector_all(ROWS, VISIBLE)
        assert page.inner_text(".search output") == f"{count} of {len(rows)} shown"
        return count

    assert shown() == len(rows)
    page.fill(".search input[type=search]", "BLOCKS.3. bias")
    expected = [r.name for r in rows if "blocks.3." in r.name and "bias" in r.name]
    assert shown() == len(expected) > 1
    page.check(".search input[type=checkbox]")
    assert shown() == 1
    assert "blocks.3.attn.qkv.bias" in page.inner_text(f"{ROWS}:not([hidden])")
    page.fill(".search input[type=search]", "no such tensor")
    assert shown() == 0
    page.fill(".search input[type=search]", "")
    page.uncheck(".search input[type=checkbox]")
    assert shown() == len(rows)
    assert not bad


@pytest.mark.browser
def test_all_rows_are_there_without_javascript(pages, opened):
    page, _ = opened(pages["failed"], java_script_enabled=False)
    assert page.locator(f"{ROWS}:visible").count() == len(reports.failed().tensors)
    assert not page.is_visible(".search")


@pytest.mark.browser
def test_paper_is_white_and_the_dark_is_dark(pages, opened):
    page, _ = opened(pages["passed"], color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert max(map(int, re.findall(r"\d+", page.evaluate(colour)))) < 64
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"


# ---- the file -----------------------------------------------------------------------


class Elements(HTMLParser):
    """Ids, references and headings of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.targets: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids[found["id"]] += 1
        for name in ("href", "xlink:href", "src"):
            if name in found:
                self.links.add(found[name])
        self.targets |= set((found.get("aria-labelledby") or "").split())
        for value in found.values():
            self.targets |= set(re.findall(r"url\(#([^)]*)\)", value or ""))


@EVERY_REPORT
def test_ids_are_unique_and_links_stay_inside(name, pages):
    found = Elements(pages[name])
    assert max(found.ids.values()) == 1
    assert all(link.startswith("#") for link in found.links)
    assert found.targets | {link[1:] for link in found.links} <= found.ids.keys()


def test_same_record_gives_same_bytes_under_any_settings(pages):
    other = {"font.size": 20.0, "lines.linewidth": 7.0, "svg.hashsalt": "other"}
    other |= {"xtick.direction": "in", "lines.solid_capstyle": "round"}
    with matplotlib.rc_context({**other, "axes.grid": False, "svg.fonttype": "path"}):
        assert render_html(reports.failed()) == pages["failed"]
        assert matplotlib.rcParams["font.size"] == 20.0


def test_sections_without_data_do_not_appear(pages):
    full = set(re.findall(r'<section id="([^"]*)"', pages["passed"]))
    few = set(re.findall(r'<section id="([^"]*)"', pages["incomplete"]))
    assert few == {"meanings", "not-checked", "checks", "setting"}
    gone = {"not-checked", "divergences", "config", "pictures"}
    assert not full & gone
    assert full >= {"layers", "outputs", "gradients", "training", "cases", "tensors"}


def test_meanings_tell_what_was_not_asked_for(pages):
    found = re.findall(
        r'<li class="card ([a-z]+)" data-meaning="(\w+)"', pages["failed"]
    )
    assert found == [
        ("failed", "weights"),
        ("absent", "reload"),
        ("failed", "twins"),
        ("incomplete", "source"),
    ]


def test_large_models_make_pages_below_3_megabytes(pages):
    large = reports.large()
    assert len(large.tensors) > 600
    assert len(large.layers) > 1190
    assert len(pages["large"].encode()) < 3e6


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_missing_extra_is_one_clear_line(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError) as caught:
        render_html(reports.incomplete())
    expected = f"{missing} is not installed: pip install 'vit-duet[report]'"
    assert str(caught.value) == expected


def test_templates_are_files_of_the_package():
    folder = Path(sys.modules["converters.parity.page"].__file__).parent / "templates"
    assert {path.suffix for path in folder.iterdir()} == {".html", ".css", ".js"}


# ---- plots --------------------------------------------------------------------------


def line(html: str, identity: str) -> np.ndarray:
    """The corners of a drawn line, (N, 2)."""
    part = html[html.index(f'id="{identity}"') :]
    found = re.search(r'<path d="([^"]*)"', part)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", found[1])
    return np.array(numbers, float).reshape(-1, 2)


@pytest.mark.parametrize("mode", ["cumulative", "forced"])
def test_layer_plot_draws_the_errors_on_a_log_axis(mode, pages):
    rows = [row for row in reports.failed().layers if row.mode == mode]
    drawn, floor = (
        line(pages["failed"], f"layers-0-{mode}-{w}") for w in ("error", "noise")
    )
    assert len(drawn) == len(floor) == len(rows)
    errors = np.log10([[row.error for row in rows], [row.noise for row in rows]])
    slope, start = np.polyfit(errors[0], drawn[:, 1], 1)
    assert slope < 0  # upwards is more
    # Lines have two decimals, and both are drawn on one axis.
    assert np.abs(slope * errors[0] + start - drawn[:, 1]).max() < 0.02
    assert np.abs(slope * errors[1] + start - floor[:, 1]).max() < 0.02
    assert np.ptp(np.diff(drawn[:, 0])) < 0.02


def test_failed_steps_are_marked(pages):
    html = pages["failed"]
    part = html[html.index('id="layers-0-forced-failed"') :]
    marks = part[: part.index("</g> </g>")].count("<use ")
    failed = [r for r in reports.failed().layers if r.mode == "forced" and r.failed]
    assert marks == len(failed) == 1
    assert "cumulative-failed" not in pages["passed"]


def test_plots_tell_what_they_do_not_draw(pages):
    gaps = re.findall(r"(\d+) figures? not finite, not drawn", pages["hostile"])
    assert gaps == ["2", "2", "3"]  # of layers, of the scatter, of training
    assert "exact steps stand on the lower edge" in pages["volume"]
    assert "1,000 of 3,000 points drawn" in pages["large"]


# ---- pictures -----------------------------------------------------------------------


def decoded(uri: str) -> np.ndarray:
    from PIL import Image

    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(b64decode(data))))


def panels(html: str) -> list[np.ndarray]:
    return [decoded(uri) for uri in re.findall(r'<img src="([^"]*)"', html)]


def test_pictures_show_input_both_attentions_and_their_difference(pages):
    random = np.random.default_rng(5)
    image = random.normal(size=(3, 20, 30))
    a, b = random.uniform(size=(2, 4, 6))
    html = render_html(reports.failed(), [Picture(image, a, b, title=reports.HOSTILE)])
    given, one, two, apart = panels(html)
    expected = np.moveaxis((image - image.min()) / np.ptp(image) * 255, 0, -1)
    assert np.abs(given - expected).max() <= 0.51
    assert one.shape == two.shape == apart.shape == (4, 6, 3)
    # viridis grows brighter, on one scale for both
    light = np.stack([one, two]).astype(float).mean(-1).ravel()
    assert np.corrcoef(light, np.stack([a, b]).ravel())[0, 1] > 0.95
    # orange where A has more, purple where B has
    redder = apart[..., 0].astype(int) > apart[..., 2]
    assert (redder == (a > b))[np.abs(a - b) > 0.05].all()
    assert "data:image" not in pages["failed"]
    assert "onerror=alert(1)>" not in html


def test_volume_shows_the_middle_along_each_axis():
    random = np.random.default_rng(6)
    volume = random.normal(size=(1, 8, 12, 20))
    a, b = random.uniform(size=(2, 2, 3, 5))
    html = render_html(reports.volume(), [Picture(volume, a, b)])
    found = panels(html)
    assert [p.shape for p in found[::4]] == [(12, 20), (8, 20), (8, 12)]
    assert [p.shape[:2] for p in found[1::4]] == [(3, 5), (2, 5), (2, 3)]
    for axis, shown in enumerate(found[::4]):
        middle = np.take(volume[0], volume.shape[axis + 1] // 2, axis)
        assert np.corrcoef(shown.ravel(), middle.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("change", "said"),
    [(0.0, "equal"), (7.5e-9, "at most 7.5e-9"), (math.nan, "not finite in 1 patch")],
)
def test_the_difference_tells_its_size(change, said):
    """Its colours cannot: their scale is its own."""
    a = np.full((4, 6), 0.25)
    b = a.copy()
    b[2, 3] -= change
    html = render_html(reports.volume(), [Picture(np.ones((1, 20, 30)), a, b)])
    found = re.findall(r"<figcaption>(B minus A[^<]*)<", html)
    assert found == [f"B minus A: {said}"]


def test_pictures_of_other_shapes_are_refused():
    grid = np.ones((4, 6))
    with pytest.raises(ValueError, match=r"\(20, 30\) is neither"):
        Picture(np.ones((20, 30)), grid, grid)
    with pytest.raises(ValueError, match=r"attention_b has the shape \(6, 4\)"):
        Picture(np.ones((3, 20, 30)), grid, grid.T)


# ---- words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (1.2345e-7, "1.23e-7"),
        (123456.7, "1.23e5"),
        (9999.5, "10,000"),
        (99.96, "100"),
        (86_567_656, "86,567,656"),
        (math.nan, "NaN"),
        (-math.inf, "-∞"),
    ],
)
def test_numbers_have_three_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize("share", [0.99951, 0.9999999, 1 - 2**-53, 1e-9])
def test_a_share_that_is_not_whole_does_not_look_whole(share):
    assert percent(share) not in ("100 %", "0 %")
    assert math.isclose(read(percent(share)), share, rel_tol=5e-3)


def test_whole_shares_are_whole():
    assert (percent(1.0), percent(0.0)) == ("100 %", "0 %")


def test_a_ratio_over_its_limit_looks_over_it():
    assert ratio(3.0004, 3.0) == "3.0004"
    assert ratio(3.0, 3.0) == "3"
    assert ratio(1.23456, 3.0) == "1.23"


# ---- the comment --------------------------------------------------------------------


class Shown(HTMLParser):
    """Elements and text of rendered Markdown."""

    def __init__(self, text: str) -> None:
        from markdown_it import MarkdownIt

        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.rows = 0
        self.feed(MarkdownIt("commonmark").enable("table").render(text))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.rows += tag == "tr"

    def handle_data(self, data):
        self.text.append(data)


OURS = {"h3", "p", "ul", "li", "em", "strong", "code", "details", "summary"}
OURS |= {"table", "thead", "tbody", "tr", "th", "td"}


@EVERY_REPORT
def test_comment_shows_the_verdict_and_every_gap_and_failure(name):
    report = REPORTS[name]()
    found = Shown(render_markdown(report))
    text = "".join(found.text)
    assert found.tags <= OURS
    title = "".join(found.text[: found.text.index("\n")])
    assert report.verdict in title.lower()
    assert words(report.sentence) in title
    for check in (*report.failed, *report.not_checked):
        assert words(check.name) in text
        assert words(check.message) in text
    for item in report.divergences:
        assert words(item.explanation.rstrip(".")) in text


def test_foreign_text_forms_no_markup_in_a_comment():
    text = render_markdown(reports.hostile())
    found = Shown(text)
    assert found.tags <= OURS
    assert "@all" not in text
    assert "<img" not in text
    link = Check(
        level="logits", name="x", status="not checked", message="a [b](http://c)"
    )
    linked = render_markdown(reports.report((link,), sentence="www.example.org"))
    assert "www.e" not in linked
    assert "://" not in linked
    assert Shown(linked).tags <= OURS - {"a"}


def test_figures_of_the_comment_are_those_of_the_record():
    report = reports.passed()
    rows = render_markdown(report).splitlines()
    for check in report.checks:
        if check.ratio is not None:
            own = [
                row
                for row in rows
                if f"{check.name}, on {check.inputs}, {check.subject} |" in row
                or (not check.inputs and f"{check.name}, {check.subject} |" in row)
            ]
            assert len(own) == 1, check.name
            for value in (check.ratio, check.error, check.noise, check.kl):
                assert value is None or number(value) in own[0]


def test_comments_stay_below_60_kilobytes():
    large = reports.large()
    assert len(render_markdown(large).encode()) < 60_000
    long = "x" * 5000
    checks = tuple(
        Check(level="logits", name=f"{i}{long}", status="failed", message=long)
        for i in range(500)
    )
    names = [f"{i}{long}" for i in range(300)]
    layers = [
        row.model_copy(update={"subject": name, "name": name})
        for name in names
        for row in large.layers[:2]
    ]
    text = render_markdown(
        reports.report(checks, sentence=long, layers=layers, tensors=large.tensors)
    )
    assert 20_000 < len(text.encode()) < 60_000
    assert "left out for length" in text
    assert re.search(r"and 4\d\d more checks", text)
