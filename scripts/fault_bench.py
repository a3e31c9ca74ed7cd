"""Plants every fault of the catalogue, runs healthy programs too, and counts what `diagnose` says.

    python scripts/fault_bench.py [--quick] [--out runs/fault_bench.jsonl] [--only C5,digits_mlp]
                                  [--workers 2] [--read]

Every case is one JSON line, keyed by a hash of the case and of the code: what is finished is not
repeated. Only faults that do harm count (scripts/faults/training.py); those verdicts have a file
of their own. --only takes rows, families, plants, programs, strengths, "healthy" or numbers of
healthy programs. --quick: one strength, two programs, 60 healthy; exit code 1 where it finds too
little or cries wolf.
"""

import argparse
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import pathlib
import queue
import statistics
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
KILLS = ROOT / "scripts" / "faults" / "kills.jsonl"
QUICK_PROGRAMS, QUICK_HEALTHY = ("digits_mlp", "diabetes_mlp"), 60
SEEDS, QUICK_SEEDS = 10, 5
# A worker process is made anew after so many cases: compiled programs pile up in it.
RECYCLED, LIMIT_SECONDS = 20, 900.0
# Cases are judged and diagnosed by so many.
AT_ONCE = 40
LEAST_DETECTION, MOST_ALARMS = 0.85, 0.02
Record = dict[str, Any]


class Case(NamedTuple):
    """A plant in a program, or the healthy program of a number."""

    plant: str
    program: str
    strength: str

    @property
    def name(self) -> str:
        """What it is called in the files."""
        return "/".join(self)

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.plant == "healthy"


def fault_cases(strengths: Iterable[str], programs: Iterable[str]) -> list[Case]:
    """Every plant in every program, at every strength."""
    from scripts.faults.plants import PLANTS

    return [Case(plant, name, each) for name in programs for each in strengths for plant in PLANTS]


def mixed(cases: list[Case]) -> list[Case]:
    """The cases in an order of chance, the same each time: whatever stands is a fair sample."""
    return sorted(cases, key=lambda case: hashlib.sha256(case.name.encode()).hexdigest())


def chosen(cases: list[Case], only: str) -> list[Case]:
    """The cases that fit one word of every kind in `only`."""
    from scripts.faults.programs import PROGRAMS

    words = {word for word in only.split(",") if word}
    places = words & set(PROGRAMS) | {word for word in words if word.isdigit()}
    strengths = words & {"mild", "severe"}
    plants = words - places - strengths

    def fits(case: Case) -> bool:
        row = row_of(case)
        return (
            (not places or case.program in places)
            and (not strengths or case.strength in strengths)
            and (not plants or bool(plants & {case.plant, row, row[0]}))
        )

    return [case for case in cases if fits(case)]


def code(paths: Iterable[pathlib.Path]) -> str:
    """A hash of the source files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def key(case: Case, source: str, *others: Any) -> str:
    """What a finished case is known by."""
    text = json.dumps([case.name, source, *others])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_of(case: Case) -> str:
    """The row of the catalogue; "healthy" of a healthy program."""
    from scripts.faults.plants import PLANTS

    return "healthy" if case.healthy else PLANTS[case.plant].row


def kwargs_of(case: Case) -> tuple[str, Record | None]:
    """(row, or name of the healthy program; keyword arguments of `experiment`)."""
    if case.healthy:
        from scripts.faults.healthy import healthy

        return healthy(int(case.program))
    from scripts.faults.plants import PLANTS
    from scripts.faults.programs import PROGRAMS

    plant = PLANTS[case.plant]
    return plant.row, plant(PROGRAMS[case.program], case.strength, 0)


def word(status: Any) -> str:
    """A status as "pass", "warn", "fail" or "skip"."""
    return str(getattr(status, "value", status)).lower()


def diagnosed(case: Case) -> Record:
    """What `diagnose` says of a case."""
    import recipe_jax

    subject, kwargs = kwargs_of(case)
    if kwargs is None:
        return {"subject": subject, "applies": False}
    start = time.perf_counter()
    try:
        diagnosis = recipe_jax.diagnose(recipe_jax.experiment(**kwargs))
        told = {
            "status": word(diagnosis.status),
            "causes": [[cause.fault, word(cause.status)] for cause in diagnosis.causes],
            "findings": [
                [each.check, each.fault, word(each.status), each.summary]
                for each in diagnosis.findings
                if word(each.status) in ("fail", "warn")
            ],
        }
    except Exception as error:
        told = {"status": "error", "causes": [], "findings": []}
        told["error"] = f"{type(error).__name__}: {error}"[:1000]
    seconds = round(time.perf_counter() - start, 2)
    return {"subject": subject, "applies": True, **told, "seconds": seconds}


def judged(case: Case, seeds: int) -> Record:
    """Whether the fault of a case does harm."""
    from scripts.faults.plants import PLANTS
    from scripts.faults.training import killed

    verdict = killed(case.program, PLANTS[case.plant], case.strength, seeds)
    return {"applies": verdict is not None, **(verdict or {})}


def serve(pipe: Any) -> None:
    """Answers one job after another, in a process of its own."""
    while True:
        kind, case, seeds = pipe.recv()
        pipe.send(diagnosed(case) if kind == "diagnose" else judged(case, seeds))


class Worker:
    """A process that answers jobs, and is replaced when it dies, hangs or grows old."""

    def __init__(self) -> None:
        self.process: Any = None
        self.pipe: Any = None
        self.answered = 0

    def ask(self, job: Any) -> Record:
        """The answer; where there is none, an error."""
        if self.process is None or self.answered >= RECYCLED:
            self.stop()
            self.start()
        self.answered += 1
        problem = f"no answer within {LIMIT_SECONDS:.0f} s"
        try:
            self.pipe.send(job)
            if self.pipe.poll(LIMIT_SECONDS):
                return self.pipe.recv()
        except (EOFError, OSError):
            problem = "the process died"
        self.stop()
        return {"applies": True, "status": "error", "causes": [], "findings": [], "error": problem}

    def start(self) -> None:
        """A fresh process."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other,), daemon=True)
        self.process.start()
        # Else the end of the process is not seen from here.
        other.close()
        self.answered = 0

    def stop(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process = None


def read(path: pathlib.Path) -> list[Record]:
    """The lines of a file; a last line that was only half written is cut off."""
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.decode().splitlines() if line.strip()]


def answers(
    kind: str,
    cases: list[Case],
    keys: dict[Case, str],
    path: pathlib.Path,
    *,
    workers: int,
    seeds: int,
) -> None:
    """Puts a line for every case that has none into the file, as they come."""
    finished = {record["key"] for record in read(path)}
    waiting = [case for case in cases if keys[case] not in finished]
    if not waiting:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    idle: queue.Queue[Worker] = queue.Queue()
    for _ in range(workers):
        idle.put(Worker())
    lock, done = threading.Lock(), 0

    def answer(case: Case) -> None:
        nonlocal done
        worker = idle.get()
        try:
            told = worker.ask((kind, case, seeds))
        finally:
            idle.put(worker)
        line = {"key": keys[case], "case": case.name, "subject": row_of(case), **told}
        with lock, path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            done += 1
            seen = told.get("status", told.get("killed", "does not apply"))
            print(f"{kind} {done}/{len(waiting)} {case.name}: {seen}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for each in [pool.submit(answer, case) for case in waiting]:
            each.result()
    while not idle.empty():
        idle.get().stop()


def by_case(records: list[Record], keys: set[str] | None = None) -> dict[str, Record]:
    """The last record of every case, of all or of those with one of the keys."""
    return {each["case"]: each for each in records if keys is None or each["key"] in keys}


def rate(hits: int, count: int) -> str:
    """A share in per cent."""
    return f"{100 * hits / count:6.1f}" if count else "     -"


def rank(record: Record) -> int | None:
    """The place of the right row among the causes, from 0; None where it is not named."""
    from scripts.faults.plants import PLANTS

    equal = PLANTS[record["case"].split("/")[0]].equal
    named = [fault for fault, _ in record["causes"]]
    return next((place for place, fault in enumerate(named) if fault in equal), None)


def report(records: dict[str, Record], kills: dict[str, Record]) -> tuple[float, float]:
    """Prints the table and what is to be read; gives (detection, share of false alarms)."""
    from scipy.stats import binomtest

    ran = [each for each in records.values() if each["applies"]]
    faults = [each for each in ran if not each["case"].startswith("healthy/")]
    well = [each for each in ran if each["case"].startswith("healthy/")]
    harmful = [each for each in faults if kills.get(each["case"], {}).get("killed")]
    found = [each for each in harmful if each["status"] == "fail"]
    print("\nfamily   cases  killed  detected %  first %  first three %  median s  most s")
    for family in (*"ABCDEFG", "all"):
        these = [each for each in faults if family in ("all", each["subject"][0])]
        killed = [each for each in these if each in harmful]
        hits = sum(each["status"] == "fail" for each in killed)
        places = [rank(each) for each in killed]
        first = sum(place == 0 for place in places)
        three = sum(place is not None and place < 3 for place in places)
        seconds = [each["seconds"] for each in these if "seconds" in each] or [0.0]
        print(
            f"{family:6} {len(these):7} {len(killed):7}      {rate(hits, len(killed))}   "
            f"{rate(first, len(killed))}         {rate(three, len(killed))}  "
            f"{statistics.median(seconds):8.1f} {max(seconds):7.1f}"
        )
    alarms = [each for each in well if each["status"] in ("fail", "error")]
    if well:
        low, high = binomtest(len(alarms), len(well)).proportion_ci(method="exact")
        warnings = sum(finding[2] == "warn" for each in well for finding in each["findings"])
        seconds = [each["seconds"] for each in well if "seconds" in each] or [0.0]
        print(
            f"\nhealthy: {len(well)} programs, {len(alarms)} false alarms "
            f"({100 * len(alarms) / len(well):.1f} %, 95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f} %), {warnings / len(well):.2f} warnings a program, median "
            f"{statistics.median(seconds):.1f} s, most {max(seconds):.1f} s"
        )
    if missed := [each for each in harmful if each not in found]:
        print("\nmissed:")
    for each in missed:
        print(f"  {each['subject']:4} {each['case']}  {named(each)}")
    if wrong := [each for each in found if rank(each) != 0]:
        print("\nfound, another row named first:")
    for each in wrong:
        print(f"  {each['subject']:4} {each['case']}  {named(each)}")
    if alarms:
        print("\nfalse alarms:")
    for each in alarms:
        told = [finding for finding in each["findings"] if finding[2] == "fail"]
        print(f"  {each['case']} {each.get('subject', '')}  {each.get('error', '')}")
        for check, fault, _, summary in told:
            print(f"    {fault} {check}: {summary}")
    harmless = sum(bool(each.get("applies")) and not each.get("killed") for each in kills.values())
    print(f"\nwithout harm, not counted: {harmless} planted faults")
    detection = len(found) / len(harmful) if harmful else 1.0
    return detection, len(alarms) / len(well) if well else 0.0


def named(record: Record) -> str:
    """The causes of a record in one line, or its error."""
    causes = " ".join(f"{fault}:{status}" for fault, status in record["causes"][:5])
    return record.get("error") or causes or "nothing named"


def main() -> int:
    """Runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/fault_bench.jsonl"))
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--read", action="store_true")
    options = parser.parse_args()
    # One thread a worker; both have to be set before a worker imports jax.
    threads = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {threads}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if options.read:
        report(by_case(read(options.out)), by_case(read(KILLS)))
        return 0

    from scripts.faults.healthy import COUNT
    from scripts.faults.programs import PROGRAMS

    strengths = ("severe",) if options.quick else ("severe", "mild")
    faults = fault_cases(strengths, QUICK_PROGRAMS if options.quick else PROGRAMS)
    count = QUICK_HEALTHY if options.quick else COUNT
    healthy = [Case("healthy", str(number), "") for number in range(count)]
    faults, healthy = chosen(faults, options.only), chosen(healthy, options.only)

    names = ("programs", "plants", "training")
    bench = code(ROOT / "scripts" / "faults" / f"{name}.py" for name in names)
    full = {case: key(case, bench, SEEDS) for case in faults}
    kill_keys = {case: key(case, bench, QUICK_SEEDS) for case in faults} if options.quick else full
    files = [*(ROOT / "recipe_jax").rglob("*.py"), *(ROOT / "scripts" / "faults").glob("*.py")]
    source = code(files)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    judged_fully = {record["key"] for record in read(KILLS)} & set(full.values())
    kills: dict[str, Record] = {}
    keys: dict[Case, str] = {}
    cases = mixed(faults + healthy)
    for start in range(0, len(cases), AT_ONCE):
        part = cases[start : start + AT_ONCE]
        ill = [case for case in part if not case.healthy]
        open_ = [case for case in ill if full[case] not in judged_fully]
        answers("judge", open_, kill_keys, KILLS, workers=options.workers, seeds=seeds)
        kills = by_case(read(KILLS), {*full.values(), *kill_keys.values()})
        part = [case for case in part if case.healthy or kills[case.name].get("killed")]
        keys |= {case: key(case, source) for case in part}
        answers("diagnose", part, keys, options.out, workers=options.workers, seeds=seeds)
    detection, alarms = report(by_case(read(options.out), set(keys.values())), kills)
    failed = options.quick and (detection < LEAST_DETECTION or alarms > MOST_ALARMS)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
