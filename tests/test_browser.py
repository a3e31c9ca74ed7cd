"""The pages in a real browser: they open, draw, fold, sort, filter and follow, in light and dark,
and hostile words run nothing in them."""

import io
import json
import threading

import numpy as np
import pytest
from PIL import Image
from test_report import HOSTILE, make_findings, make_workdir
from test_sweep_page import lines, sweep

from recipe_jax import writers
from recipe_jax.app import watch
from recipe_jax.report import figures, page
from recipe_jax.report.figures import _parallel, _style

pytestmark = pytest.mark.slow

LONG = "x" * 10_000
BAD_WORDS = (
    HOSTILE,
    "</SCRIPT ><svg onload=alert(3)>",
    "javascript:alert(4)",
    "\u202egnp.exe\u200f",
    "🧪🇨🇭é",
    LONG,
)
DRAWN = ".plot[data-drawn]"
FEW = ("samples", "loss_at_init", "overfit_one_batch", "search", "curves", "test_score")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return page.build_report(make_workdir(tmp_path_factory.mktemp("browser") / "run"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A page of a few findings, which is opened sooner."""
    workdir = make_workdir(tmp_path_factory.mktemp("few") / "run")
    findings = json.loads((workdir / "findings.json").read_text())
    kept = [each for each in findings if each["check"] in FEW]
    writers.write_json(workdir / "findings.json", kept)
    return page.build_report(workdir)


def until(shown, script, *given):
    """Waits for what a script says to be true; the driver's own way would evaluate text in the
    page, which the policy refuses."""
    for _ in range(400):
        if shown.evaluate(script, *given):
            return
        shown.wait_for_timeout(50)
    raise AssertionError(f"never true: {script}")


def unfold(shown):
    shown.evaluate("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    until(shown, "!document.querySelector('.plot:not([data-drawn])')")


def dots(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.int32)


def ink(plot):
    """The share of a figure's area where something stands out from the ground and from its grid."""
    area = plot.locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    seen = dots(area.screenshot())
    colours, counts = np.unique(seen.reshape(-1, 3), axis=0, return_counts=True)
    ground = colours[counts.argmax()]
    return float((np.abs(seen - ground).max(-1) > 45).mean())


def overflow(shown):
    """By how many dots the page is wider than its window."""
    return shown.evaluate("document.documentElement.scrollWidth - innerWidth")


# --- What is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_figure_has_ink(built, open_page, dark):
    shown = open_page(built.as_uri(), dark=dark)
    unfold(shown)
    plots = shown.locator(DRAWN)
    assert plots.count() >= 20
    empty = []
    for plot in plots.all():
        # A few thin lines are the least there is; the grid alone would be nothing.
        if ink(plot) < 3e-4:
            empty.append(plot.get_attribute("aria-label"))
    assert empty == []


def test_pictures_are_shown(built, open_page):
    shown = open_page(built.as_uri())
    unfold(shown)
    widths = shown.evaluate(
        "Promise.all([...document.images].map(async (image) => {"
        " await image.decode(); return image.naturalWidth; }))"
    )
    assert len(widths) >= 30 and min(widths) > 0
    assert shown.evaluate("[...document.images].every((image) => image.alt)")


@pytest.mark.parametrize("columns", [4, 5])
def test_a_table_of_five_columns_has_the_row_to_itself(few, open_page, columns):
    shown = open_page(few.as_uri())
    unfold(shown)
    own, whole = shown.evaluate(
        """(columns) => {
          const each = [...document.querySelectorAll('.drawings')].find((all) => all.children[1]);
          const drawing = each.children[0];
          const row = document.createElement('table').insertRow();
          for (let cell = 0; cell < columns; cell++) row.insertCell().textContent = 'word';
          drawing.append(row.closest('table'));
          return [drawing.offsetWidth, each.offsetWidth];
        }""",
        columns,
    )
    assert (own == whole) == (columns == 5) and whole > 600


def test_the_policy_refuses_a_script_that_it_does_not_name(few, tmp_path, browser):
    forged = tmp_path / "forged.html"
    script = "<script>document.title = 'forged'</script>"
    forged.write_text(few.read_text().replace("<main>", f"<main>{script}", 1))
    shown, said = browser.new_page(), []
    shown.on("console", lambda each: said.append(each.text))
    shown.goto(forged.as_uri())
    assert shown.title() != "forged" and "Content Security Policy" in " ".join(said)
    shown.close()


# --- What a reader does --------------------------------------------------------------------------


def test_what_passed_is_folded_and_drawn_when_it_is_unfolded(few, open_page):
    shown = open_page(few.as_uri())
    box = shown.locator("#SKEL1")
    assert box.get_attribute("open") is None and box.locator(DRAWN).count() == 0
    assert not box.locator(".body").is_visible()
    box.locator("summary").click()
    box.locator(DRAWN).first.wait_for()
    # What was unfolded can be sent to others.
    assert shown.url == f"{few.as_uri()}#SKEL1"
    box.locator("summary").press("Enter")
    assert not box.locator(".body").is_visible()


def test_a_cell_of_the_confusion_matrix_opens_its_examples(built, open_page):
    shown = open_page(built.as_uri())
    unfold(shown)
    shown.evaluate("document.querySelectorAll('details.cell').forEach((box) => (box.open = false))")
    boxes = shown.locator("details.cell")
    # The fullest first: five of class 0 taken for class 4.
    assert [boxes.nth(i).get_attribute("data-cell") for i in range(2)] == ["0,4", "1,2"]
    plot = shown.locator(".drawings:has(details.cell) .plot")
    plot.scroll_into_view_if_needed()
    place = plot.evaluate(
        "(plot) => { const { _size: at, xaxis, yaxis } = plot._fullLayout;"
        " return { x: at.l + xaxis.d2p(2), y: at.t + yaxis.d2p(1) }; }"
    )
    plot.click(position=place)
    until(shown, "document.querySelector('details.cell[data-cell=\"1,2\"]').open")
    assert boxes.nth(0).get_attribute("open") is None
    assert boxes.nth(1).locator("img").count() == 3


@pytest.mark.parametrize("way", ["opened with it", "followed"])
def test_a_link_to_a_finding_unfolds_it_and_goes_there(few, open_page, way):
    shown = open_page(few.as_uri() + ("#SKEL1" if way == "opened with it" else ""))
    if way == "followed":
        shown.evaluate("location.hash = '#SKEL1'")
    shown.locator(f"#SKEL1 {DRAWN}").first.wait_for()
    until(shown, "Math.abs(document.querySelector('#SKEL1').getBoundingClientRect().top) < 80")


def test_the_contents_go_along_and_mark_where_the_reader_is(few, open_page):
    shown = open_page(few.as_uri())
    marked = shown.locator("nav a[aria-current]")
    assert marked.all_inner_texts() == ["Verdict"]
    for name in ("Tune", "Data", "Squeeze"):
        shown.locator("nav").get_by_role("link", name=name, exact=True).click()
        until(
            shown,
            "(name) => document.querySelector('nav a[aria-current]').textContent === name",
            name,
        )
        assert marked.count() == 1 and marked.is_visible()
        until(
            shown,
            "(id) => Math.abs(document.getElementById(id).getBoundingClientRect().top) < 450",
            f"stage-{name.lower()}",
        )


def cells(table, column):
    return table.locator(f"tbody tr:not([hidden]) td:nth-child({column})").all_inner_texts()


def test_tables_are_sorted_and_filtered(few, open_page):
    shown = open_page(few.as_uri())
    shown.locator("#trials summary").click()
    table = shown.locator("#trials table")
    assert cells(table, 1) == [f"t{i}" for i in range(5)]
    head = table.get_by_role("button", name="score")
    head.click()
    head.click()
    assert cells(table, 1) == [f"t{i}" for i in reversed(range(5))]
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("score")
    shown.locator("#trials input.filter").fill("0.002 t2")
    assert cells(table, 1) == ["t2"]
    shown.locator("#trials input.filter").fill("")
    assert len(cells(table, 1)) == 5


def test_samples_are_sorted_and_filtered(few, open_page):
    """Rows of a table of examples, by any of its columns (DATA2)."""
    shown = open_page(few.as_uri())
    box = shown.locator("details", has_text="The first rows.")
    table, before = box.locator("table"), box.locator("tbody tr").count()
    table.get_by_role("button", name="petal length 0").click()
    place = 1 + table.locator("th").all_inner_texts().index("petal length 0")
    values = [float(each) for each in cells(table, place)]
    assert values == sorted(values) and len(values) == before == 6
    box.locator("input.filter").fill("coat")
    assert 0 < len(cells(table, 1)) < before


def test_a_figure_is_zoomed_and_stays_so_when_the_screen_turns_dark(few, open_page):
    shown = open_page(few.as_uri())
    plot = shown.locator(f"#ENV2 {DRAWN}").first
    area = plot.locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    shown.mouse.move(box["x"] + 40, box["y"] + 40)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 160, box["y"] + 140, steps=4)
    shown.mouse.up()
    span = "(plot) => plot.layout.xaxis.range"
    until(shown, "(plot) => plot.layout.xaxis.autorange !== true", plot.element_handle())
    zoomed = plot.evaluate(span)
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_timeout(100)
    assert plot.evaluate(span) == zoomed


def test_all_turns_dark_with_the_screen(few, open_page):
    shown = open_page(few.as_uri())

    shown.locator(f"#ENV2 {DRAWN}").first.wait_for()

    def colours():
        ground = "getComputedStyle(document.body).backgroundColor"
        line = f"document.querySelector('#ENV2 {DRAWN}').data.at(-1).line.color"
        return shown.evaluate(ground), shown.evaluate(line)

    light = colours()
    shown.emulate_media(color_scheme="dark")
    line = f"document.querySelector('#ENV2 {DRAWN}').data.at(-1).line.color"
    until(shown, f"{line} !== '{light[1]}'")
    dark = colours()
    assert dark[1] == _style.DARK[light[1]]
    brightness = [sum(map(int, each[4:-1].split(","))) for each in (light[0], dark[0])]
    assert brightness[0] > 700 and brightness[1] < 120


@pytest.mark.parametrize("width", [360, pytest.param(820, marks=pytest.mark.slow)])
def test_no_page_is_wider_than_its_window(built, open_page, width):
    shown = open_page(built.as_uri(), width=width)
    unfold(shown)
    assert overflow(shown) <= 0


def test_a_print_shows_what_was_folded(few, open_page):
    shown = open_page(few.as_uri())
    seen = "addEventListener('beforeprint', () => (window.open_boxes = "
    seen += "document.querySelectorAll('details.finding[open]').length))"
    shown.evaluate(seen)
    count = shown.locator("details.finding").count()
    folded = shown.locator("details.finding:not([open])").count()
    assert folded > 0 and len(shown.pdf()) > 10_000
    assert shown.evaluate("window.open_boxes") == count
    until(shown, f"document.querySelectorAll('details.finding:not([open])').length === {folded}")


# --- Hostile words -------------------------------------------------------------------------------


def hostile_workdir(path):
    """All that a user names, in words that would run, close a tag, turn the line or never end."""
    workdir = make_workdir(path, words=BAD_WORDS[:5], feature=HOSTILE, unit=HOSTILE)
    run = json.loads((workdir / "run.json").read_text())
    run |= {
        "name": HOSTILE,
        "overrides": dict.fromkeys(BAD_WORDS, HOSTILE),
        "command": [*BAD_WORDS],
    }
    run["data"]["name"] = HOSTILE
    writers.write_json(workdir / "run.json", run)
    findings = json.loads((workdir / "findings.json").read_text())
    for place, finding in enumerate(findings):
        words = BAD_WORDS[place % len(BAD_WORDS)]
        finding |= {"summary": words, "remedy": words, "fault": words}
        for key in ("ids", "columns", "names", "features"):
            if isinstance(finding["evidence"].get(key), list):
                count = len(finding["evidence"][key])
                finding["evidence"][key] = [BAD_WORDS[i % len(BAD_WORDS)] for i in range(count)]
    texts = {"kind": "text", "texts": [*BAD_WORDS], "ids": [*BAD_WORDS]}
    findings.append({**findings[0], "evidence": texts, "summary": "Text."})
    writers.write_json(workdir / "findings.json", findings)
    rows = [dict.fromkeys(BAD_WORDS, words) for words in BAD_WORDS]
    writers.write_trials_csv(workdir / "trials.csv", rows)
    return workdir


@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.slow)])
def test_hostile_words_run_nothing_and_appear_as_text(tmp_path, open_page, width):
    path = page.build_report(hostile_workdir(tmp_path / "run"))
    shown = open_page(path.as_uri(), width=width)
    unfold(shown)
    for words in BAD_WORDS:
        assert shown.get_by_text(words[:60]).count() > 0, words[:60]
    # Shown over a figure, too, words are words.
    for plot in shown.locator(f"#DATA9 {DRAWN}").all():
        area = plot.locator(".nsewdrag").first
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        shown.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.9)
    assert shown.locator("script, link, iframe, object, embed").count() == 3
    assert shown.locator("[onload], [onerror], a[href]:not([href^='#'])").count() == 0
    assert shown.locator("svg a, img[src^='x']").count() == 0
    assert overflow(shown) <= 0


# --- Parallel coordinates ------------------------------------------------------------------------


def test_lines_are_brushed(tmp_path, open_page):
    """Two ranges keep the lines that pass both, a click drops one, and keys do the same."""
    evidence = sweep()
    findings = [finding for finding in make_findings() if finding["check"] == "search"]
    findings[0]["evidence"] = evidence
    writers.write_json(tmp_path / "findings.json", findings)
    shown = open_page(page.build_report(tmp_path).as_uri())
    svg, axes = shown.locator(".parallel svg"), shown.locator(".parallel .axis")
    readout = shown.locator(".parallel .readout")
    svg.scroll_into_view_if_needed()
    hint = readout.inner_text()
    place = (
        "(svg, [x, y]) => { const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());"
        " return [at.x, at.y]; }"
    )

    def move(axis, y):
        x = float(axes.nth(axis).get_attribute("data-x"))
        shown.mouse.move(*svg.evaluate(place, [x, y]))

    def drag(axis, start, end):
        move(axis, start)
        shown.mouse.down()
        move(axis, end)
        shown.mouse.up()
        # Away from the lines, or the readout tells of the one that is pointed at.
        shown.mouse.move(0, 0)
        return said()

    def press(axis, key):
        axes.nth(axis).press(key)
        return said()

    def said():
        return shown.locator(".parallel .line.faded").count(), readout.inner_text() == hint

    ends = {i: float(path.rpartition(",")[2]) for _, i, _, path in lines(parallel_of(evidence))}
    names = evidence["axes"]["optim.name"]["values"]
    high = {i for i, end in ends.items() if end <= 60}
    both = {i for i in high if names[i] == "adam"}
    upper = {i for i, end in ends.items() if end <= (_parallel.TOP + _parallel.BOTTOM) / 2}
    assert len(both) < len(high) < len(upper) < 24
    assert drag(6, 60, 0) == (24 - len(high), False)
    assert drag(2, 180, 400) == (24 - len(both), False)
    assert drag(2, 100, 100) == (24 - len(high), False)
    assert drag(6, 100, 100) == (0, True)
    assert press(6, "ArrowUp") == (24 - len(upper), False)
    assert press(6, "Escape") == (0, True)
    move(6, _parallel.TOP)
    values = readout.locator(".value").all_inner_texts()
    best = evidence["best"]
    assert values[0] == str(best) and values[-1] == _style.cut(evidence["scores"][best])


def parallel_of(evidence):
    (svg,) = [str(each) for each in figures.draw("search", evidence) if isinstance(each, str)]
    return svg


# --- The page that follows a run -----------------------------------------------------------------


def test_a_page_that_follows_keeps_what_the_reader_did(tmp_path, open_page):
    workdir = make_workdir(tmp_path / "run")
    run = json.loads((workdir / "run.json").read_text())
    writers.write_json(workdir / "run.json", run | {"status": "running"})
    with watch.Server(0, watch.Watched(workdir)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        shown = open_page(server.address)
        shown.locator("#trials summary").click()
        shown.locator("#trials").get_by_role("button", name="score").click()
        shown.locator("#trials").get_by_role("button", name="score ↑").click()
        shown.locator("#trials input.filter").fill("0.9")
        shown.locator("#SKEL1 summary").click()
        findings = json.loads((workdir / "findings.json").read_text())
        findings.append({**findings[-1], "row": "TUNE9", "summary": "This is new."})
        writers.write_json(workdir / "findings.json", findings)
        rows = [{"trial": f"t{i}", "seed": i, "score": 0.9 + i / 100} for i in range(7)]
        writers.write_trials_csv(workdir / "trials.csv", [*rows, {"trial": "low", "score": 0.5}])
        shown.get_by_text("This is new.").wait_for()
        table = shown.locator("#trials table")
        assert cells(table, 1) == [f"t{i}" for i in reversed(range(7))]
        assert shown.locator("#SKEL1").get_attribute("open") is not None
        writers.write_json(workdir / "run.json", run | {"status": "done"})
        shown.get_by_text("The run has ended").wait_for()
        server.shutdown()
        thread.join(5)


# --- Very many trials ----------------------------------------------------------------------------


def test_ten_thousand_trials_are_sorted_and_filtered_all_of_them(tmp_path, open_page):
    """The page shows the first of what was asked for, and says so (wish 17)."""
    draw = np.random.default_rng(0)
    scores = draw.normal(size=10_000) * 10.0 ** draw.integers(-5, 7, 10_000)
    scores[7] = 123456.0
    rows = [
        {"trial": f"t{i}", "seed": i, "optim.name": "sgd" if i % 3 else "adam", "score": score}
        for i, score in enumerate(map(float, scores))
    ]
    rows[5]["score"] = None
    writers.write_trials_csv(tmp_path / "trials.csv", rows)
    path = page.build_report(tmp_path)
    assert path.stat().st_size < 8e6
    shown = open_page(path.as_uri())
    shown.locator("#trials summary").click()
    table, caption = shown.locator("#trials table"), shown.locator("#trials caption")
    served = table.locator("tbody").inner_text()
    assert cells(table, 1) == [f"t{i}" for i in range(page.MAX_TRIALS)]
    head, field = table.get_by_role("button", name="seed"), shown.locator("#trials input.filter")
    field.fill("no such")
    assert cells(table, 1) == []
    field.fill("")
    # Written anew by the script, a number looks as it did.
    assert table.locator("tbody").inner_text() == served
    head.click()
    head.click()
    assert cells(table, 1)[:2] == ["t9999", "t9998"]
    assert caption.inner_text() == "The first 300 of 10\u202f000 rows"
    field.fill("adam t999")
    assert cells(table, 1) == ["t9999", "t9996", "t9993", "t9990", "t999"]
    assert caption.inner_text() == "5 rows, of 10\u202f000 in all"
    field.fill("")
    table.get_by_role("button", name="score").click()
    lowest = [f"t{i}" for i in np.argsort(np.where(np.arange(10_000) == 5, np.inf, scores))[:300]]
    assert cells(table, 1) == lowest
