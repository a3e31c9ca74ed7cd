"""Config files: Python that runs, JSON and YAML that are data."""

import importlib.util
import json
import pathlib
import re
from typing import Any

import yaml
from ml_collections import config_dict

from recipe_jax import resolve
from recipe_jax.config import plain
from recipe_jax.types import UserError


class _Yaml(yaml.SafeLoader):
    """Data only, and 1e-3 is a number in it, as in YAML 1.2."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)


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
            loaded = plain.as_dict(loaded)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {_one_line(error)}.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file} holds a {type(loaded).__name__}, not a config.")
    # Keys of YAML may be anything.
    for section in (loaded, *(each for each in loaded.values() if isinstance(each, dict))):
        for key in section:
            if not isinstance(key, str):
                raise UserError(f"{file}: the key {key!r} is no name of a setting; write a word.")
    return loaded


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
        config = module.get_config(variant) if variant else module.get_config()
        if callable(getattr(module, "sweep", None)):
            config = _listed(config, module.sweep())
        return config
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        call = f"get_config({variant!r})" if variant else "get_config()"
        raise UserError(f"{source}: {call} raised {_one_line(error)}.") from error


def _listed(config: Any, settings: Any) -> Any:
    """The config with the settings that its file's sweep() lists as its search."""
    listed = []
    for each in settings:
        if not isinstance(each, dict):
            raise UserError(
                f"sweep() gives {each!r}; every setting is a dict, such as "
                "{'optim.learning_rate': 1e-3}."
            )
        listed.append(tuple(each.items()))
    if not listed:
        raise UserError("sweep() gives no settings.")
    given = plain.as_dict(config) if isinstance(config, config_dict.ConfigDict) else dict(config)
    return {**given, "search": {"name": "listed", "settings": tuple(listed)}}


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
