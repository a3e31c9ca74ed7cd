"""One config: completed from signatures, overridden by the command line, or refused by key."""

import inspect
import json
import math
import textwrap

import ml_collections
import pytest
from absl import flags

from recipe_jax import checkpoint, config, resolve, writers
from recipe_jax.data import base as data_base
from recipe_jax.data import iris
from recipe_jax.models import mlp
from recipe_jax.objectives import classification
from recipe_jax.optim import adamw
from recipe_jax.recipe import budget
from recipe_jax.recipe.settings import Recipe
from recipe_jax.resolve import Count
from recipe_jax.search import coarse_to_fine
from recipe_jax.sweep.plan import Sweep
from recipe_jax.train.settings import Train
from recipe_jax.types import UserError

GIVEN = {
    "seed": 3,
    "data": {"name": "iris", "classes": ["setosa", "virginica"]},
    "model": {"name": "mlp", "width": 16, "dropout": 1},
    "optim": {"name": "adamw", "learning_rate": 0.01},
    "train": {"patience": 7},
    "search": {"space": [["optim.learning_rate", "log", 1e-4, 0.1]]},
}
PYTHON = """
from ml_collections import ConfigDict

def get_config(width="16"):
    config = ConfigDict({given})
    config.model.width = int(width)
    return config
"""


def foreign(spec, /, *, width: Count = 5, gain: float = 1.0, plain=2):
    """A plug-in outside the package; `plain` has no annotation."""


def demanding(spec, /, *, width: int):
    """A plug-in with a key that has no default."""


def unclear(spec, /, *, width: int | str = 5):
    """A plug-in whose keyword is none that a config can hold."""


def write(folder, text, name="given.py"):
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return str(path)


@pytest.fixture
def python(tmp_path):
    return write(tmp_path, PYTHON.format(given=GIVEN))


def define(own):
    flags.DEFINE_string("workdir", None, "", flag_values=own)
    flags.DEFINE_bool("overwrite", False, "", flag_values=own)


def parse(path, *words):
    return config.parse(["program", "--config", str(path), *words], define)


def refused(call):
    """The one sentence that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


def defaults(build):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


# --- Completing ------------------------------------------------------------------------------


def test_an_empty_config_has_every_keyword_of_every_signature_at_its_default():
    completed = config.as_dict(config.complete({}))
    assert completed.keys() == {"seed", *config.NAMED, *config.PLAIN} == set(config.SECTIONS)
    assert completed["seed"] == 0
    assert completed["model"] == {"name": "mlp", **defaults(mlp.build)}
    assert completed["objective"] == {"name": "classification", **defaults(classification.build)}
    assert completed["optim"] == {"name": "adamw", **defaults(adamw.build)}
    for section, settings in (("train", Train), ("sweep", Sweep)):
        assert completed[section] == settings()._asdict()
    # What a budget decides is left to it.
    left = dict.fromkeys(path.partition(".")[2] for path in budget.LADDERS)
    trials = {"trials": left.pop("trials")}
    assert completed["recipe"] == Recipe()._asdict() | left
    search = {"name": "coarse_to_fine", **defaults(coarse_to_fine.build)}
    assert completed["search"] == search | trials
    assert completed["checkpoint"] == checkpoint.Checkpoint()._asdict()
    config.check(completed)


def test_the_data_section_has_the_keys_of_the_reader_and_of_preparing():
    completed = config.as_dict(config.complete({"data": {"name": "iris"}}))
    expected = {"name": "iris", **defaults(iris.build), **defaults(data_base.prepare)}
    assert completed["data"] == expected


@pytest.mark.parametrize("section", [*config.NAMED])
def test_every_plugin_can_be_named_and_its_defaults_lie_in_their_ranges(section):
    for name in resolve.plugins(config.NAMED[section][0]):
        completed = config.complete({section: {"name": name}})
        assert completed[section].name == name
        config.check(config.as_dict(completed))


def test_what_the_file_gives_stands_and_completing_changes_nothing_twice(python):
    completed = parse(python).config
    assert completed["seed"] == 3 and completed["model"]["width"] == 16
    assert completed["data"]["classes"] == ("setosa", "virginica")
    assert completed["search"]["space"] == (("optim.learning_rate", "log", 1e-4, 0.1),)
    assert completed["model"]["dropout"] == 1.0 and type(completed["model"]["dropout"]) is float
    assert completed["train"]["patience"] == 7 and completed["train"]["evaluations"] is None
    assert config.as_dict(config.complete(completed)) == completed


def test_what_is_given_is_not_changed():
    given = {"model": {"name": "mlp", "width": 16}}
    config.complete(given, {"model.name": "linear"})
    assert given == {"model": {"name": "mlp", "width": 16}}


def test_a_plugin_outside_the_package(tmp_path):
    name = f"{__name__}:foreign"
    path = write(tmp_path, json.dumps({"model": {"name": name, "width": 9}}), "given.json")
    assert parse(path).config["model"] == {"name": name, "width": 9, "gain": 1.0, "plain": 2}
    changed = parse(path, "--config.model.gain=3", "--config.model.plain=4").config["model"]
    assert (changed["gain"], changed["plain"]) == (3.0, 4)
    wide = "--config.model.width=0"
    assert "model.width=0 is out of range" in refused(lambda: parse(path, wide))


# --- Files -----------------------------------------------------------------------------------


def test_python_json_and_yaml_say_the_same(tmp_path, python):
    as_json = write(tmp_path, json.dumps(GIVEN), "given.json")
    text = """
        seed: 3
        data: {name: iris, classes: [setosa, virginica]}
        model: {name: mlp, width: 16, dropout: 1}
        optim:
          name: adamw
          learning_rate: 1e-2
        train: {patience: 7}
        search: {space: [[optim.learning_rate, log, 1e-4, 0.1]]}
    """
    as_yaml = write(tmp_path, text, "given.yaml")
    assert parse(python).config == parse(as_json).config == parse(as_yaml).config


def test_a_variant_is_handed_to_get_config(python):
    assert parse(f"{python}:24").config["model"]["width"] == 24


def test_both_spellings_of_the_flag_anywhere(python):
    one = config.parse(["program", "--config", python, "--config.seed=4"], define)
    other = config.parse(["program", "--config.seed=4", f"--config={python}"], define)
    assert one.config == other.config and one.path == other.path == python


def test_a_plain_dict_and_a_config_without_variant_are_fine(tmp_path):
    path = write(tmp_path, "def get_config():\n    return {'seed': 5}\n")
    assert parse(path).config["seed"] == 5


def test_data_files_run_nothing(tmp_path):
    proof = tmp_path / "proof"
    text = f"seed: !!python/object/apply:os.mkdir ['{proof}']\n"
    assert "cannot be read" in refused(lambda: parse(write(tmp_path, text, "given.yaml")))
    assert not proof.exists()


def test_the_config_of_a_run_is_a_config(tmp_path, python):
    first = parse(python, "--config.seed=9", "--config.train.evaluations=4").config
    assert first["optim"]["clip_norm"] == math.inf and first["recipe"]["probe_epochs"] is None
    writers.write_json(tmp_path / "config.json", config.to_data(first))
    again = parse(tmp_path / "config.json")
    assert again.config == first and again.overrides == {}
    assert config.differences(config.to_data(first), config.to_data(again.config)) == []


# --- Overrides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, key, value",
    [
        (["--config.train.epochs=5"], "train.epochs", 5),
        (["--config.train.epochs", "5"], "train.epochs", 5),
        (["-config.train.epochs=5"], "train.epochs", 5),
        (["--config.train.epochs=4", "--config.train.epochs=5"], "train.epochs", 5),
        (["--config.seed=12"], "seed", 12),
        (["--config.optim.learning_rate=1"], "optim.learning_rate", 1.0),
        (["--config.optim.learning_rate=1e-5"], "optim.learning_rate", 1e-5),
        (["--config.optim.clip_norm=inf"], "optim.clip_norm", math.inf),
        (["--config.optim.clip_norm=2"], "optim.clip_norm", 2.0),
        (["--config.recipe.force"], "recipe.force", True),
        (["--config.recipe.force=true"], "recipe.force", True),
        (["--config.recipe.force=False"], "recipe.force", False),
        (["--noconfig.recipe.force"], "recipe.force", False),
        (["--config.train.evaluations=5"], "train.evaluations", 5),
        (["--config.train.patience=8"], "train.patience", 8),
        (["--config.train.patience=None"], "train.patience", None),
        (["--config.data.max_examples=100"], "data.max_examples", 100),
        (["--config.data.classes=('setosa',)"], "data.classes", ("setosa",)),
        (["--config.data.classes=setosa"], "data.classes", ("setosa",)),
        (["--config.data.classes=()"], "data.classes", ()),
        (["--config.data.classes=(0, 1)"], "data.classes", (0, 1)),
        (["--config.search.space=[['a','log',1,2]]"], "search.space", (("a", "log", 1, 2),)),
        (["--config.model.activation=tanh"], "model.activation", "tanh"),
    ],
)
def test_overrides_have_their_value_and_type_and_are_remembered(python, words, key, value):
    parsed = parse(python, *words)
    section, _, name = key.partition(".")
    found = parsed.config[section][name] if name else parsed.config[section]
    assert found == value and type(found) is type(value)
    assert parsed.overrides == {key: value}
    assert type(parsed.overrides[key]) is type(value)
    untouched = parse(python).config
    assert config.differences(untouched, parsed.config) in (
        [f"{key}: {(untouched[section][name] if name else untouched[section])!r} -> {value!r}"],
        [],
    )


def test_none_stands_beside_other_overrides(python):
    parsed = parse(python, "--config.train.patience=None", "--config.seed=4")
    assert parsed.overrides == {"train.patience": None, "seed": 4}
    assert parsed.config["train"]["patience"] is None and parsed.config["seed"] == 4


def test_the_other_flags_are_read(python):
    found = parse(python, "--workdir=here", "--overwrite").flags
    assert found.workdir == "here" and found.overwrite is True
    assert parse(python).flags.workdir is None and parse(python).flags.overwrite is False


def test_a_new_plugin_drops_the_files_keys_and_keeps_those_of_the_command_line(python):
    words = ("--config.model.name=cnn", "--config.model.dropout=0.5", "--config.model.dense=9")
    parsed = parse(python, *words)
    assert parsed.config["model"]["dropout"] == 0.5 and parsed.config["model"]["dense"] == 9
    assert "width" not in parsed.config["model"]
    assert parsed.overrides == {"model.name": "cnn", "model.dropout": 0.5, "model.dense": 9}
    assert parsed.config["optim"]["learning_rate"] == 0.01
    # The file's dropout of 1 was meant for the other plug-in.
    assert parse(python, words[0]).config["model"]["dropout"] == 0.0


def test_naming_the_plugin_of_the_file_drops_nothing(python):
    assert parse(python, "--config.model.name=mlp").config == parse(python).config


def test_settings_are_put_in_by_path_into_a_copy(python):
    before = parse(python).config
    changed = config.with_settings(before, {"optim.learning_rate": 0.5, "train.epochs": 2})
    assert config.differences(before, changed) == [
        "optim.learning_rate: 0.01 -> 0.5",
        "train.epochs: 40 -> 2",
    ]
    assert before["optim"]["learning_rate"] == 0.01
    assert "'optim.lr'" in refused(lambda: config.with_settings(before, {"optim.lr": 1.0}))
    assert "optim.learning_rate=-1.0" in refused(
        lambda: config.with_settings(before, {"optim.learning_rate": -1.0})
    )


def test_data_are_strict_json_and_infinity_comes_back():
    data = config.to_data({"a": {"b": math.inf, "c": (1, -math.inf)}, "d": None})
    assert data == {"a": {"b": "inf", "c": [1, "-inf"]}, "d": None}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


# --- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"optm": {}}, ["'optm'", "did you mean optim?"]),
        ({"zzz": {}}, ["'zzz'", "there are seed, data, model"]),
        ({7: {}}, ["no section 7"]),
        ({"optim": {"learning_rte": 1.0}}, ["config.optim", "did you mean learning_rate?"]),
        ({"model": {"lr": 1.0}}, ["config.model", "'lr'", "there are width, depth"]),
        ({"train": {3: 1}}, ["config.train", "no key 3"]),
        ({"model": {"name": "mpl"}}, ["'mpl' in models", "did you mean mlp?"]),
        ({"model": {"name": "base"}}, ["'base' in models"]),
        ({"model": {"name": "_gate"}}, ["'_gate' in models"]),
        ({"model": {"name": 5}}, ["config.model.name=5", "text"]),
        ({"model": {"name": "no_such_lab:build"}}, ["no_such_lab:build", "No module named"]),
        ({"model": {"name": "math:no_such"}}, ["math:no_such"]),
        ({"model": {"name": "math:pi"}}, ["math:pi is no function"]),
        ({"model": {"name": ":"}}, ["cannot import :"]),
        ({"model": {"name": f"{__name__}:demanding"}}, ["config.model.width has no default"]),
        ({"model": {"name": f"{__name__}:unclear"}}, ["unclear", "'width'", "annotated"]),
        ({"model": None}, ["config.model must be a section", "None"]),
        ({"train": 5}, ["config.train must be a section", "5"]),
        ({"train": {"epochs": "5"}}, ["config.train.epochs='5'", "str", "whole number (int)"]),
        ({"train": {"epochs": "true"}}, ["config.train.epochs='true'", "int"]),
        ({"train": {"epochs": 5.0}}, ["config.train.epochs=5.0", "float", "int"]),
        ({"train": {"epochs": True}}, ["config.train.epochs=True", "bool", "int"]),
        ({"train": {"epochs": None}}, ["config.train.epochs=None", "int"]),
        ({"train": {"epochs": 0}}, ["config.train.epochs=0", ">= 1"]),
        ({"train": {"patience": 0}}, ["config.train.patience=0", ">= 1"]),
        ({"train": {"patience": 1.5}}, ["config.train.patience=1.5", "int"]),
        ({"model": {"dropout": "0.5"}}, ["config.model.dropout='0.5'", "number (float)"]),
        ({"model": {"dropout": True}}, ["config.model.dropout=True", "float"]),
        ({"model": {"dropout": 1.5}}, ["config.model.dropout=1.5", "between 0 and 1"]),
        ({"model": {"dropout": math.nan}}, ["config.model.dropout=nan", "between 0 and 1"]),
        ({"model": {"activation": "rel"}}, ["config.model.activation", "did you mean relu?"]),
        ({"model": {"activation": 3}}, ["config.model.activation=3", "text (str)"]),
        ({"model": {"width": {"a": 1}}}, ["config.model.width={'a': 1}", "int"]),
        ({"optim": {"learning_rate": -1e-3}}, ["config.optim.learning_rate=-0.001", "> 0"]),
        ({"optim": {"learning_rate": 0.0}}, ["config.optim.learning_rate=0.0", "> 0"]),
        ({"optim": {"learning_rate": math.nan}}, ["config.optim.learning_rate=nan", "> 0"]),
        ({"optim": {"learning_rate": "nan"}}, ["config.optim.learning_rate=nan", "> 0"]),
        ({"optim": {"learning_rate": math.inf}}, ["learning_rate=inf", "finite"]),
        ({"optim": {"learning_rate": 1e39}}, ["learning_rate=1e+39", "finite"]),
        ({"optim": {"weight_decay": math.inf}}, ["config.optim.weight_decay=inf", "finite"]),
        ({"optim": {"clip_norm": 0}}, ["config.optim.clip_norm=0.0", "> 0"]),
        ({"data": {"fraction": 0.0}}, ["config.data.fraction=0.0", "0 (excluded) and 1"]),
        ({"data": {"classes": "setosa"}}, ["config.data.classes='setosa'", "tuple"]),
        ({"data": {"classes": [["a"]]}}, ["config.data.classes[0]=('a',)", "text (str)"]),
        ({"data": {"name": "images", "size": [8, 0]}}, ["config.data.size[1]=0", ">= 1"]),
        ({"model": {"name": "cnn", "channels": [8, "a"]}}, ["channels[1]='a'", "whole number"]),
        ({"model": {"name": "cnn", "channels": [8, None]}}, ["channels[1]=None", "whole number"]),
        ({"objective": {"class_weights": [math.nan]}}, ["objective.class_weights[0]", "NaN"]),
        ({"recipe": {"force": 1}}, ["config.recipe.force=1", "true or false (bool)"]),
        ({"seed": -1}, ["config.seed=-1", "between 0 and 4294967295"]),
        ({"seed": 2**32}, ["config.seed=4294967296", "4294967295"]),
        ({"seed": "1"}, ["config.seed='1'", "int"]),
        ({"seed": {"a": 1}}, ["config.seed={'a': 1}", "int"]),
    ],
)
def test_bad_values_are_refused_by_key(given, expected):
    sentence = refused(lambda: config.complete(given))
    for part in expected:
        assert part in sentence


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--config.optm.learning_rate=1"], "did you mean optim.learning_rate?"),
        (["--config.zzz.a=1"], "no config.zzz.a; there are seed, data"),
        (["--config.sed=1"], "did you mean seed?"),
        (["--config.seed.a=1"], "no config.seed.a"),
        (["--config.optim.learning_rte=1"], "did you mean learning_rate?"),
        (["--config.optim.learning_rate.x=1"], "has no key 'learning_rate.x'"),
        (["--config.search.space[0]=1"], "has no key 'space[0]'"),
        (["--config.optim=sgd"], "config.optim is a section"),
        (["--config.=1"], "no config."),
        (["--config.model.name=mpl"], "did you mean mlp?"),
        (
            ["--config.model.name=cnn", "--config.model.width=3"],
            "(name = 'cnn') has no key 'width'",
        ),
        (["--config.train.epochs=5.0"], "config.train.epochs=5.0 must be a whole number (int)"),
        (["--config.train.epochs=true"], "config.train.epochs=true must be a whole number (int)"),
        (["--config.train.epochs=True"], "config.train.epochs=True must be a whole number (int)"),
        (["--config.train.epochs="], "config.train.epochs= must be a whole number (int)"),
        (["--config.train.epochs=None"], "config.train.epochs=None must be a whole number (int)"),
        (["--config.train.patience=2.5"], "config.train.patience=2.5 must be a whole number (int)"),
        (["--config.train.patience=0"], "config.train.patience=0 is out of range"),
        (["--config.train.epochs"], "Missing value for flag --config.train.epochs"),
        (["--config.seed=x"], "config.seed=x must be a whole number (int)"),
        (["--config.model.dropout=True"], "config.model.dropout=True must be a number (float)"),
        (["--config.model.dropout=nan"], "config.model.dropout=nan is out of range"),
        (["--config.optim.learning_rate=-1"], "learning_rate=-1.0 is out of range"),
        (["--config.optim.learning_rate=inf"], "learning_rate=inf is out of range"),
        (["--config.optim.learning_rate=1e400"], "learning_rate=inf is out of range"),
        (["--config.optim.learning_rate=1/3"], "learning_rate=1/3 must be a number (float)"),
        (["--config.data.classes=(1.5,)"], "config.data.classes[0]=1.5 is of type float"),
        (["--config.recipe.force=maybe"], "config.recipe.force=maybe must be true or false (bool)"),
        (["--config.model.activation=rel"], "did you mean relu?"),
        (["stray"], "'stray' stands alone"),
        (["--config.recipe.force", "false"], "'false' stands alone"),
        (["--workdr=x"], "'workdr'. Did you mean: workdir ?"),
        (["--overwrite=3"], "--overwrite=3"),
        (["--flagfile=/nowhere"], "there is no flag --flagfile"),
        (["--undefok=x", "--x=3"], "there is no flag --undefok"),
        (["--config=other.py"], "(2 are given)"),
    ],
)
def test_bad_command_lines_are_refused(python, words, expected):
    with pytest.raises(UserError) as caught:
        parse(python, *words)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [[], ["--config"], ["--config="], ["--config.seed=3"]])
def test_a_config_must_be_named(words):
    assert "--config configs/digits.py" in refused(
        lambda: config.parse(["program", *words], define)
    )


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("a.py", "x = 1\ndef get_config(:\n", "a.py, line 2: "),
        ("a.py", "def get_config():\n\treturn 1\n        return 2\n", "a.py, line 3: "),
        ("a.py", "import no_such_lab\n", "No module named 'no_such_lab'"),
        ("a.py", "raise SystemExit(0)\n", "SystemExit"),
        ("a.py", "x = 1\n", "has no function get_config()"),
        ("a.py", "get_config = 3\n", "get_config() raised TypeError"),
        ("a.py", "def get_config():\n    raise ValueError('first\\nsecond')\n", "first second"),
        ("a.py", "def get_config():\n    return None\n", "holds a NoneType, not a config"),
        ("a.py", "def get_config():\n    return [1]\n", "holds a list, not a config"),
        ("a.json", '{"seed": 1,}', "a.json cannot be read"),
        ("a.json", "", "a.json cannot be read"),
        ("a.json", "[1, 2]", "holds a list, not a config"),
        ("a.json", "[" * 100_000, "a.json cannot be read"),
        ("a.yaml", "seed: [1", "a.yaml cannot be read"),
        ("a.yaml", "- 1\n- 2\n", "holds a list, not a config"),
        ("a.yaml", "null: 1\n", "the key None is no name of a setting"),
        ("a.yaml", "model: {7: 1}\n", "the key 7 is no name of a setting"),
        ("a.yaml", "", "holds a NoneType, not a config"),
        ("a.toml", "seed = 1", "a config is a .py, .json or .yaml file"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert expected in refused(lambda: parse(tmp_path / name))


def test_a_required_placeholder_left_empty_is_named(tmp_path):
    text = """
        from ml_collections import ConfigDict, config_dict

        def get_config():
            return ConfigDict({"model": {"width": config_dict.required_placeholder(int)}})
    """
    assert "width" in refused(lambda: parse(write(tmp_path, text)))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    for name in ("a.py", "a.json", "a.yaml"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00seed: 1")
        assert name in refused(lambda path=tmp_path / name: parse(path))


def test_a_missing_file_is_named_with_the_nearest(tmp_path, python):
    sentence = refused(lambda: parse(tmp_path / "givn.py"))
    assert "givn.py" in sentence and f"did you mean {python}?" in sentence
    assert "nowhere" in refused(lambda: parse(tmp_path / "nowhere" / "given.py"))
    assert "no config file" in refused(lambda: parse(tmp_path))


def test_variants_are_of_python_files_that_take_them(tmp_path, python):
    assert "get_config('wide') raised ValueError" in refused(lambda: parse(f"{python}:wide"))
    plain = write(tmp_path, "def get_config():\n    return {}\n", "plain.py")
    assert "get_config('wide') raised TypeError" in refused(lambda: parse(f"{plain}:wide"))
    data = write(tmp_path, "{}", "given.json")
    assert "only a .py file has variants" in refused(lambda: parse(f"{data}:wide"))


def test_loading_a_config_twice_gives_independent_dicts(python):
    first = parse(python).config
    first["model"]["width"] = 99
    assert parse(python).config["model"]["width"] == 16
    assert isinstance(config.complete({}), ml_collections.ConfigDict)
