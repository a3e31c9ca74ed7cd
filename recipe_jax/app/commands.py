"""The commands: flags in, exit code out. 0 done, 1 a gate closed, 2 bad input, 128 + n a signal."""

import contextlib
import functools
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from recipe_jax.types import UserError

if TYPE_CHECKING:
    from recipe_jax.app.console import Console

BAD_INPUT = 2
# Not Python's own 1, which says that a gate closed.
BUG = 70
CONFIG_HELP = (
    ("--config FILE", "file.py[:variant] (runs its get_config), .json or .yaml (data only)"),
    ("--config.SECTION.KEY=VALUE", "overrides a setting, such as --config.train.epochs=5;"),
    ("", "--dry-run shows every setting there is"),
)
RESUMES = """
The same command on the same workdir goes on where it was stopped.
Exit codes: 0 done; 1 a gate closed, the report says why; 2 bad input, one line says what;
130 or 143 stopped by a signal, after saving."""
# Who looks on, and how, is no part of what a run is.
LOOKS_ON = re.compile(r"--?(no)?(watch|json)(=.*)?")
JSON = re.compile(r"--?json(=(true|t|yes|y|1))?", re.IGNORECASE)
Command = Callable[[Sequence[str]], int]
Define = Callable[[flags.FlagValues], None]


def run(argv: Sequence[str]) -> int:
    """The whole recipe on one config: from a look at the data to the last percent."""
    if _helped(run, argv, _train_flags):
        return 0
    from recipe_jax.recipe import data, diagnose, overfit, regularise, skeleton, squeeze, tune

    stages = (data, skeleton, overfit, regularise, tune, squeeze, diagnose)
    return _trained(run, stages, argv)


def train(argv: Sequence[str]) -> int:
    """One training run with the config as it is."""
    if _helped(train, argv, _train_flags):
        return 0
    from recipe_jax.recipe import data, training

    return _trained(train, (data, training), argv)


def sweep(argv: Sequence[str]) -> int:
    """Many seeds and settings as lanes: a search, and its best few again on new seeds."""
    if _helped(sweep, argv, _sweep_flags):
        return 0
    from recipe_jax.recipe import data
    from recipe_jax.recipe import sweep as stage

    return _trained(sweep, (data, stage), argv, _sweep_flags)


def doctor(argv: Sequence[str]) -> int:
    """All checks on what a config, or a program of one's own, would train."""
    if _helped(doctor, argv, _doctor_flags):
        return 0
    from recipe_jax import config as configs
    from recipe_jax import diagnosis
    from recipe_jax.app import doctor as app_doctor
    from recipe_jax.app import drive
    from recipe_jax.recipe import data

    with _telling(argv) as (console, ending):
        if any(word.lstrip("-").startswith("program") for word in argv[1:]):
            own, task = _parse(argv, _doctor_flags), None
            name, program = own.program, app_doctor.of_name(own.program or "")
            out = own.out or f"runs/{name.replace(':', '.')}.doctor.html"
        else:
            parsed = configs.parse(_dashes(argv), _doctor_flags)
            name, task = parsed.path, drive.load_task(parsed.config)
            program = app_doctor.of_config(parsed.config, task)
            stem = pathlib.Path(parsed.path.partition(":")[0]).stem
            out = parsed.flags.out or f"runs/{stem}.doctor.html"
        found = diagnosis.diagnose(program)
        if task is not None:
            found = diagnosis.with_data(found, list(data.looked_at(task)))
        app_doctor.tell(console, name, found)
        page = app_doctor.write(found, name, pathlib.Path(out))
        console.line(f"\nPage: {page}")
        code = int(found.status == "fail")
        ending |= {"exit_code": code, "page": page}
    return code


def predict(argv: Sequence[str]) -> int:
    """Predictions of a finished run's model for new examples."""
    if _helped(predict, argv, _predict_flags):
        return 0
    own = _parse(argv, _predict_flags)
    from recipe_jax.app import predict as app_predict
    from recipe_jax.app.console import Console

    if not own.workdir or not own.data:
        raise UserError("Say whose model and which data: --workdir runs/digits --data new.csv")
    out = pathlib.Path(own.out or ("going_on.txt" if own.length else "predictions.csv"))
    count = app_predict.predict(
        pathlib.Path(own.workdir),
        pathlib.Path(own.data),
        out,
        length=own.length,
        temperature=own.temperature,
    )
    what = "character" if own.length else "prediction"
    Console().line(f"{count} {what}{'s' * (count != 1)} in {out}")
    return 0


def compare(argv: Sequence[str]) -> int:
    """Finished runs beside the first of them: what differs, and whether the scores do."""
    if _helped(compare, argv, _compare_flags):
        return 0
    from recipe_jax.app import compare as app_compare

    with _telling(argv) as (console, ending):
        own, folders = _parse_with_names(argv, _compare_flags)
        told = app_compare.compare(folders, examples=own.examples)
        app_compare.tell(console, told)
        # Beside the first run, where what is made lies: not among somebody's sources.
        beside = pathlib.Path(folders[0]).absolute().parent / "compare.html"
        out = pathlib.Path(own.out) if own.out else None if own.json else beside
        if out is not None:
            ending["page"] = app_compare.write(told, out)
            console.line(f"\nPage: {ending['page']}")
        ending["exit_code"] = 0
    return 0


def human(argv: Sequence[str]) -> int:
    """A page on this machine that asks a person about validation examples."""
    if _helped(human, argv, _human_flags):
        return 0
    from recipe_jax import config as configs
    from recipe_jax.app import answers, drive
    from recipe_jax.app import human as app_human
    from recipe_jax.app.console import Console

    parsed = configs.parse(_dashes(argv), _human_flags)
    task = drive.load_task(parsed.config)
    own = parsed.flags
    app_human.ask(
        task,
        drive.make_objective(parsed.config, task),
        _workdir(parsed),
        person=own.person,
        count=own.count,
        port=own.port,
        seed=parsed.config["seed"],
        command=answers.running(parsed.path, argv, own.workdir),
        console=Console(),
    )
    return 0


def report(argv: Sequence[str]) -> int:
    """The page of a run, built again."""
    if _helped(report, argv, _workdir_flag):
        return 0
    own = _parse(argv, _workdir_flag)
    from recipe_jax.app.console import Console
    from recipe_jax.report import page

    Console().line(f"Report: {page.build_report(_folder_of_run(own.workdir))}")
    return 0


def watch(argv: Sequence[str]) -> int:
    """The report of a run while it goes, on a page of this machine that follows it."""
    if _helped(watch, argv, _watch_flags):
        return 0
    own = _parse(argv, _watch_flags)
    folder = _folder_of_run(own.workdir)
    from recipe_jax.app import watch as app_watch
    from recipe_jax.app.console import Console

    app_watch.serve(folder, port=own.port, console=Console())
    return 0


def main(command: Command) -> None:
    """Runs a command as a process: devices first, then the exit code that it earned."""
    use_all_cores()
    try:
        code = command(sys.argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = _code_of(error)
    except KeyboardInterrupt as error:
        code = _code_of(error)
    except OSError as error:
        code = _code_of(error)
        if code == BAD_INPUT:
            print(f"error: {_told_of_disk(error)}", file=sys.stderr)
        else:
            traceback.print_exc()
    except Exception as error:
        traceback.print_exc()
        code = _code_of(error)
    except BaseException as error:
        code = _code_of(error)
        if code is None:
            raise
        print(f"{error}; the same command goes on from here.", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # What other threads are still compiling is not waited for.
        os._exit(code)
    sys.stdout.flush()
    sys.exit(code)


def _told_of_disk(error: OSError) -> str:
    """What no command expected of the system: a disk that fails is no bug."""
    what = error.filename or "A file"
    return f"{what} cannot be used ({error.strerror}); mend that, and repeat the command."


def _code_of(error: BaseException) -> int | None:
    """The exit code of what ended a command; None where Python decides."""
    from recipe_jax.app import disk

    if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in disk.FAILING):
        return BAD_INPUT
    if isinstance(error, KeyboardInterrupt):
        return 130
    return BUG if isinstance(error, Exception) else getattr(error, "exit_code", None)


@contextlib.contextmanager
def _telling(argv: Sequence[str]) -> "Iterator[tuple[Console, dict[str, Any]]]":
    """What tells a person how a command goes, or with --json a machine, which also hears how it
    ended: its exit code and what else the command puts in the dict."""
    from recipe_jax.app.console import Console
    from recipe_jax.app.json_console import JsonConsole

    console = JsonConsole() if any(map(JSON.fullmatch, argv[1:])) else Console()
    ending: dict[str, Any] = {"exit_code": None}
    try:
        yield console, ending
    except BaseException as error:
        ending |= {"exit_code": _code_of(error), "error": str(error) or type(error).__name__}
        raise
    finally:
        console.tell("result", **ending)


def use_all_cores() -> None:
    """On CPU one host device a core, two at least, unless XLA_FLAGS says otherwise: lanes are dealt
    to them. Two, because with one device XLA may round differently (sweep/population.py)."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        import jax

        jax.config.update("jax_num_cpu_devices", max(2, os.cpu_count() or 2))


def _trained(
    command: Command, stages: Sequence[Any], argv: Sequence[str], define: Define | None = None
) -> int:
    with _telling(argv) as (console, ending):
        ending.update(_carried_out(command, stages, argv, define, console=console))
    return ending["exit_code"]


def _carried_out(
    command: Command,
    stages: Sequence[Any],
    argv: Sequence[str],
    define: Define | None,
    *,
    console: "Console",
) -> dict[str, Any]:
    """How it ended: the exit code, and where what was made lies."""
    from recipe_jax import config as configs
    from recipe_jax.app import answers, drive

    parsed = configs.parse(_dashes(argv), define or _train_flags)
    workdir, beside = _workdir(parsed), None
    if parsed.flags.watch:
        from recipe_jax.app import watch as app_watch

        beside = functools.partial(app_watch.beside, console=console)
    code = drive.execute(
        what=command.__name__,
        stages=stages,
        config=parsed.config,
        overrides=parsed.overrides,
        workdir=workdir,
        argv=[word for word in argv if not LOOKS_ON.fullmatch(word)],
        console=console,
        overwrite=parsed.flags.overwrite,
        allow_nonbitwise=parsed.flags.allow_nonbitwise,
        dry_run=parsed.flags.dry_run,
        only=parsed.flags.only if define else "",
        epochs=parsed.flags.extend,
        asks=answers.asking(parsed.path, argv),
        beside=beside,
    )
    ending = {"exit_code": code, "workdir": workdir.absolute()}
    report = workdir.absolute() / "report.html"
    return ending | ({"report": report} if report.is_file() else {})


def _workdir(parsed: Any) -> pathlib.Path:
    """The folder that was named, or runs/<name of the config>."""
    stem = pathlib.Path(parsed.path.partition(":")[0]).stem
    return pathlib.Path(parsed.flags.workdir or f"runs/{stem}")


def _folder_of_run(name: str | None) -> pathlib.Path:
    """The workdir of a run that is there."""
    if not name:
        raise UserError("Say which workdir: --workdir runs/digits")
    folder = pathlib.Path(name)
    if not folder.exists():
        if folder.absolute().parent.is_dir():
            raise UserError(f"There is no run in {folder}: nothing has been written there yet.")
        raise UserError(f"--workdir {folder} is not there, nor is the folder that would hold it.")
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no workdir of a run: it has no run.json.")
    return folder


def _workdir_flag(own: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "the run's folder", flag_values=own)


def _json_flag(own: flags.FlagValues) -> None:
    flags.DEFINE_bool(
        "json",
        False,
        "for machines: one JSON object a line on stdout, and nothing else",
        flag_values=own,
    )


def _predict_flags(own: flags.FlagValues) -> None:
    _workdir_flag(own)
    flags.DEFINE_string(
        "data",
        None,
        "examples: .csv, .tsv, .parquet, .npy, .npz, idx, images, or a text",
        flag_values=own,
    )
    flags.DEFINE_string(
        "out", None, "where to write (predictions.csv; with --length going_on.txt)", flag_values=own
    )
    flags.DEFINE_integer(
        "length",
        0,
        "for text: write how it goes on, by so many characters",
        lower_bound=0,
        flag_values=own,
    )
    flags.DEFINE_float(
        "temperature",
        0.8,
        "of that writing; 0 takes the likeliest",
        lower_bound=0.0,
        flag_values=own,
    )


def _doctor_flags(own: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "program",
        None,
        "module:function that returns recipe_jax.experiment(...), in place of --config",
        flag_values=own,
    )
    flags.DEFINE_string(
        "out", None, "where the page goes (runs/<name>.doctor.html)", flag_values=own
    )
    _json_flag(own)


def _compare_flags(own: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "out",
        None,
        "where the page goes (compare.html beside the first run; with --json nowhere)",
        flag_values=own,
    )
    flags.DEFINE_bool(
        "examples",
        True,
        "pair by validation example too: models answer again; --noexamples is quicker",
        flag_values=own,
    )
    _json_flag(own)


def _train_flags(own: flags.FlagValues) -> None:
    _workdir_flag(own)
    own["workdir"].help = "the run's folder (runs/<name of the config>)"
    flags.DEFINE_bool("dry_run", False, "print the config and the plan, and stop", flag_values=own)
    flags.DEFINE_bool("overwrite", False, "start anew in this workdir", flag_values=own)
    flags.DEFINE_bool(
        "allow_nonbitwise",
        False,
        "go on though code, versions or devices have changed since",
        flag_values=own,
    )
    flags.DEFINE_bool(
        "watch", False, "serve the growing report on localhost while it goes", flag_values=own
    )
    _json_flag(own)
    flags.DEFINE_integer(
        "extend",
        None,
        "of a finished run: train on to so many epochs in all",
        lower_bound=1,
        flag_values=own,
    )


def _human_flags(own: flags.FlagValues) -> None:
    _workdir_flag(own)
    own["workdir"].help = "the run's folder, there or not (runs/<name of the config>)"
    flags.DEFINE_integer(
        "count", 50, "how many validation examples are asked", lower_bound=1, flag_values=own
    )
    flags.DEFINE_integer(
        "port",
        8765,
        "where the page is, on localhost; 0 for any that is free",
        lower_bound=0,
        upper_bound=65535,
        flag_values=own,
    )
    flags.DEFINE_string("person", "you", "who answers; everyone starts anew", flag_values=own)


def _watch_flags(own: flags.FlagValues) -> None:
    _workdir_flag(own)
    flags.DEFINE_integer(
        "port",
        0,
        "where the page is, on localhost; 0 for any that is free",
        lower_bound=0,
        upper_bound=65535,
        flag_values=own,
    )


def _sweep_flags(own: flags.FlagValues) -> None:
    _train_flags(own)
    own["extend"].help = "not of a sweep, which compares settings at one length"
    flags.DEFINE_string(
        "only",
        "",
        "of a finished sweep: train this trial (a name in trials.csv) again",
        flag_values=own,
    )


def _helped(command: Command, argv: Sequence[str], define: Define) -> bool:
    """Prints the help if the command line asks for it."""
    if not {"-h", "-help", "--help", "--helpfull", "--helpshort"}.intersection(argv[1:]):
        return False
    own = flags.FlagValues()
    define(own)
    trains = define in (_train_flags, _sweep_flags, _doctor_flags, _human_flags)
    lines = [("--" + name.replace("_", "-"), own[name].help) for name in own]
    example = "--config configs/digits.py" if trains else "--workdir runs/digits"
    if define is _compare_flags:
        example = "runs/a runs/b [runs/c ...]"
    print(
        f"{command.__doc__}\n\nusage: python -m experiments.{command.__name__} {example} [flags]\n"
    )
    for flag, meaning in [*CONFIG_HELP, *lines] if trains else lines:
        print(f"  {flag:<30} {meaning}")
    codes = "\nExit codes: 0 done; 2 bad input, one line says what."
    if define is _doctor_flags:
        codes = "\nExit codes: 0 nothing failed; 1 something did; 2 bad input, one line says what."
    print(RESUMES if define in (_train_flags, _sweep_flags) else codes)
    return True


def _parse(argv: Sequence[str], define: Define) -> flags.FlagValues:
    own, names = _parse_with_names(argv, define)
    if names:
        raise UserError(f"{names[0]!r} stands alone; a flag is written --name=value.")
    return own


def _parse_with_names(argv: Sequence[str], define: Define) -> tuple[flags.FlagValues, list[str]]:
    """The flags, and the words between and behind them that are none."""
    own = flags.FlagValues()
    own.set_gnu_getopt()
    define(own)
    try:
        rest = own(_dashes(argv))
    except flags.Error as error:
        raise UserError(f"Command line: {' '.join(str(error).split())}") from error
    return own, rest[1:]


def _dashes(argv: Sequence[str]) -> list[str]:
    """`--dry-run` is written `--dry_run` for absl, and `--allow-nonbitwise` likewise."""
    written = {"--dry-run": "--dry_run", "--allow-nonbitwise": "--allow_nonbitwise"}
    return [written.get(word, word) for word in argv]
