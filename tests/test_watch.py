"""The page that follows a run: its parts, what has changed in them, its server, and the run."""

import _thread
import contextlib
import functools
import html
import http.client
import json
import pathlib
import re
import shutil
import signal
import threading
import types
import urllib.error
import urllib.request

import pytest
from test_report import make_findings, make_run, make_workdir, parse

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import commands, drive, watch
from recipe_jax.app.console import Console
from recipe_jax.report import content, live, page
from recipe_jax.types import Decision, Finding, Status, UserError

TINY = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "train": {"batch_size": 16, "epochs": 2, "evaluations": 1},
}
FEW = {"overfit_one_batch", "range_test", "test_score"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder with a few findings; tests leave it as it is."""
    folder = make_workdir(tmp_path_factory.mktemp("watch") / "run")
    findings = json.loads((folder / "findings.json").read_text())
    few = [each for each in findings if each["check"] in FEW or each["status"] == "FAIL"]
    assert {each["check"] for each in few} > FEW
    writers.write_json(folder / "findings.json", few)
    return folder


@pytest.fixture
def workdir(finished, tmp_path):
    """One that tests may change."""
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


class Clock:
    """Seconds as a test says."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def watched_of(workdir, **fields):
    clock = Clock()
    return watch.Watched(workdir, clock=clock, now=Clock(), **fields), clock


def later(watched, clock, have=()):
    """The state after so long that whatever has changed is drawn."""
    clock.seconds += 1000
    return watched.state(have)


def digests(told):
    return [part["digest"] for part in told["parts"]]


def new(told):
    """The names of the parts that come with their HTML."""
    return [part["name"] for part in told["parts"] if "html" in part]


def add_finding(workdir, **fields):
    findings = json.loads((workdir / "findings.json").read_text())
    told = {"stage": "tune", "row": "TUNE9", "check": "x", "fault": "", "status": "PASS"}
    findings.append(told | {"summary": "New.", "remedy": "", "evidence": {}} | fields)
    writers.write_json(workdir / "findings.json", findings)


# --- Parts and what has changed --------------------------------------------------------------


def test_the_page_of_a_finished_run_is_the_report_but_for_what_watches(finished):
    told = content.collect(finished)
    text = live.draw(told).text
    script, style = page.text("live.js"), page.text("live.css")
    for added in (
        "; connect-src &#39;self&#39;",
        html.escape(f" {page.digest(script)}").replace("&#x27;", "&#39;"),
        f"<script>{script}</script>\n",
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n',
        re.search(r'<aside class="live".*</aside>\n', text)[0],
    ):
        assert text.count(added) == 1, added[:60]
        text = text.replace(added, "")
    assert text == page.render(told)


def test_the_parts_are_all_that_lies_in_the_page(finished):
    shown = live.draw(content.collect(finished))
    stages = [f"stage-{stage}" for stage in content.STAGES]
    assert [*shown.parts] == [
        *("header", "nav", "verdict", *stages, "trials", "settings", "provenance")
    ]
    for name, part in shown.parts.items():
        assert part.html in shown.text
        assert part.html.count("<section") == (name not in ("header", "nav"))
    drawn = {name for part in shown.parts.values() for name in live.FIGURE.findall(part.html)}
    assert drawn == set(shown.canvas.figures)


def test_words_that_look_like_parts_are_none(tmp_path):
    hostile = '</section><nav>x</nav><section id="evil">'
    findings = make_findings()[:3]
    findings[0] |= {"summary": hostile, "remedy": hostile}
    writers.write_json(tmp_path / "run.json", make_run(findings) | {"name": hostile})
    writers.write_json(tmp_path / "findings.json", findings)
    names = [*live.draw(content.collect(tmp_path)).parts]
    assert "evil" not in names and names[:3] == ["header", "nav", "verdict"]
    assert len(names) == 3 + len(content.STAGES) + 1


def test_a_reader_is_sent_what_is_new_and_nothing_else(workdir):
    watched, clock = watched_of(workdir)
    first = later(watched, clock)
    assert new(first) == [part["name"] for part in first["parts"]]
    again = later(watched, clock, digests(first))
    assert new(again) == [] and again["figures"] == {}
    assert again["version"] == first["version"]
    add_finding(workdir)
    told = later(watched, clock, digests(again))
    assert new(told) == ["verdict", "stage-tune"]
    (tune,) = (part["html"] for part in told["parts"] if part["name"] == "stage-tune")
    assert "New." in tune and set(live.FIGURE.findall(tune)) <= set(told["figures"])


def test_what_has_not_changed_is_not_drawn_again(workdir, monkeypatch):
    before = live.draw(content.collect(workdir))
    drawn, draw = [], page.figures.draw
    monkeypatch.setattr(page.figures, "draw", lambda *told: drawn.append(told[0]) or draw(*told))
    add_finding(workdir, check="new", evidence={"a": 1})
    told = content.collect(workdir)
    after = live.draw(told, before)
    assert set(drawn) == {"new"}
    again = live.draw(told)
    assert (after.text, after.parts, after.version) == (again.text, again.parts, again.version)
    assert after.canvas.figures == again.canvas.figures


def test_a_part_that_comes_or_goes_keeps_the_figures_of_the_others(workdir):
    before = live.draw(content.collect(workdir))
    findings = json.loads((workdir / "findings.json").read_text())
    writers.write_json(workdir / "findings.json", findings[1:])
    after = live.draw(content.collect(workdir))
    same = [name for name in before.parts if before.parts[name] == after.parts[name]]
    assert findings[0]["stage"] == "data" and "stage-skeleton" in same and "stage-tune" in same


@pytest.mark.parametrize("name", content.FILES)
def test_the_version_changes_when_and_only_when_the_content_does(workdir, name):
    writers_of = {
        "run.json": lambda old: old.replace("digits", "numbers"),
        "config.json": lambda old: old.replace("64", "65"),
        "findings.json": lambda old: old.replace("PASS", "SKIP"),
        "metrics.jsonl": lambda old: old.replace('"loss": 2.0', '"loss": 2.5'),
        "trials.csv": lambda old: old.replace("t0", "t9"),
        "model/model.json": lambda old: '{"modality": "image"}',
    }
    watched, clock = watched_of(workdir)
    first = later(watched, clock)["version"]
    path = workdir / name
    old = path.read_text() if path.exists() else ""
    before = watch.stamp(workdir)
    if old:  # written again, the same
        writers.write_text(path, old)
        assert watch.stamp(workdir) != before
        assert later(watched, clock)["version"] == first
    path.parent.mkdir(exist_ok=True)
    writers.write_text(path, writers_of[name](old))
    assert later(watched, clock)["version"] != first
    if old:
        writers.write_text(path, old)
    else:
        path.unlink()
    assert later(watched, clock)["version"] == first


def test_nothing_is_read_but_what_the_stamp_looks_at(workdir, monkeypatch):
    opened, before = set(), pathlib.Path.open

    def noted(self, *words, **more):
        opened.add(str(self.relative_to(workdir)))
        return before(self, *words, **more)

    (workdir / "model").mkdir()
    (workdir / "model" / "model.json").write_text("{}")
    monkeypatch.setattr(pathlib.Path, "open", noted)
    content.collect(workdir)
    assert opened == set(content.FILES)


# --- When it is drawn ------------------------------------------------------------------------


def counted(monkeypatch, clock, seconds):
    """Every drawing takes so long; their number."""
    drawn, draw = [], live.draw

    def slow(*words):
        drawn.append(clock.seconds)
        clock.seconds += seconds
        return draw(*words)

    monkeypatch.setattr(live, "draw", slow)
    return drawn


def test_drawing_takes_its_share_of_the_time_and_no_more(workdir, monkeypatch):
    run = json.loads((workdir / "run.json").read_text()) | {"status": "running"}
    writers.write_json(workdir / "run.json", run)
    watched, clock = watched_of(workdir, share=0.1)
    drawn = counted(monkeypatch, clock, 1.0)
    watched.state(())
    for number in range(40):
        add_finding(workdir, summary=f"Number {number}.")
        watched.state(())
        clock.seconds += 0.5
    assert drawn == [0.0, 10.0, 20.0]


def test_nothing_is_drawn_unless_asked_for_and_the_end_at_once(workdir, monkeypatch):
    run = json.loads((workdir / "run.json").read_text())
    writers.write_json(workdir / "run.json", run | {"status": "running"})
    watched, clock = watched_of(workdir)
    drawn = counted(monkeypatch, clock, 100.0)
    assert drawn == []
    assert not watched.state(())["ended"]
    writers.write_json(workdir / "run.json", run)
    told = watched.state(())
    assert told["ended"] and len(drawn) == 2
    assert any("Finished, but" in part["html"] for part in told["parts"])
    watched.state(())
    assert len(drawn) == 2


def test_the_workdir_is_only_read(workdir):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workdir.rglob("*") if p.is_file()}
    watched, clock = watched_of(workdir)
    later(watched, clock)
    watched.page()
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in workdir.rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("name", ["run.json", "findings.json", "trials.csv", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["cut", "binary", "gone"])
def test_a_file_half_written_leaves_the_page_as_it_was_and_is_read_when_it_is_whole(
    workdir, name, damage
):
    watched, clock = watched_of(workdir)
    first = later(watched, clock)
    path = workdir / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\xff\xfe{\n" + whole)
    told = later(watched, clock, digests(first))
    if damage != "gone" and name.endswith(".json"):
        assert new(told) == []
    # A reader who comes now finds a page, too.
    other, its_clock = watched_of(workdir)
    names = [part["name"] for part in later(other, its_clock)["parts"]]
    assert "verdict" in names
    path.write_bytes(whole)
    assert later(watched, clock)["version"] == first["version"]
    assert later(other, its_clock)["version"] == first["version"]


def test_an_empty_folder_is_a_page_and_waits(tmp_path):
    watched, clock = watched_of(tmp_path / "gone")
    told = later(watched, clock)
    assert told["state"] == "Waiting" and told["quiet_seconds"] is None
    assert "verdict" in new(told)


# --- What runs now ---------------------------------------------------------------------------


def row(trial, *, request="search", epoch=1.0, split="validation", stage="tune", **scores):
    place = {"stage": stage, "request": request, "trial": trial, "step": 1, "epoch": epoch}
    return {**place, "split": split, **scores}


def going(stage="tune", lanes=8):
    names = ("data", "tune")
    states = [{"name": each, "state": "running" if each == stage else "done"} for each in names]
    plan = {"stages": [{"stage": each, "lanes": lanes} for each in names]}
    return {"status": "running", "stages": states, "plan": plan}


def test_the_line_names_stage_request_lanes_and_the_best_score_by_hand():
    rows = [
        row("a", accuracy=0.5, loss=3.0),
        row("b", accuracy=0.7, loss=float("nan")),
        row("b", split="train", accuracy=0.99),
        row("c", request="again", epoch=2.5, accuracy=None, loss=1.0),
        row("a", request="again", epoch=2.5, accuracy=0.6),
    ]
    told = live.now(going(), live.followed(live.Progress(), rows), 1.0)
    assert told == {
        "ended": False,
        "state": "Running",
        "words": [
            *("tune (2 of 2)", "again", "1 of 8 lanes done", "2 at epoch 2.5"),
            "best validation accuracy 0.7",
        ],
    }


def test_rows_in_pieces_say_the_same_as_all_at_once():
    rows = [
        row(
            f"t{i % 5}",
            request=f"r{i // 10}",
            stage="data" if i < 12 else "tune",
            loss=1.0 / (i + 1),
        )
        for i in range(40)
    ]
    whole = live.followed(live.Progress(), rows)
    for cut in range(len(rows)):
        assert live.followed(live.followed(live.Progress(), rows[:cut]), rows[cut:]) == whole
    assert whole.best == ("loss", 1 / 40) and whole.stage == "tune"


def test_a_stage_that_has_not_trained_yet_tells_nothing_of_the_one_before():
    progress = live.followed(live.Progress(), [row("a", stage="data", loss=0.1)])
    assert live.now(going(), progress, 0.0)["words"] == ["tune (2 of 2)"]


def test_more_lanes_than_planned_are_told_without_the_plan():
    progress = live.followed(live.Progress(), [row("a"), row("b"), row("c", request="more")])
    words = live.now(going(lanes=2), progress, 0.0)["words"]
    assert "2 lanes done" in words and "1 at epoch 1" in words


@pytest.mark.parametrize(
    ("run", "quiet", "ended", "state", "word"),
    [
        ({}, 0, False, "Waiting", "no run is recorded"),
        ({"status": "new"}, 0, False, "Running", "getting ready"),
        (going(), 1e4, False, "Quiet: at something long, or stopped", "tune"),
        ({"status": "done", "exit_code": 0, "total_seconds": 83.0}, 1e9, True, "ended", "1 min 23"),
        ({"status": "gate closed", "exit_code": 1}, 0, True, "ended", "a gate closed"),
    ],
)
def test_the_line_says_whether_it_goes(run, quiet, ended, state, word):
    told = live.now(run, live.Progress(), quiet)
    assert told["ended"] is ended and state in told["state"] and word in " ".join(told["words"])


def test_measurements_are_read_on_by_whole_lines_and_anew_when_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert watch.read_on(watch.Read(), path) == watch.Read()
    lines = [json.dumps(row(f"t{i}", loss=1.0 - i / 10)) for i in range(4)]
    path.write_text(f"{lines[0]}\n{lines[1][:20]}")
    first = watch.read_on(watch.Read(), path)
    assert first.progress.training == {"t0"} and first.offset == len(lines[0]) + 1
    with path.open("a") as file:
        file.write(f"{lines[1][20:]}\nno json\n[]\n{lines[2]}\n")
    second = watch.read_on(first, path)
    assert second.progress.training == {"t0", "t1", "t2"}
    assert second.progress == watch.read_on(watch.Read(), path).progress
    with path.open("r+") as file:
        file.truncate(len(lines[0]) + 1)
    assert watch.read_on(second, path).progress == first.progress


# --- The server ------------------------------------------------------------------------------


@pytest.fixture
def served(workdir):
    """A server in a thread."""
    with watch.Server(0, watch.Watched(workdir)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield types.SimpleNamespace(server=server, workdir=workdir)
        server.shutdown()
        thread.join(5)


def request(server, path="/", **headers):
    """(status, headers, body), the path sent as it is."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers, body


def test_the_page_and_what_has_changed_are_served(served):
    status, headers, text = request(served.server)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert text == live.draw(content.collect(served.workdir)).text
    status, headers, body = request(served.server, "/state?have=")
    told = json.loads(body)
    assert status == 200 and headers["Content-Type"].startswith("application/json")
    assert told["ended"] and not told["closes"] and len(new(told)) == len(told["parts"])
    have = ".".join(digests(told))
    assert new(json.loads(request(served.server, f"/state?have={have}")[2])) == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1:x"])
def test_another_host_is_refused(served, host):
    for path in ("/", "/state?have="):
        status, _, body = request(served.server, path, Host=host)
        assert status == 421 and "digits" not in body


def test_it_listens_on_this_machine_alone(served):
    assert served.server.server_address[0] == "127.0.0.1"
    assert request(served.server, "/state?have=", Host="localhost")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/run.json", "/../run.json", "/%2e%2e/run.json", "/..%2frun.json", "//etc/passwd"),
        *("/../../../../../../etc/passwd", "/report.html", "/state", "/state?have=../run.json"),
        *("/state?have=xyz", "/state?have=&more=1", "/?", "/favicon.ico", "/model/model.json"),
    ],
)
def test_nothing_else_is_there(served, path):
    status, _, body = request(served.server, path)
    assert (status, body) == (404, "There is nothing here.\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_it_can_only_be_read(served, method):
    connection = http.client.HTTPConnection(*served.server.server_address, timeout=10)
    connection.request(method, "/")
    assert connection.getresponse().status == 501
    connection.close()


def test_the_policy_is_the_reports_and_lets_the_page_ask_its_own_server(served):
    _, headers, text = request(served.server)
    header = headers["Content-Security-Policy"]
    (tag,) = (each["content"] for _, each in parse(text).tags if "http-equiv" in each)
    assert header == f"{tag}; frame-ancestors 'none'"
    rules = dict(rule.split(" ", 1) for rule in tag.split("; "))
    assert rules["connect-src"] == "'self'" and rules["default-src"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert rules["script-src"].split() == [page.digest(script) for script in scripts]
    assert len(scripts) == 3
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert "connect-src" not in page.render(content.collect(served.workdir))


# --- The command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Say which workdir"),
        (["--workdir=new"], "There is no run in new"),
        (["--workdir=no/such"], "nor is the folder"),
        (["--workdir=empty"], "has no run.json"),
        (["--workdir=file"], "has no run.json"),
        (["--workdir=run", "--port=70000"], "port"),
        (["--workdir=run", "more"], "stands alone"),
    ],
)
def test_bad_input_is_one_sentence(workdir, monkeypatch, words, said):
    monkeypatch.chdir(workdir.parent)
    (workdir.parent / "empty").mkdir()
    (workdir.parent / "file").write_text("")
    with pytest.raises(UserError) as caught:
        commands.watch(["watch", *words])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (workdir.parent / "new").exists()


def test_a_taken_port_is_one_sentence(served):
    port = served.server.server_address[1]
    with pytest.raises(UserError, match=f"--port {port} is in use"):
        commands.watch(["watch", f"--workdir={served.workdir}", f"--port={port}"])


def address_in(capsys):
    """Where the page is, once that is printed."""
    for _ in range(500):
        found = re.search(r"(http://127\S+/)", capsys.readouterr().out)
        if found:
            return found[1]
        threading.Event().wait(0.02)
    raise AssertionError("no address is printed")


@pytest.fixture
def ctrl_c():
    """It means what it means in a process of its own: a run before may have changed that here."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    watcher = signal.set_wakeup_fd(-1)
    yield
    signal.signal(signal.SIGINT, handler)
    signal.set_wakeup_fd(watcher, warn_on_full_buffer=False)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_it_with_exit_code_0(workdir, capsys):
    seen = []

    def person():
        try:
            with urllib.request.urlopen(address_in(capsys), timeout=20) as response:
                seen.append(response.status)
        finally:
            _thread.interrupt_main()

    thread = threading.Thread(target=person)
    thread.start()
    assert commands.watch(["watch", f"--workdir={workdir}"]) == 0
    thread.join(10)
    assert seen == [200]


def test_help_names_the_flags(capsys):
    for command, word in ((commands.watch, "--port"), (commands.run, "--watch")):
        assert command(["x", "--help"]) == 0
        told = capsys.readouterr().out
        assert word in told and max(map(len, told.splitlines())) <= 100
    assert commands.sweep(["x", "--help"]) == 0 and "--watch" in capsys.readouterr().out


# --- In the process of a run -----------------------------------------------------------------


def ask(address, have=""):
    """The state, as the page's script asks for it."""
    with urllib.request.urlopen(f"{address}state?have={have}", timeout=20) as response:
        return json.loads(response.read())


def tell(context, seen=lambda: None):
    """A stage that trains nothing."""
    seen()
    yield Finding(check="x", row="SKEL1", status=Status.PASS, summary="Well.")
    return Decision(summary="Told.")


def light(seen=lambda: None):
    return types.SimpleNamespace(
        __name__="skeleton",
        EXPECTS="",
        run=functools.partial(tell, seen=seen),
        planned=lambda context: [],
    )


def carry_out(folder, stage, **fields):
    return drive.execute(
        what="train",
        stages=(stage,),
        config=configs.as_dict(configs.complete(TINY)),
        overrides={},
        workdir=folder,
        argv=["test"],
        console=Console(),
        **fields,
    )


def test_it_is_served_while_the_run_goes_and_a_reader_learns_how_it_ended(tmp_path, capsys):
    states, threads = [], []

    def seen():
        address = address_in(capsys)
        states.append(ask(address))

        def follow():
            while not states[-1]["ended"]:
                states.append(ask(address, ".".join(digests(states[-1]))))

        threads.append(threading.Thread(target=follow))
        threads[0].start()

    beside = functools.partial(watch.beside, console=Console())
    assert carry_out(tmp_path / "w", light(seen), beside=beside) == 0
    threads[0].join(10)
    first, last = states[0], states[-1]
    assert first["closes"] and not first["ended"]
    assert first["words"] == ["skeleton (1 of 1)"]
    assert last["ended"] and "exit code 0" in last["words"]
    assert any("Well." in part.get("html", "") for state in states for part in state["parts"])
    assert not [each for each in threading.enumerate() if "serve_forever" in each.name]


def test_it_ends_with_a_run_that_fails(tmp_path, capsys):
    def fail():
        raise RuntimeError("sabotage")

    with pytest.raises(RuntimeError, match="sabotage"):
        carry_out(
            tmp_path / "w", light(fail), beside=functools.partial(watch.beside, console=Console())
        )
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address_in(capsys), timeout=5)


def without_times(value):
    """run.json but for what a clock says."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not k.endswith(("_seconds", "_per_second"))}
        return {key: without_times(each) for key, each in kept.items()}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def test_a_run_leaves_the_same_bytes_whether_it_is_watched_or_not(tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    left, polled = [], []

    def look():
        address = address_in(capsys)
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                polled.append(ask(address)["state"])

    for name, words in (("plain", []), ("watched", ["--watch"])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        reader = threading.Thread(target=look)
        if words:
            reader.start()
        assert commands.train(["train", "--config=../tiny.json", "--workdir=w", *words]) in (0, 1)
        if words:
            reader.join(10)
        else:
            assert "http://" not in capsys.readouterr().out
        # Orbax and TensorBoard give their files random names.
        folders = sorted(p.name for p in pathlib.Path("w/checkpoints").iterdir())
        files = {
            str(p.relative_to("w")): p.read_bytes()
            for p in sorted(pathlib.Path("w").rglob("*"))
            if p.is_file() and not {"checkpoints", "tensorboard"} & {*p.parts}
        }
        told = [without_times(json.loads(files.pop(f"{each}.json"))) for each in ("run", "report")]
        assert told[1].pop("workdir").endswith(f"{name}/w")
        files.pop("report.html")  # it tells the seconds of run.json
        left.append((told, folders, files))
    assert polled and polled[-1] == "The run has ended"
    assert left[0] == left[1]
    told, folders, files = left[0]
    assert told[0]["command"][-1] == "--workdir=w" and folders
    assert {"model/weights.npz", "metrics.jsonl", "trials.csv"} <= files.keys()
