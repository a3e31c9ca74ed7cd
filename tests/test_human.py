"""A person beside the network: the page, its server, what is written, and what the recipe says."""

import dataclasses
import functools
import http.client
import json
import re
import threading
import types
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
from test_report import parse
from test_stages import Fake, context_of, driven, healthy

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import answers, commands, drive, human, workdir
from recipe_jax.app.console import Console
from recipe_jax.checks import human_baseline
from recipe_jax.data import base as data_base
from recipe_jax.data import text
from recipe_jax.objectives import classification, next_token, regression
from recipe_jax.recipe import final, skeleton
from recipe_jax.recipe.base import Human
from recipe_jax.report import figures
from recipe_jax.report import human as pages
from recipe_jax.types import Answer, Decision, Finding, Status, UserError

HOSTILE = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>"
CLASSES = (HOSTILE, "plain")
TINY = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "train": {"batch_size": 16, "epochs": 2, "evaluations": 1},
    "recipe": {"seeds": 2, "force": True},
}


@functools.cache
def task_of(kind="images"):
    draw = np.random.default_rng(0)
    targets = (np.arange(60) % 2).astype(np.int32)
    if kind == "text":
        return None
    if kind == "regression":
        inputs = draw.normal(size=(60, 3))
        values = inputs[:, :1] * 3 + 70
        names = {"feature_names": ("a", HOSTILE, "c"), "target_names": (HOSTILE,)}
        source = data_base.from_arrays("made", inputs, targets=values, kind="regression", **names)
    elif kind == "sequence":
        source = data_base.from_arrays(
            "made",
            draw.normal(size=(60, 20, 2)),
            targets=targets,
            kind="classification",
            modality="sequence",
            class_names=CLASSES,
        )
    else:
        # A path names the class of its image, as in a folder of class folders.
        ids = np.array([f"secret-{CLASSES[i]}/{n}.png" for n, i in enumerate(targets)])
        source = data_base.from_arrays(
            HOSTILE,
            draw.integers(0, 255, (60, 8, 8)),
            targets=targets,
            kind="classification",
            class_names=CLASSES,
            ids=ids,
        )
    return data_base.prepare(source)


def text_task(folder):
    (folder / "plays.txt").write_text("to be or not to be, that is the question.\n" * 40)
    return data_base.prepare(text.build(path=str(folder / "plays.txt"), window=12))


def objective_of(task):
    kinds = {"classification": classification, "regression": regression, "next_token": next_token}
    return kinds[task.spec.kind].build(task.spec)


def quiz_of(task, file, *, count=4, person="you", seed=0):
    return human.Quiz(
        task, objective_of(task), file, person=person, count=count, seed=seed, command="run <it>"
    )


def right(task, place):
    """The true answer, in a person's words."""
    truth = human_baseline.truths(task)[place]
    if task.spec.kind == "regression":
        return tuple(map(float, truth))
    return task.class_names[int(truth)]


def answered(task, places, *, person="you", say=right, **fields):
    return tuple(
        Answer(
            fingerprint=task.fingerprint,
            person=person,
            place=int(place),
            example=str(task.validation.ids[place]),
            answer=say(task, place),
            spent_seconds=float(2 + i),
            **fields,
        )
        for i, place in enumerate(places)
    )


# --- The server ------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    """A server in a thread, with a way to ask it as a browser would."""
    running = []

    def serve(task=None, **fields):
        quiz = quiz_of(task or task_of(), tmp_path / answers.NAME, **fields)
        server = human.Server(0, quiz)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        running.append((server, thread, quiz))
        return types.SimpleNamespace(server=server, quiz=quiz, file=quiz.file)

    yield serve
    for server, thread, quiz in running:
        server.shutdown()
        server.server_close()
        thread.join(5)
        quiz.close()


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def request(there, path="/", form=None, **headers):
    """(status, headers, body) of one request, redirects not followed."""
    address = there.server.address
    if form is not None:
        headers = {"Origin": address.rstrip("/"), **headers}
    body = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
    asked = urllib.request.Request(address.rstrip("/") + path, body, headers)
    try:
        with urllib.request.build_opener(Stay).open(asked, timeout=10) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def place_in(page):
    return int(re.search(r'name="place" value="(\d+)"', page).group(1))


def say(there, answer=0, *, place=None, note="", seconds="1.5", **more):
    place = place_in(request(there)[2]) if place is None else place
    form = {"place": place, "spent_seconds": seconds, "note": note, "answer": answer, **more}
    return request(there, "/answer", form)


def lines(there):
    return [json.loads(line) for line in there.file.read_text().splitlines()]


def test_an_answer_is_a_line_at_once_and_the_next_question_follows(served):
    there = served()
    task, order = there.quiz.task, there.quiz.asked
    first = request(there)[2]
    assert place_in(first) == order[0] and "0 of 4 answered" in first
    status, headers, _ = say(there, 1, note=" the loop ")
    assert (status, headers["Location"]) == (303, "/")
    assert lines(there) == [
        {
            "fingerprint": task.fingerprint,
            "person": "you",
            "place": order[0],
            "example": task.validation.ids[order[0]],
            "answer": "plain",
            "spent_seconds": 1.5,
            "note": "the loop",
        }
    ]
    assert place_in(request(there)[2]) == order[1]
    form = {"place": order[1], "spent_seconds": 2, "note": "", "unsure": "yes"}
    assert request(there, "/answer", form)[0] == 303
    assert lines(there)[1]["answer"] is None
    assert "2 of 4 answered" in request(there)[2]


def test_the_answer_before_can_be_changed_and_the_last_one_counts(served):
    there = served()
    first = there.quiz.asked[0]
    say(there, 1, note="left")
    page = request(there, "/back")[2]
    assert place_in(page) == first and "You said: plain" in page and 'value="left"' in page
    say(there, 0, place=first)
    assert [row["answer"] for row in lines(there)] == ["plain", HOSTILE]
    assert place_in(request(there)[2]) == there.quiz.asked[1]
    (kept,) = human_baseline.latest(answers.read(there.file, task_of()), task_of())["you"]
    assert kept.answer == HOSTILE


def test_nothing_is_told_before_the_end_and_nothing_is_taken_after_it(served):
    there = served()
    task = there.quiz.task
    for place in there.quiz.asked:
        for page in (request(there)[2], request(there, "/back")[2]):
            assert "right: acc" not in page and "secret-" not in page and "taken for" not in page
        assert not there.server.ended.is_set()
        wrong = 1 - int(task.validation.targets[place])
        say(there, wrong if place == there.quiz.asked[0] else 1 - wrong)
    end = request(there)[2]
    assert there.server.ended.wait(5)
    assert "3 of 4 right: accuracy 0.75" in end and "taken for" in end
    assert "run &lt;it&gt;" in end
    before = there.file.read_bytes()
    assert say(there, 0, place=there.quiz.asked[0])[0] == 303
    assert there.file.read_bytes() == before


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "localhost.evil.example", "", "127.0.0.1:x"]
)
def test_another_host_is_refused(served, host):
    there = served()
    status, _, body = request(there, Host=host)
    assert status == 421 and "place" not in body
    form = {"place": there.quiz.asked[0], "spent_seconds": 1, "note": "", "answer": 0}
    status, _, _ = request(there, "/answer", form, Host=host, Origin=f"http://{host}")
    assert status == 421 and not there.file.read_text()


def test_this_machine_is_served_by_both_its_names_and_at_no_other_address(served):
    there = served()
    port = there.server.server_address[1]
    for name in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "localhost:9999"):
        assert request(there, Host=name)[0] == 200
    assert there.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_a_form_of_another_page_is_refused(served, origin):
    there = served()
    form = {"place": there.quiz.asked[0], "spent_seconds": 1, "note": "", "answer": 0}
    assert request(there, "/answer", form, Origin=origin)[0] == 403
    assert not there.file.read_text()


@pytest.mark.parametrize(
    "path", ["/human.jsonl", "/../human.jsonl", "/?", "/index.html", "/answer", "/back/"]
)
def test_nothing_else_is_there(served, path):
    assert request(served(), path)[0] == 404


def test_only_get_and_post_are_known_and_a_post_goes_to_answer(served):
    there = served()
    connection = http.client.HTTPConnection(*there.server.server_address, timeout=10)
    connection.request("DELETE", "/")
    assert connection.getresponse().status == 501
    connection.close()
    assert request(there, "/", {"place": 1})[0] == 404
    assert request(there, "/answer", {"note": "x" * 20_000})[0] == 413


@pytest.mark.parametrize(
    "form",
    [
        {"answer": 2},
        {"answer": -1},
        {"answer": "plain"},
        {"answer": [0, 1]},
        {"answer": []},
        {"place": 10_000},
        {"place": "x"},
        {"spent_seconds": ""},
        {"spent_seconds": "nan"},
        {"spent_seconds": -1},
        {"note": "x" * 501},
    ],
)
def test_what_is_no_answer_is_not_written(served, form):
    there = served()
    good = {"place": there.quiz.asked[0], "spent_seconds": 1, "note": "", "answer": 0}
    status, _, body = request(there, "/answer", good | form)
    assert status == 400 and "no answer" in body and not there.file.read_text()
    assert request(there, "/answer", good)[0] == 303


def test_an_example_that_is_not_asked_is_not_answered(served):
    there = served()
    other = next(i for i in range(12) if i not in there.quiz.asked)
    assert say(there, 0, place=other)[0] == 400


def test_the_policy_allows_the_pages_own_style_and_script_alone(served):
    there = served()
    _, headers, page = request(there)
    rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert rules["default-src"] == "'none'" and rules["form-action"] == "'self'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert rules[rule] == pages.page.digest(inside)
    # An Origin is sent with the form only where the referrer policy lets it.
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"


# --- The page --------------------------------------------------------------------------------


def page_of(task, place=0, **fields):
    progress = pages.Progress(HOSTILE, 1, 4, HOSTILE)
    return pages.question(task, place, progress, spans=pages.spans(task), **fields)


@pytest.mark.parametrize("kind", ["images", "regression", "sequence", "text"])
def test_hostile_words_stay_words(tmp_path, kind):
    task = text_task(tmp_path) if kind == "text" else task_of(kind)
    told = answered(task, range(3), person=HOSTILE, note=HOSTILE, say=lambda *_: None)
    progress = pages.Progress(HOSTILE, 3, 3, HOSTILE)
    end = pages.end(task, objective_of(task), told, progress, HOSTILE)
    for page in (page_of(task, before=told[0]), end):
        assert HOSTILE not in page and "<img src=x" not in page
        tags = parse(page).tags
        assert sum(tag == "script" for tag, _ in tags) <= 1
        for tag, attributes in tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            if tag in ("img", "link"):
                assert (attributes.get("src") or attributes["href"]).startswith("data:")
    assert "&lt;img src=x" in page_of(task)


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_words_run_nothing_in_a_browser(tmp_path, open_page, width):
    """What runs, or asks the network, fails where the page is opened."""
    task = task_of("images")
    told = answered(task, range(3), person=HOSTILE, note=HOSTILE, say=lambda *_: None)
    progress = pages.Progress(HOSTILE, 3, 3, HOSTILE)
    end = pages.end(task, objective_of(task), told, progress, HOSTILE)
    for name, page in (("question", page_of(task, before=told[0])), ("end", end)):
        (tmp_path / f"{name}.html").write_text(page)
        shown = open_page((tmp_path / f"{name}.html").as_uri(), width=width)
        assert shown.get_by_text(HOSTILE).count() > 0
        assert shown.locator("[onerror], img[src^='x']").count() == 0
        assert shown.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("kind", ["images", "sequence", "regression"])
def test_a_question_does_not_hold_its_answer(kind):
    """Pages of one example differ by its target in nothing."""
    task = task_of(kind)
    validation = task.validation
    targets = validation.targets[::-1] if kind == "regression" else 1 - validation.targets
    ids = np.array([f"other {i}" for i in range(len(targets))])
    other = dataclasses.replace(task, validation=validation._replace(targets=targets, ids=ids))
    assert not np.array_equal(targets, validation.targets)
    for place in range(4):
        assert page_of(other, place) == page_of(task, place)


def test_keys_are_the_names_where_they_fit_and_numbers_else(tmp_path):
    def keys(names):
        names = tuple(names)
        count = len(names)
        spec = dataclasses.replace(task_of().spec, num_outputs=count, prior=(1 / count,) * count)
        page = page_of(dataclasses.replace(task_of(), class_names=names, spec=spec))
        found = [a.get("data-key") for tag, a in parse(page).tags if a.get("name") == "answer"]
        return found, 'id="search"' in page

    assert keys("0123456789") == (list("0123456789"), False)
    assert keys(["cat", "dog"]) == (["1", "2"], False)
    assert keys(map("c{}".format, range(11))) == ([*"1234567890", ""], False)
    assert keys(map("c{}".format, range(40))) == ([""] * 40, True)


def test_enter_in_the_note_chooses_no_class():
    """The first button of a form is pressed by Enter: it must be one that does nothing."""
    buttons = [a for tag, a in parse(page_of(task_of())).tags if tag == "button"]
    assert "disabled" in buttons[0] and "disabled" not in buttons[1]
    asked = page_of(task_of("regression"))
    buttons = [attributes for tag, attributes in parse(asked).tags if tag == "button"]
    assert buttons[0]["class"] == "send" and "disabled" not in buttons[0]


PLAY = """
let clock = 0;
performance.now = () => clock;
%s
const said = [];
document.addEventListener("submit", (event) => {
  said.push([event.defaultPrevented, event.target.elements.spent_seconds.value]);
  event.preventDefault();
});
for (clock of [120, 1500, 1620])
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true }));
document.body.dataset.said = JSON.stringify(said);
"""


def test_a_double_press_answers_one_example_in_a_browser(tmp_path, monkeypatch, open_page):
    """Its second half lands on the next page, or on this one again: both times it is nothing."""
    script = PLAY % pages._script()
    monkeypatch.setattr(pages, "_script", lambda: script)
    (tmp_path / "page.html").write_text(page_of(task_of()))
    shown = open_page((tmp_path / "page.html").as_uri())
    said = shown.locator("body[data-said]").get_attribute("data-said")
    assert json.loads(said) == [[True, ""], [False, "1.50"], [True, "1.50"]]


def test_a_text_is_shown_up_to_what_is_asked(tmp_path):
    task = text_task(tmp_path)
    last = len(task.validation.targets) - 1
    for place in (0, last):
        whole = task.validation.targets[place] >= 0
        shown = task.encoder.decode(task.validation.inputs[place][whole])
        assert f'<pre class="window">{shown}<b>?</b></pre>' in page_of(task, place)
        token = int(task.validation.targets[place][whole][-1])
        assert human_baseline.truths(task)[place] == token
    symbols = [a["data-symbol"] for _, a in parse(page_of(task)).tags if "data-symbol" in a]
    assert symbols[1:] == list(task.encoder.symbols)


# --- The order, and going on -----------------------------------------------------------------


def test_the_order_is_the_seeds_and_not_the_labels():
    task = task_of()
    order = human_baseline.order(task, 0)
    assert sorted(order) == list(range(len(task.validation.targets)))
    flipped = task.validation._replace(targets=1 - task.validation.targets)
    other = dataclasses.replace(task, validation=flipped)
    np.testing.assert_array_equal(human_baseline.order(other, 0), order)
    assert not np.array_equal(human_baseline.order(task, 1), order)


def test_it_goes_on_where_it_stopped_and_everyone_starts_anew(tmp_path):
    task, file = task_of(), tmp_path / answers.NAME
    first = quiz_of(task, file)
    order = first.asked
    for place in order[:2]:
        first.take({"place": [str(place)], "spent_seconds": ["1"], "note": [""], "answer": ["0"]})
    first.close()
    with file.open("a") as half_written:
        half_written.write('{"fingerprint": "')
    again, other = quiz_of(task, file, count=6), quiz_of(task, file, person="anna")
    assert again.asked[:4] == order and again.waiting == again.asked[2:]
    assert other.waiting == order
    again.close(), other.close()
    assert len(file.read_text().splitlines()) == 2


def test_answers_about_other_data_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / answers.NAME
    other = answered(dataclasses.replace(task_of(), fingerprint="other"), [0])
    file.write_text(writers.to_json(other[0]) + "\n")
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"^[^\n]+about other data[^\n]+$"):
        quiz_of(task_of(), file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"place": 10_000},
        {"place": 1.5},
        {"place": True},
        {"answer": "no class"},
        {"answer": [1.0]},
        {"answer": 3},
        {"spent_seconds": "long"},
        {"note": None},
        {"more": 1},
        None,
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path, change):
    task, file = task_of(), tmp_path / answers.NAME
    good = writers.plain(answered(task, [0])[0])
    bad = ["a list"] if change is None else {**good, **change}
    file.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    with pytest.raises(UserError, match="line 2 is no answer"):
        answers.read(file, task)
    file.write_text(json.dumps(good) + "\n")
    assert answers.read(file, task) == answered(task, [0])


def test_what_is_recorded_is_read_back(tmp_path):
    for task in (task_of(), task_of("regression")):
        told = answered(task, range(3), note="here")
        data = json.loads(writers.to_json(writers.plain(told)))
        assert answers.recorded(data) == told


# --- What the recipe says --------------------------------------------------------------------


def test_losses_and_scores_by_hand():
    wrong = human_baseline.losses(np.array([0, -1, 2, 1]), np.array([0, 0, 2, 2]), "accuracy")
    np.testing.assert_array_equal(wrong, [0, 1, 0, 1])
    found = human_baseline.score(wrong, "accuracy")
    # Wilson's interval for 2 of 4: (p + z^2 / 2n -+ z sqrt(p q / n + z^2 / 4n^2)) / (1 + z^2 / n).
    z, n, p = 1.959964, 4, 0.5
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = [(p + z**2 / (2 * n) + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    np.testing.assert_allclose(found, [0.5, *ends], rtol=1e-5)
    said, truth = np.array([[1.0, 2.0], [5.0, 5.0]]), np.array([[2.0, 4.0], [5.0, 5.0]])
    np.testing.assert_allclose(human_baseline.losses(said, truth, "mse"), [2.5, 0.0])
    np.testing.assert_allclose(human_baseline.losses(said, truth, "mae"), [1.5, 0.0])
    # Of two examples a resample holds 0, 1 or 2 times the first.
    assert human_baseline.score(np.array([2.5, 0.0]), "mse") == (1.25, 0.0, 2.5)
    assert np.isnan(human_baseline.score(np.array([2.5]), "mse").low)


def outputs_of(task, wrong=()):
    """A network that is right but on these examples."""
    truth = task.validation.targets
    asked = np.maximum(truth, 0) if task.spec.kind == "next_token" else truth
    outputs = np.array(objective_of(task).perfect(asked))
    for place in wrong:
        shift = -outputs[place] - 3.0 if task.spec.kind == "regression" else -outputs[place]
        outputs[place] = shift
    return outputs


def examine(task, told, wrong=()):
    return human_baseline.examine(
        task, objective_of(task), told, outputs_of(task, wrong), command="ask me"
    )


@pytest.mark.parametrize("kind", ["images", "regression", "text"])
def test_a_person_is_beside_the_network_on_the_same_examples(tmp_path, kind):
    task = text_task(tmp_path) if kind == "text" else task_of(kind)
    places = list(range(1, 11))
    regression = kind == "regression"

    def close(task, place):
        """As good as the network, or a little less."""
        truth = right(task, place)
        return tuple(value + 0.25 for value in truth) if regression else truth

    told = answered(task, places, say=close)
    equal = examine(task, told, wrong=[0])
    assert equal.status is Status.PASS and equal.row == "SKEL4" and not equal.remedy
    (person,) = equal.evidence["people"]
    best = 0.0 if regression else 1.0
    assert person["score"]["value"] == pytest.approx(0.25**2 if regression else 1.0)
    assert person["network"]["value"] == pytest.approx(best, abs=1e-6)
    assert (person["ahead"], person["behind"]) == (0, 10 * regression)
    assert person["count"] == 10
    assert person["median_seconds"] == 6.5 and "6.5 s each" in equal.summary

    # Sabotaged: the network is wrong where the person is right.
    ahead = examine(task, told, wrong=places)
    assert ahead.status is Status.WARN and ahead.remedy
    assert ahead.evidence["people"][0]["ahead"] == 10
    # One lucky answer proves nothing.
    assert examine(task, told, wrong=[1]).status is Status.PASS
    # And who knows less than the network does not warn.
    unsure = examine(task, answered(task, places, say=lambda *_: None))
    assert unsure.status is Status.PASS and "10 not told" in unsure.summary
    score = unsure.evidence["people"][0]["score"]["value"]
    if regression:
        truth = human_baseline.truths(task)[places, 0]
        assert score == pytest.approx(np.mean((truth - task.spec.target_mean[0]) ** 2))
    else:
        assert score == 0.0


def test_the_text_is_judged_by_its_last_asked_character(tmp_path):
    task = text_task(tmp_path)
    outputs = outputs_of(task)
    asked = human_baseline.last_asked(task.validation)
    places = list(range(8))
    for place in places:  # wrong at every other position
        keep = outputs[place, asked[place]].copy()
        outputs[place] = -outputs[place]
        outputs[place, asked[place]] = keep
    found = human_baseline.examine(
        task, objective_of(task), answered(task, places), outputs, command=""
    )
    assert found.evidence["people"][0]["network"]["value"] == 1.0
    assert "accuracy of the next character" in found.summary


def test_several_people_are_told_apart_and_notes_come_first():
    task = task_of()
    told = answered(task, range(8)) + answered(
        task, range(8), person="anna", say=lambda *_: "plain", note="edge"
    )
    found = examine(task, told, wrong=[3])
    assert [each["name"] for each in found.evidence["people"]] == ["you", "anna"]
    assert "A person (you)" in found.summary and "A person (anna)" in found.summary
    differing = found.evidence["differing"]
    assert differing["note"][0] == "edge" and len(set(map(len, differing.values()))) == 1
    row = differing["person"].index("you")
    assert differing["example"][row] == task.validation.ids[3]


def test_without_answers_it_says_how_to_get_some():
    task = task_of()
    none = examine(task, ())
    assert none.status is Status.SKIP and none.remedy.endswith(": ask me")
    other = examine(task, answered(dataclasses.replace(task, fingerprint="other"), [0]))
    assert other.status is Status.SKIP and "about other data" in other.summary


@pytest.mark.parametrize("kind", ["images", "regression"])
def test_the_finding_is_drawn(kind):
    task = task_of(kind)
    told = answered(task, range(6), note="a") + answered(
        task, range(3), person=HOSTILE, say=lambda *_: None
    )
    for found in (examine(task, told, wrong=[1]), examine(task, told[:1])):
        evidence = json.loads(writers.to_json(found.evidence))
        assert len(figures.draw("human_baseline", evidence)) == 3


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_skeleton_tells_of_it(kind, monkeypatch):
    monkeypatch.setattr(skeleton.examining, "examined", lambda context: iter(()))
    context = context_of(kind)
    fake, _ = driven(skeleton, context)
    assert fake.of("human_baseline").status is Status.SKIP
    told = answered(context.task, range(30))
    fake, _ = driven(skeleton, context._replace(human=Human(told, "ask me")))
    # The made-up network is wrong on every tenth example, or noisy.
    found = fake.of("human_baseline")
    network = found.evidence["people"][0]["network"]["value"]
    if kind == "classification":
        assert network == 0.9 and found.status is Status.PASS
    else:
        assert network > 0 and found.status is Status.WARN


def test_the_test_score_has_people_beside_it():
    context = context_of()
    finding = examine(context.task, answered(context.task, range(10)))
    fake = Fake(context._replace(findings=(finding,)), healthy)
    split = context.task.validation
    found = final.test_score(fake.context, outputs_of(context.task), split, validation=0.9)
    assert found.evidence["people"] == {"names": ["you"], "scores": [1.0], "counts": [10]}
    skipped = Finding(check="human_baseline", row="SKEL4", status=Status.SKIP, summary="")
    bare = final.test_score(
        context._replace(findings=(skipped,)), outputs_of(context.task), split, validation=0.9
    )
    assert bare.evidence["people"]["names"] == [] and bare.status == found.status
    (figure,) = figures.draw("test_score", json.loads(writers.to_json(found.evidence)))
    assert "you, validation" in figure.layout.yaxis.ticktext


# --- The command, and the run after it -------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    return tmp_path


def tiny_task():
    return drive.load_task(configs.as_dict(configs.complete(TINY)))


def told_alone(context):
    """A stage that tells of people beside a perfect network, and trains nothing."""
    task, objective = context.task, context.objective
    outputs = np.array(objective.perfect(task.validation.targets))
    told, command = context.human
    yield human_baseline.examine(task, objective, told, outputs, command=command)
    return Decision(summary="Told.")


LIGHT = types.SimpleNamespace(
    __name__="skeleton", EXPECTS="", READS_ANSWERS=True, run=told_alone, planned=lambda context: []
)


def carry_out(folder, stage=LIGHT, **fields):
    config = configs.as_dict(configs.complete(TINY))
    return drive.execute(
        what="run",
        stages=(stage,),
        config=config,
        overrides={},
        workdir=folder,
        argv=["test"],
        console=Console(),
        **fields,
    )


def finding_in(folder):
    findings = json.loads((folder / "findings.json").read_text())
    return next(each for each in findings if each["check"] == "human_baseline")


def write(folder, told):
    folder.mkdir(exist_ok=True)
    with (folder / answers.NAME).open("a") as file:
        file.writelines(writers.to_json(each) + "\n" for each in told)


def test_the_command_serves_until_all_is_answered(place, capsys):
    there = types.SimpleNamespace(server=None)
    ended = []

    def person():
        # The address is printed before the page is served.
        for _ in range(500):
            found = re.search(r"Open (http://\S+)", capsys.readouterr().out)
            if found:
                break
            threading.Event().wait(0.02)
        there.server = types.SimpleNamespace(address=found[1])
        for _ in range(2):
            assert say(there, 0)[0] == 303
        ended.append(request(there)[2])

    thread = threading.Thread(target=person)
    thread.start()
    words = ["human", "--config", "tiny.json", "--workdir=w", "--count=2", "--port=0"]
    assert commands.human(words) == 0
    thread.join(10)
    assert "of 2 right" in ended[0] and "experiments.run --config tiny.json" in ended[0]
    assert {p.name for p in (place / "w").iterdir()} == {answers.NAME}
    assert commands.human(words) == 0  # nothing is left to ask
    out = capsys.readouterr().out
    assert "2 of 2 answered: w/human.jsonl" in out and "--count" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--person="], "--person"),
        (["--person=" + "x" * 81], "--person"),
        (["--count=0"], "count"),
        (["--port=70000"], "port"),
        (["--workdir=tiny.json"], "is a file"),
        (["--workdir=mine"], "thesis.tex"),
        (["--workdir=other"], "other data"),
        (["--workdir=damaged"], "line 1"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(place, words, said):
    for name, file, content in (
        ("mine", "thesis.tex", "mine"),
        ("other", "run.json", '{"data": {"fingerprint": "other"}}'),
        ("damaged", answers.NAME, '{"place": 1}\n'),
    ):
        (place / name).mkdir()
        (place / name / file).write_text(content)
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        commands.human(["human", "--config", "tiny.json", "--port=0", *words])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


def test_a_taken_port_is_one_sentence(place, served):
    port = served().server.server_address[1]
    with pytest.raises(UserError, match=f"--port {port} is in use"):
        commands.human(["human", "--config", "tiny.json", f"--port={port}"])


def test_help_names_the_flags(capsys):
    assert commands.human(["human", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--config FILE", "--count", "--port", "--person", "--workdir", "2 bad input"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_commands_are_pasted_back_with_the_data_they_are_about():
    argv = ["run", "--config", "a b.py", "--config.data.path", "my table.csv", "--workdir=w"]
    argv += ["--config.objective.name=regression", "--config.model.width=3", "--overwrite"]
    assert answers.asking("a b.py", argv) == (
        "python -m experiments.human --config 'a b.py' --config.data.path 'my table.csv' "
        "--config.objective.name=regression"
    )
    assert answers.running("c.py", ["human", *argv[5:], "--count=3"], "w") == (
        "python -m experiments.run --config c.py --config.objective.name=regression "
        "--config.model.width=3 --workdir w"
    )


def killed(monkeypatch, folder):
    """The command ends in the middle of the stage."""
    with monkeypatch.context() as patched:
        patched.setattr(human_baseline, "examine", None)
        with pytest.raises(TypeError):
            carry_out(folder)


def test_a_run_keeps_what_it_began_with_and_tells_new_answers_after_its_end(place, monkeypatch):
    task, folder = tiny_task(), place / "w"
    write(folder, answered(task, range(5)))
    killed(monkeypatch, folder)
    write(folder, answered(task, range(5, 12)))
    assert carry_out(folder) == 0
    assert finding_in(folder)["evidence"]["people"][0]["count"] == 5

    # The run is over: the answers since then are told.
    killed(monkeypatch, folder)
    assert carry_out(folder) == 0
    assert finding_in(folder)["evidence"]["people"][0]["count"] == 12
    before = (folder / "run.json").read_bytes()
    assert carry_out(folder) == 0
    assert (folder / "run.json").read_bytes() == before
    # They are in the record, whatever becomes of the file.
    (folder / answers.NAME).unlink()
    (folder / "report.html").unlink()
    assert carry_out(folder) == 0
    assert finding_in(folder)["evidence"]["people"][0]["count"] == 12


@pytest.mark.slow
def test_new_answers_train_nothing_again(place, monkeypatch):
    task, folder = tiny_task(), place / "w"
    write(folder, answered(task, range(5)))
    assert carry_out(folder, skeleton) == 0
    write(folder, answered(task, range(5, 12)))
    kept = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "trials.csv")}
    monkeypatch.setattr(drive.Lanes, "_run", None)
    assert carry_out(folder, skeleton) == 0
    assert finding_in(folder)["evidence"]["people"][0]["count"] == 12
    assert {name: (folder / name).read_bytes() for name in kept} == kept


def test_overwriting_a_run_keeps_what_people_answered(place):
    folder = place / "w"
    write(folder, answered(tiny_task(), range(3)))
    before = (folder / answers.NAME).read_bytes()
    for overwrite in (False, True):
        opened = workdir.open_workdir(folder, config=TINY, record={}, overwrite=overwrite)
        assert not opened.resumed
        assert (folder / answers.NAME).read_bytes() == before
