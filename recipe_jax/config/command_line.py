"""A command line understood: `--config`, its overrides and the other flags."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from recipe_jax import resolve
from recipe_jax.config import plain, values
from recipe_jax.config.completion import check, complete
from recipe_jax.config.files import load
from recipe_jax.config.sections import NAMED, PLAIN, SECTIONS, section_keywords
from recipe_jax.types import UserError

OVERRIDE = re.compile(r"^--?(?:no)?config\.([^=]*)(?:=(.*))?$", re.DOTALL)
BAD_VALUE = re.compile(r"^flag --config\.(\S+?)=(.*?): ", re.DOTALL)


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
    config = plain.as_dict(proxy.value)
    check(config)
    overrides = dict.fromkeys(emptied) | config_flags.get_override_values(own["config"])
    return Parsed(config, {k: plain.frozen(v) for k, v in overrides.items()}, own, path)


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
    return f"config.{match[1]}={match[2]} must be {values.MEANING[wanted]} ({wanted.__name__})."
