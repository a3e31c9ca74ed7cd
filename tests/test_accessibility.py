"""Every page passes axe's audit, light and dark: contrast, names, alternatives, headings."""

import threading

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_compare import LOSSES, members
from test_compare import make as make_compared
from test_human import answered, objective_of, page_of, task_of
from test_report import make_workdir
from test_sweep_page import page_of as sweep_page_of
from test_sweep_page import sweep

from recipe_jax.app import compare, watch
from recipe_jax.diagnosis import Cause, Diagnosis
from recipe_jax.report import comparison
from recipe_jax.report import human as pages
from recipe_jax.report import page as report
from recipe_jax.types import Finding, Status

pytestmark = pytest.mark.slow


def report_page(folder):
    return report.build_report(make_workdir(folder / "run"))


def sweep_page(folder):
    (folder / "run").mkdir()
    return sweep_page_of(sweep(), folder / "run")


def comparison_page(folder):
    make_compared(folder / "a", members(LOSSES))
    make_compared(folder / "b", members([0.3, 0.21, 0.4]), config={"model.width": 128})
    return written(folder, comparison.render(compare.compare([str(folder / n) for n in "ab"])))


def diagnosis_page(folder):
    found = [
        Finding(
            check=f"check_{status}", row="SKEL1", status=status, summary="So it is.", remedy="Do."
        )
        for status in Status
    ]
    failed = Finding(
        check="x", row="SKEL2", status=Status.FAIL, summary="Wrong.", remedy="Mend it.", fault="A1",
        evidence={"loss": [1.0, 2.0]},
    )  # fmt: skip
    causes = (Cause("A1", failed, (failed, *found)),)
    return written(folder, Diagnosis((failed, *found), causes).to_html("lab:program"))


def question_page(kind):
    return lambda folder: written(folder, page_of(task_of(kind)))


def end_page(folder):
    task = task_of()
    answers = answered(task, range(4), say=lambda task, place: task.class_names[0])
    progress = pages.Progress("anna", 4, 4, "human.jsonl")
    return written(folder, pages.end(task, objective_of(task), answers, progress, "run it"))


def written(folder, text):
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


PAGES = {
    "report": report_page,
    "sweep": sweep_page,
    "comparison": comparison_page,
    "diagnosis": diagnosis_page,
    "question about a picture": question_page("images"),
    "question about a row": question_page("regression"),
    "question about a sequence": question_page("sequence"),
    "end of the questions": end_page,
}


# Dark screens in CI alone: the page is the same, but for its colours.
BOTH = pytest.mark.parametrize(
    "dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["light", "dark"]
)


def audit(shown):
    """What axe finds wrong, everything unfolded."""
    shown.evaluate("document.querySelectorAll('details').forEach((box) => (box.open = true))")
    shown.wait_for_timeout(500)
    found = Axe().run(shown).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['html'][:120]} {node['failureSummary'][:300]}"
        for each in found
        for node in each["nodes"][:3]
    ]


@BOTH
@pytest.mark.parametrize("name", PAGES)
def test_the_audit_finds_nothing(tmp_path, open_page, name, dark):
    assert audit(open_page(PAGES[name](tmp_path).as_uri(), dark=dark)) == []


@BOTH
def test_the_audit_finds_nothing_in_a_page_that_follows_a_run(tmp_path, open_page, dark):
    with watch.Server(0, watch.Watched(make_workdir(tmp_path / "run"))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        shown = open_page(server.address, dark=dark)
        shown.get_by_text("The run has ended").wait_for()
        assert audit(shown) == []
        server.shutdown()
        thread.join(5)


def test_the_audit_sees_what_is_wrong(tmp_path, open_page):
    text = report_page(tmp_path).read_text()
    pale = text.replace("<style>", "<style>h1{color:#ddd}", 1).replace('alt="', 'class="', 1)
    found = audit(open_page(written(tmp_path, pale).as_uri()))
    assert {each.partition(":")[0] for each in found} == {"color-contrast", "image-alt"}
