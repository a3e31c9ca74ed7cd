"""Asks a person about validation examples, on a page that this machine alone can open."""

import math
import pathlib
import threading
import urllib.parse
from collections.abc import Mapping

from recipe_jax import writers
from recipe_jax.app import answers, localhost
from recipe_jax.app.console import Console
from recipe_jax.app.workdir import place_for_answers
from recipe_jax.checks import human_baseline
from recipe_jax.report import human as pages
from recipe_jax.types import Answer, Objective, Task, UserError

MOST_BYTES = 16_384
"""Of a request: an answer with its note is far smaller."""
LONGEST_NOTE, LONGEST_NAME = 500, 80


class Quiz:
    """What is asked of one person, and what was answered so far; each answer is on disk at once.

    asked: places in the validation split, in their order. UserError where the file holds answers
    about other data.
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        file: pathlib.Path,
        *,
        person: str,
        count: int,
        seed: int,
        command: str,
    ):
        found = answers.read(file, task)
        if any(each.fingerprint != task.fingerprint for each in found):
            raise UserError(
                f"{file} holds answers about other data; choose another --workdir, or move that "
                "file away."
            )
        self.task, self.objective, self.file, self.person = task, objective, file, person
        self.asked = human_baseline.order(task, seed)[:count].tolist()
        self.command = command
        self.spans = pages.spans(task)
        own = human_baseline.latest(found, task).get(person, ())
        self.answered = {each.place: each for each in own}
        self._lock = threading.Lock()
        self._last = own[-1].place if own else None
        self._writer = writers.JsonlWriter(file)

    @property
    def waiting(self) -> list[int]:
        """The places that are still to be answered."""
        return [place for place in self.asked if place not in self.answered]

    @property
    def done(self) -> bool:
        """All is answered."""
        return not self.waiting

    def page(self, *, back: bool = False) -> str:
        """The next question, the one before it, or the end."""
        with self._lock:
            waiting = self.waiting
            total = len(self.asked)
            progress = pages.Progress(
                self.person, total - len(waiting), total, str(self.file.resolve())
            )
            if not waiting:
                told = tuple(self.answered.values())
                return pages.end(self.task, self.objective, told, progress, self.command)
            before = self.answered.get(self._last) if back and self._last is not None else None
            place = waiting[0] if before is None else before.place
            return pages.question(self.task, place, progress, spans=self.spans, before=before)

    def take(self, form: Mapping[str, list[str]]) -> None:
        """Writes an answer down. ValueError where the form holds none."""
        place, seconds = int(_one(form, "place")), float(_one(form, "spent_seconds"))
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError("the time it took is no number")
        note = _one(form, "note").strip()
        if len(note) > LONGEST_NOTE:
            raise ValueError(f"the note is longer than {LONGEST_NOTE} characters")
        with self._lock:
            # Nothing is changed any more once the right answers were shown.
            if self.done:
                return
            if place not in self.asked:
                raise ValueError(f"example {place} is not asked")
            answer = Answer(
                fingerprint=self.task.fingerprint,
                person=self.person,
                place=place,
                example=str(self.task.validation.ids[place]),
                answer=None if "unsure" in form else self._told(form.get("answer", [])),
                spent_seconds=seconds,
                note=note,
            )
            answers.check(answer, self.task)
            self._writer.write(writers.plain(answer))
            self._writer.flush()
            self.answered[place] = answer
            self._last = place

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _told(self, words: list[str]) -> str | tuple[float, ...]:
        if self.task.spec.kind == "regression":
            values = tuple(map(float, words))
            if not all(map(math.isfinite, values)):
                raise ValueError("a value is not finite")
            return values
        (number,) = map(int, words)
        if not 0 <= number < len(self.task.class_names):
            raise ValueError(f"there is no class {number}")
        return self.task.class_names[number]


class Server(localhost.Server):
    """Serves a quiz; `ended` is set when its last page was sent."""

    def __init__(self, port: int, quiz: Quiz):
        super().__init__(port, Handler)
        self.quiz, self.ended = quiz, threading.Event()


class Handler(localhost.Handler):
    """Answers GET / and /back, and POST /answer; nothing else is there."""

    server: Server

    def do_GET(self) -> None:
        """The page."""
        if not self.from_here():
            return
        if self.path not in ("/", "/back"):
            return self.say(404, "There is nothing here.")
        quiz = self.server.quiz
        ended = quiz.done
        self.send(200, quiz.page(back=self.path == "/back"), "text/html")
        if ended:
            self.server.ended.set()

    def do_POST(self) -> None:
        """An answer."""
        length = self.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else MOST_BYTES + 1
        if size > MOST_BYTES:
            self.close_connection = True
            return self.say(413, "That is too much for an answer.")
        body = self.rfile.read(size)
        if not self.from_here():
            return
        # Other pages that are open in the browser can send forms too; they cannot choose this.
        if self.headers.get("Origin") != f"http://{self.headers['Host']}":
            return self.say(403, "An answer comes from the page itself.")
        if self.path != "/answer":
            return self.say(404, "There is nothing here.")
        try:
            form = urllib.parse.parse_qs(
                body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=100
            )
            self.server.quiz.take(form)
        except ValueError as error:
            return self.say(400, f"This is no answer ({error}); go back and answer again.")
        self.send(303, "", "text/plain", Location="/")

    def policy(self) -> str:
        """That of both pages."""
        return pages.policy()


def ask(
    task: Task,
    objective: Objective,
    workdir: pathlib.Path,
    *,
    person: str,
    count: int,
    port: int,
    seed: int,
    command: str,
    console: Console,
) -> None:
    """Serves the page until all is answered, or until Ctrl-C; says where the answers are."""
    if not person.strip() or len(person) > LONGEST_NAME or not person.isprintable():
        raise UserError(f"--person is a name of at most {LONGEST_NAME} characters.")
    file = place_for_answers(workdir, task.fingerprint)
    quiz = Quiz(task, objective, file, person=person, count=count, seed=seed, command=command)
    shown = workdir / answers.NAME
    try:
        if quiz.done:
            _tell(console, quiz, shown)
            console.line("For more examples say a larger --count.")
            return
        with localhost.listening(lambda port: Server(port, quiz), port) as server:
            total, all_there = len(quiz.asked), len(task.validation.targets)
            console.header(
                "experiments.human",
                [
                    f"data      {task.name}: {total} of the {all_there} validation examples",
                    f"person    {person}, {total - len(quiz.waiting)} answered",
                    f"answers   {shown}",
                ],
            )
            console.line(f"\nOpen {server.address} (Ctrl-C ends, the same command goes on)")
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                server.ended.wait()
            finally:
                server.shutdown()
                _tell(console, quiz, shown)
    finally:
        quiz.close()


def _tell(console: Console, quiz: Quiz, file: pathlib.Path) -> None:
    done = len(quiz.asked) - len(quiz.waiting)
    console.line(f"\n{done} of {len(quiz.asked)} answered: {file}")
    if quiz.done:
        told = tuple(quiz.answered.values())
        console.line(pages.told(quiz.task, quiz.objective, told))
        console.line(f"Beside the network: {quiz.command}")


def _one(form: Mapping[str, list[str]], name: str) -> str:
    values = form.get(name, [])
    if len(values) != 1:
        raise ValueError(f"{name} is missing")
    return values[0]
