"""One ConfigDict with every hyperparameter, defaults included: loading, completing, overriding.

A section is the `name` of a plug-in and the keywords of its `build`; defaults and ranges are
written once, in that signature, and read from it here. Below this file a config is a plain dict.
"""

import importlib.util
import inspect
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections
import yaml
from absl import flags
from ml_collections import config_dict, config_flags

from recipe_jax import checkpoint, resolve
from recipe_jax.data import base as data_base
from recipe_jax.experiment import FAMILIES
from recipe_jax.recipe.settings import Recipe
from recipe_jax.resolve import Keyword
from recipe_jax.sweep.plan import Sweep
from recipe_jax.train.settings import Train
from recipe_jax.types import UserError

# Sections that choose a plug-in: section -> (family, the name when the config gives none).
NAMED = {
    "data": ("data", "digits"),
    "model": (FAMILIES["model"], "mlp"),
    "objective": (FAMILIES["objective"], "classification"),
    "optim": (FAMILIES["optim"], "adamw"),
    "schedule": (FAMILIES["schedule"], "constant"),
    "augment": (FAMILIES["augment"], "none"),
    "search": ("search", "random"),
}
PLAIN: dict[str, Callable[..., Any]] = {
    "train": Train,
    "sweep": Sweep,
    "recipe": Recipe,
    "checkpoint": checkpoint.Checkpoint,
}
SECTIONS = ("seed", *NAMED, *PLAIN)
SEED = Keyword("seed", int, 0, resolve.Between(0, 2**32 - 1))
OVERRIDE = re.compile(r"^--?(?:no)?config\.([^=]*)(?:=(.*))?$", re.DOTALL)
BAD_VALUE = re.compile(r"^flag --config\.(\S+?)=(.*?): ", re.DOTALL)
MEANING = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple, such as (1, 2)",
}


class _Yaml(yaml.SafeLoader):
    """Data only, and 1e-3 is a number in it, as in YAML 1.2."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)


class Parsed(NamedTuple):
    """A command line understood: the completed config, what the user overrode, the other flags."""

    config: dict[str, Any]
    overrides: dict[str, Any]
    flags: flags.FlagValues
    path: str


def parse(argv: list[str], define: Callable[[flags.FlagValues], None]) -> Parsed:
    """Reads `--config`, its overrides, and the flags that `define` adds. UserError on bad input."""
    path, rest = _take_config(argv)
    own = flags.FlagValues()
    define(own)
    completed = complete(load(path), _overridden(rest, "name"))
    for key in _overridden(rest):
        _known(completed, key)
    rest, emptied = _take_none(rest, completed)
    try:
        proxy = config_flags.DEFINE_config_dict("config", completed, flag_values=own, sys_argv=rest)
        positional = own(rest)
    except (flags.Error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(_flag_sentence(completed, str(error))) from error
    if len(positional) > 1:
        raise UserError(
            f"{positional[1]!r} stands alone; a setting is written --config.section.key=value."
        )
    config = as_dict(proxy.value)
    check(config)
    overrides = dict.fromkeys(emptied) | config_flags.get_override_values(own["config"])
    return Parsed(config, {k: _frozen(v) for k, v in overrides.items()}, own, path)


def load(path: str) -> dict[str, Any]:
    """The config of a file as a dict: `file.py[:variant]` runs its get_config; .json and .yaml are
    data and run nothing."""
    file, _, variant = path.partition(":")
    source = pathlib.Path(file)
    if not source.is_file():
        folder = source.parent if source.parent.is_dir() else pathlib.Path()
        there = sorted(str(p) for p in folder.glob("*") if p.suffix in (".py", ".json", ".yaml"))
        raise UserError(
            f"There is no config file {file}{resolve.nearest(file, there) if there else '.'}"
        )
    if variant and source.suffix != ".py":
        raise UserError(f"{path}: only a .py file has variants; leave out :{variant}.")
    try:
        if source.suffix == ".py":
            loaded = _run(source, variant)
        elif source.suffix == ".json":
            loaded = json.loads(source.read_text("utf-8"))
        elif source.suffix in (".yaml", ".yml"):
            loaded = yaml.load(source.read_text("utf-8"), _Yaml)
        else:
            raise UserError(f"{file}: a config is a .py, .json or .yaml file.")
        if isinstance(loaded, config_dict.ConfigDict):
            loaded = as_dict(loaded)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {_one_line(error)}.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file} holds a {type(loaded).__name__}, not a config.")
    return loaded


def complete(
    given: Mapping[Any, Any], names: Mapping[str, str] | None = None
) -> ml_collections.ConfigDict:
    """The config with every keyword of every section; `names` are plug-ins chosen on the command
    line, for which the keys that the file set for another plug-in are dropped."""
    names = names or {}
    for section in given:
        if section not in SECTIONS:
            raise UserError(
                f"The config has no section {section!r}{resolve.nearest(str(section), SECTIONS)}"
            )
    completed = {"seed": _checked("seed", SEED, given.get("seed", SEED.default))}
    for section in (*NAMED, *PLAIN):
        values = given.get(section, {})
        if not isinstance(values, Mapping):
            raise UserError(f"config.{section} must be a section, not {values!r}.")
        values = dict(values)
        if section in NAMED:
            default = NAMED[section][1]
            in_file = values.pop("name", default)
            if not isinstance(in_file, str):
                raise UserError(f"config.{section}.name={in_file!r} must be text.")
            name = names.get(f"{section}.name", in_file)
            values = values if name == in_file else {}
            known = section_keywords(section, name)
            completed[section] = {"name": name}
        else:
            known, completed[section] = section_keywords(section), {}
        for key in values:
            if key not in known:
                raise UserError(
                    f"config.{section} has no key {key!r}{resolve.nearest(str(key), [*known])}"
                )
        for key, keyword in known.items():
            value = _checked(f"{section}.{key}", keyword, values.get(key, keyword.default))
            if value is None:
                value = config_dict.placeholder(keyword.type)
            completed[section][key] = value
    return ml_collections.ConfigDict(completed)


def section_keywords(section: str, name: str = "") -> dict[str, Keyword]:
    """Every key of a section but its name."""
    if section in PLAIN:
        return resolve.keywords(PLAIN[section])
    build = resolve.resolve(NAMED[section][0], name)
    more = resolve.keywords(data_base.prepare) if section == "data" else {}
    return resolve.keywords(build) | more


def check(config: Mapping[str, Any]) -> None:
    """Every value has the type and lies in the range of its keyword; UserError names the key."""
    _checked("seed", SEED, config["seed"])
    for section in (*NAMED, *PLAIN):
        for key, keyword in section_keywords(section, config[section].get("name", "")).items():
            _checked(f"{section}.{key}", keyword, config[section][key])


def with_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of a completed config with "section.key" -> value put in."""
    changed = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for path, value in settings.items():
        section, _, key = path.partition(".")
        if section not in changed or key not in changed[section]:
            raise UserError(f"There is no setting {path!r} in the config.")
        changed[section][key] = value
    check(changed)
    return changed


def as_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Plain nested dicts; lists are tuples."""
    plain = {}
    for key in config:
        try:
            value = config[key]
        except config_dict.RequiredValueError as error:
            raise UserError(
                f"The config requires a value for {key!r}; set it in the file."
            ) from error
        is_section = isinstance(value, ml_collections.ConfigDict)
        plain[key] = as_dict(value) if is_section else _frozen(value)
    return plain


def to_data(config: Any) -> Any:
    """The config as strict JSON data: infinities and NaN become strings."""
    if isinstance(config, Mapping):
        return {key: to_data(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_data(value) for value in config]
    if isinstance(config, float) and not math.isfinite(config):
        return str(config)
    return config


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """ "section.key: a -> b" for every value that differs between two configs as JSON data."""
    flat, flat_other = _flatten(one), _flatten(other)
    return [
        f"{key}: {flat.get(key)!r} -> {flat_other.get(key)!r}"
        for key in sorted({*flat, *flat_other})
        if flat.get(key) != flat_other.get(key)
    ]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


def _checked(path: str, keyword: Keyword, value: Any) -> Any:
    """The value as the keyword's type, or UserError. An int is a float; a bool is not an int; None
    is where the default is None."""
    wanted = keyword.type
    if value is inspect.Parameter.empty:
        raise UserError(f"config.{path} has no default; set it to {MEANING[wanted]}.")
    if value is None and keyword.default is None:
        return None
    if wanted is float and isinstance(value, str) and value in ("inf", "-inf", "nan"):
        value = float(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is tuple and isinstance(value, list | tuple):
        value = _frozen(value)
    exact = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    if not exact:
        raise UserError(
            f"config.{path}={value!r} is of type {type(value).__name__}; it must be "
            f"{MEANING[wanted]} ({wanted.__name__})."
        )
    return _in_range(path, keyword, value)


def _in_range(path: str, keyword: Keyword, value: Any) -> Any:
    """The value, of the keyword's type already, or UserError."""
    if isinstance(keyword.range, resolve.OneOf) and value not in keyword.range:
        known = keyword.range.names
        raise UserError(f"config.{path}: there is no {value!r}{resolve.nearest(value, known)}")
    if keyword.range is not None and value not in keyword.range:
        raise UserError(f"config.{path}={value!r} is out of range: it must be {keyword.range}.")
    if keyword.type is float and keyword.range is None and math.isnan(value):
        raise UserError(f"config.{path} is NaN; a number is needed.")
    if keyword.item is not None:
        return tuple(_item(f"{path}[{i}]", keyword.item, each) for i, each in enumerate(value))
    return value


def _item(path: str, keyword: Keyword, value: Any) -> Any:
    """One item of a tuple. A whole number may stand for text: classes are named 0, 1, 2."""
    if keyword.type is str and type(value) is int:
        return value
    if value is None:
        raise UserError(f"config.{path}=None must be {MEANING[keyword.type]}.")
    return _checked(path, keyword, value)


def _run(source: pathlib.Path, variant: str) -> Any:
    spec = importlib.util.spec_from_file_location("recipe_config", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{source}, line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{source} cannot be run: {_one_line(error)}.") from error
    if not hasattr(module, "get_config"):
        raise UserError(f"{source} has no function get_config().")
    try:
        return module.get_config(variant) if variant else module.get_config()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        call = f"get_config({variant!r})" if variant else "get_config()"
        raise UserError(f"{source}: {call} raised {_one_line(error)}.") from error


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"


def _take_config(argv: list[str]) -> tuple[str, list[str]]:
    """Splits `--config path` or `--config=path` off the command line."""
    paths, rest, words = [], [], iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config", "-config"):
            paths.append(value if equals else next(words, ""))
        elif flag.lstrip("-") in ("flagfile", "undefok") and flag.startswith("-"):
            raise UserError(f"Command line: there is no flag {flag}; write every flag out.")
        else:
            rest.append(word)
    if len(paths) != 1 or not paths[0]:
        several = f" ({len(paths)} are given)" if len(paths) > 1 else ""
        raise UserError(f"Say which config{several}, such as --config configs/digits.py.")
    return paths[0], rest


def _overridden(argv: list[str], last: str | None = None) -> dict[str, str]:
    """ "section.key" -> raw text of every `--config.section.key=...`, or of keys named `last`."""
    found = {}
    for i, word in enumerate(argv):
        match = OVERRIDE.match(word)
        if match:
            following = argv[i + 1] if i + 1 < len(argv) else ""
            found[match[1]] = following if match[2] is None else match[2]
    return {k: v for k, v in found.items() if last is None or k.split(".")[-1] == last}


def _known(completed: Any, path: str) -> None:
    section, _, key = path.partition(".")
    if section not in completed:
        whole = [f"{s}.{k}" for s in (*NAMED, *PLAIN) for k in completed[s]]
        near = resolve.nearest(path, [*SECTIONS, *whole], otherwise=SECTIONS)
        raise UserError(f"There is no config.{path}{near}")
    if section == "seed":
        if path != "seed":
            raise UserError(f"There is no config.{path}; did you mean seed?")
        return
    known = [*completed[section].keys()]
    if not key:
        raise UserError(
            f"config.{section} is a section; write --config.{section}.key=value, with a key of "
            f"{', '.join(known)}."
        )
    if key not in completed[section]:
        plugin = f" (name = {completed[section].name!r})" if section in NAMED else ""
        raise UserError(f"config.{section}{plugin} has no key {key!r}{resolve.nearest(key, known)}")


def _take_none(argv: list[str], completed: Any) -> tuple[list[str], list[str]]:
    """Carries out `--config.section.key=None`, which ml_collections cannot read, where None is the
    default: (the other words, the keys)."""
    rest, emptied = [], []
    for word in argv:
        match = OVERRIDE.match(word)
        section, _, key = match[1].partition(".") if match else ("", "", "")
        if match and match[2] == "None" and section in (*NAMED, *PLAIN) and key != "name":
            keyword = section_keywords(section, completed[section].get("name", ""))[key]
            if keyword.default is None:
                completed[section][key] = None
                emptied.append(match[1])
                continue
        rest.append(word)
    return rest, emptied


def _flag_sentence(completed: Any, problem: str) -> str:
    """What is wrong with a command line: the setting and what it must be, or what absl says."""
    match = BAD_VALUE.match(problem)
    section, _, key = match[1].partition(".") if match else ("", "", "")
    if match and section == "seed":
        wanted = int
    elif match and section in completed and key in completed[section] and key != "name":
        wanted = section_keywords(section, completed[section].get("name", ""))[key].type
    else:
        return f"Command line: {' '.join(problem.split())}"
    return f"config.{match[1]}={match[2]} must be {MEANING[wanted]} ({wanted.__name__})."
