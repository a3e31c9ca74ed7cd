"""What a run leaves behind: the same predictions without the package, or one clear sentence."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from recipe_jax import assembly, keys
from recipe_jax import config as configs
from recipe_jax.app import drive, export, predict
from recipe_jax.data import base as data_base
from recipe_jax.data import table
from recipe_jax.types import Blend, Result, Trial, UserError

MEMBERS = 3
MODEL = {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.5}


def mixed_csv(folder: pathlib.Path, target="class") -> pathlib.Path:
    """A table with numbers, text, and cells that are missing."""
    draw = np.random.default_rng(0)
    lines = [f"age,city,income,{target}"]
    for i in range(90):
        age = "" if i % 13 == 5 else f"{draw.uniform(18, 80):.1f}"
        city = ("Graz", "Linz", "", "Wien, Mitte")[i % 4]
        last = f"{draw.normal() * 7 + 100:.3f}" if target == "price" else ("no", "yes", "?!")[i % 3]
        lines.append(f'{age},"{city}",{draw.normal():.3f},{last}')
    path = folder / "mixed.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def make(config, task):
    """Members with made-up weights: initial ones, shaken so that no two predict alike."""
    static, numbers = assembly.split(config)
    built = assembly.make_build(static, task.spec, 1)(numbers)
    members = []
    for seed in range(MEMBERS):
        weights = jax.jit(built.model.init)(keys.lane_key(0, seed))
        weights = jax.tree.map(lambda leaf, seed=seed: leaf + 0.1 * (seed + 1), weights)
        members.append(
            Result(
                trial=Trial(settings={"model.dropout": 0.25}, seed=seed),
                steps=np.arange(2),
                history={},
                losses=np.zeros(1),
                grad_norms=np.zeros(1),
                best_score=0.5,
                best_step=1,
                status="done",
                first_bad_step=None,
                num_params=1,
                weights=weights,
                rounds=(1, 1),
            )
        )
    return built, members


def saved(folder: pathlib.Path, **sections):
    """(workdir, task, what the model must say of encoded inputs)."""
    config = configs.as_dict(
        configs.complete({"model": MODEL, "train": {"batch_size": 8}, **sections})
    )
    task = drive.load_task(config)
    built, members = make(config, task)
    export.save_model(folder / "model", task, config, Blend(members))

    def truth(inputs):
        outputs = [
            built.model.apply(*m.weights, jnp.asarray(inputs), key=jax.random.key(9), train=False)[
                0
            ]
            for m in members
        ]
        return np.mean([np.asarray(built.objective.predict(each)) for each in outputs], axis=0)

    return folder, task, truth


@pytest.fixture(scope="module")
def tabular(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    data = {"name": "table", "path": str(mixed_csv(folder)), "target": "class"}
    return saved(folder, data=data)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    data = {"name": "digits", "max_examples": 60}
    return saved(tmp_path_factory.mktemp("images"), data=data)


@pytest.fixture(scope="module")
def small_pictures(tmp_path_factory):
    """Of a model that sees a quarter of the pixels."""
    train = {"batch_size": 8, "resolution": 0.5}
    data = {"name": "digits", "max_examples": 60}
    return saved(tmp_path_factory.mktemp("small"), data=data, train=train)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("flowers"), data={"name": "iris"})


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prices")
    data = {"name": "table", "path": str(mixed_csv(folder, "price")), "target": "price"}
    return saved(folder, data=data, objective={"name": "regression"})


def rows_of(path: pathlib.Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def copied(workdir, folder) -> pathlib.Path:
    shutil.copytree(workdir / "model", folder / "copy" / "model")
    return folder / "copy"


# --- The program -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tabular", "pictures", "small_pictures", "flowers", "prices"])
def test_the_program_says_what_the_models_say(kind, request):
    workdir, task, truth = request.getfixturevalue(kind)
    described, encoder, program = export.load_model(workdir / "model")
    inputs = task.validation.inputs
    found = np.asarray(program(inputs))
    np.testing.assert_allclose(found, truth(inputs), rtol=2e-5, atol=1e-6)
    if task.spec.kind == "classification":
        np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert described["class_names"] == list(task.class_names)
    assert described["target_names"] == list(task.target_names)
    again = task.encoder.decode(inputs)
    np.testing.assert_allclose(encoder.encode(again), inputs, atol=1e-5)


def test_its_batch_size_is_free(tabular):
    workdir, task, truth = tabular
    program = export.load_model(workdir / "model")[2]
    inputs = task.train.inputs
    for count in (1, 2, 7, len(inputs)):
        np.testing.assert_allclose(
            np.asarray(program(inputs[:count])), truth(inputs[:count]), rtol=2e-5, atol=1e-6
        )


def test_the_mean_is_of_probabilities_and_not_of_the_first_member(tabular):
    _, task, truth = tabular
    built, members = make(configs.as_dict(configs.complete({"model": MODEL})), task)
    one = built.model.apply(
        *members[0].weights, jnp.asarray(task.validation.inputs), key=jax.random.key(0), train=False
    )[0]
    assert np.abs(np.asarray(jax.nn.softmax(one)) - truth(task.validation.inputs)).max() > 1e-3


def test_weights_and_program_need_neither_the_package_nor_pickle(flowers, tmp_path):
    workdir, task, truth = flowers
    inputs = task.validation.inputs[:5]
    np.save(tmp_path / "inputs.npy", inputs)
    script = (
        "import sys, numpy as np, jax.export\n"
        "with np.load(sys.argv[1] + '/weights.npz', allow_pickle=False) as weights:\n"
        "    shapes = sorted(weights[name].shape for name in weights.files)\n"
        "program = open(sys.argv[1] + '/model.jaxexport', 'rb').read()\n"
        "program = jax.export.deserialize(bytearray(program))\n"
        "np.save('found.npy', np.asarray(program.call(np.load('inputs.npy'))))\n"
        "assert not any(name.startswith('recipe_jax') for name in sys.modules)\n"
        "print(shapes)\n"
    )
    command = [sys.executable, "-c", script, str(workdir / "model")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Kernel and bias of 4 -> 8 and of 8 -> 3, one a member.
    assert done.stdout.strip() == str([(3, 3), (3, 4, 8), (3, 8), (3, 8, 3)])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), truth(inputs), rtol=2e-5, atol=1e-6)


def test_members_of_several_settings_predict_with_their_shares(tmp_path):
    """Two widths, a linear model and a rate that is off in one: weighed, at a temperature."""
    config = configs.as_dict(
        configs.complete({"model": MODEL, "data": {"name": "iris"}, "train": {"batch_size": 8}})
    )
    task = drive.load_task(config)
    settings = [
        {"model.dropout": 0.0, "optim.learning_rate": 1e-2},
        {"model.width": 5, "optim.learning_rate": 1e-2},
        {"model.dropout": 0.3, "optim.learning_rate": 1e-2},
        {"model.name": "linear", "optim.learning_rate": 1e-2},
    ]
    shares, temperature = (0.4, 0.3, 0.2, 0.1), 0.7
    members, parts = [], []
    inputs = jnp.asarray(task.validation.inputs)
    for place, each in enumerate(settings):
        own = configs.with_settings(config, each)
        built, (made, *_) = make(own, task)
        weights = jax.tree.map(lambda leaf, place=place: leaf * (1 + place), made.weights)
        members.append(made._replace(trial=Trial(settings=each, seed=place), weights=weights))
        outputs = built.model.apply(*weights, inputs, key=jax.random.key(1), train=False)[0]
        parts.append(shares[place] * np.asarray(jax.nn.softmax(outputs)))
    expected = np.sum(parts, axis=0) ** (1 / temperature)
    expected /= expected.sum(-1, keepdims=True)
    blend = Blend(members, shares, temperature)
    export.save_model(tmp_path / "model", task, config, blend)
    described, _, program = export.load_model(tmp_path / "model")
    np.testing.assert_allclose(np.asarray(program(inputs)), expected, rtol=2e-5, atol=1e-6)
    assert described["settings"] == {"optim.learning_rate": 1e-2}
    assert described["temperature"] == temperature
    told = described["members"]
    assert [each["share"] for each in told] == list(shares)
    assert [each["weights"] for each in told] == [[0, 0], [1, 0], [0, 1], [2, 0]]
    assert told[3]["settings"] == {"model.name": "linear"}
    with np.load(tmp_path / "model" / export.WEIGHTS) as weights:
        kernels = {k: v.shape for k, v in weights.items() if k.endswith("output.kernel")}
        assert kernels["part0.0.output.kernel"] == (2, 8, 3)
        assert kernels["part1.0.output.kernel"] == (1, 5, 3)


# --- Damage ----------------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no trained model"):
        export.load_model(tmp_path / "model")


@pytest.mark.parametrize("name", export.FILES)
@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "flipped", "replaced"])
def test_a_damaged_model_is_told(flowers, tmp_path, name, harm):
    folder = copied(flowers[0], tmp_path) / "model"
    content = bytearray((folder / name).read_bytes())
    if harm == "gone":
        (folder / name).unlink()
    elif harm == "empty":
        (folder / name).write_bytes(b"")
    elif harm == "cut":
        (folder / name).write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        place = content.index(b"encoder") if name == export.DESCRIPTION else len(content) // 2
        content[place] ^= 0x10
        (folder / name).write_bytes(content)
    else:
        (folder / name).write_bytes(b"{}")
    with pytest.raises(UserError) as error:
        export.load_model(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


# --- Predictions as a file -------------------------------------------------------------------


def test_predictions_of_a_table_with_text_and_missing_cells(tabular, tmp_path):
    workdir, _, truth = tabular
    source = workdir / "mixed.csv"
    out = tmp_path / "p.csv"
    assert predict.predict(workdir, source, out) == 90
    header, *rows = rows_of(out)
    names = ["?!", "no", "yes"]
    assert header == ["prediction", *(f"probability of {name}" for name in names)]
    encoder = export.load_model(workdir / "model")[1]
    expected = truth(encoder.encode(table.read(str(source))))
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert [row[0] for row in rows] == [names[i] for i in expected.argmax(-1)]


def test_columns_are_found_by_name_and_unknown_text_is_no_error(tabular, tmp_path):
    workdir = tabular[0]
    (tmp_path / "a.csv").write_text("age,city,income\n40,Graz,1.5\n,Paris,0\n")
    (tmp_path / "b.csv").write_text("note,income,city,age\nx,1.5,Graz,40\ny,0,Rome,\n")
    for name in "ab":
        assert predict.predict(workdir, tmp_path / f"{name}.csv", tmp_path / f"{name}.out") == 2
    assert (tmp_path / "a.out").read_text() == (tmp_path / "b.out").read_text()


def test_values_are_in_the_targets_own_unit(prices, tmp_path):
    workdir, task, _ = prices
    assert predict.predict(workdir, workdir / "mixed.csv", tmp_path / "p.csv") == 90
    header, *rows = rows_of(tmp_path / "p.csv")
    assert header == ["price"]
    assert abs(np.mean([float(row[0]) for row in rows]) - task.spec.target_mean[0]) < 50


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_predictions_of_images(pictures, tmp_path, count, suffix):
    workdir, task, truth = pictures
    raw = task.encoder.decode(task.train.inputs)[: count % len(task.train.inputs) or None]
    path = tmp_path / f"new{suffix}"
    if suffix == ".npy":
        np.save(path, raw[..., 0])  # the channel may be left out
    else:
        np.savez(path, inputs=raw)
    assert predict.predict(workdir, path, tmp_path / "p.csv") == len(raw)
    _, *rows = rows_of(tmp_path / "p.csv")
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    expected = truth(task.train.inputs[: len(raw)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert {row[0] for row in rows} <= {str(i) for i in range(10)}


def test_image_files_get_the_predictions_of_their_pixels_and_are_named(pictures, tmp_path):
    workdir, task, _ = pictures
    raw = task.encoder.decode(task.train.inputs).round().astype(np.uint8)[:3]
    np.save(tmp_path / "new.npy", raw)
    copy, folder = copied(workdir, tmp_path), tmp_path / "new"
    folder.mkdir()
    for i, image in enumerate(raw):
        Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
    predict.predict(copy, tmp_path / "new.npy", tmp_path / "arrays.csv")
    with pytest.raises(UserError, match="is not there"):  # not trained on images in files
        predict.predict(copy, folder, tmp_path / "files.csv")

    trained_on = {"data": {"name": "images", "size": [8, 8]}}
    (copy / "config.json").write_text(json.dumps(trained_on))
    assert predict.predict(copy, folder, tmp_path / "files.csv") == 3
    header, *rows = rows_of(tmp_path / "files.csv")
    assert header[0] == "file" and [row[0] for row in rows] == ["0.png", "1.png", "2.png"]
    assert [row[1:] for row in rows] == rows_of(tmp_path / "arrays.csv")[1:]
    assert predict.predict(copy, folder / "1.png", tmp_path / "one.csv") == 1


def test_many_rows_are_predicted_as_few_are(flowers, tmp_path):
    workdir, task, truth = flowers
    raw = np.resize(task.encoder.decode(task.train.inputs), (2 * predict.BATCH + 3, 4))
    np.save(tmp_path / "many.npy", raw)
    assert predict.predict(workdir, tmp_path / "many.npy", tmp_path / "p.csv") == len(raw)
    _, *rows = rows_of(tmp_path / "p.csv")
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    expected = truth(task.encoder.encode(raw))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


def test_a_table_of_numbers_is_read_by_name(flowers, tmp_path):
    workdir, task, truth = flowers
    raw = task.encoder.decode(task.validation.inputs)
    order = [2, 0, 3, 1]
    lines = [",".join(["id", *(NAMES[i] for i in order)])]
    lines += [
        ",".join([f"row {n}", *(repr(float(row[i])) for i in order)]) for n, row in enumerate(raw)
    ]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    assert predict.predict(workdir, tmp_path / "new.csv", tmp_path / "p.csv") == len(raw)
    _, *rows = rows_of(tmp_path / "p.csv")
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_allclose(found, truth(task.validation.inputs), rtol=1e-4, atol=1e-5)
    assert {row[0] for row in rows} <= set(task.class_names)


HEADER = ",".join(NAMES)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"{HEADER}\n1,2,3,x\n", "'x'"),
        (f"{HEADER}\n1,2,,4\n", "NaN"),
        (f"{HEADER}\n1,2,inf,4\n", "infinite"),
        (f"{HEADER}\n", "no rows"),
        (",".join(NAMES[:3]) + "\n1,2,3\n", "petal width"),
        (f"{HEADER}\n1,2,3\n", "3 cells"),
    ],
)
def test_a_bad_table_is_told_with_its_file(flowers, tmp_path, content, told):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(UserError, match=told) as error:
        predict.predict(flowers[0], tmp_path / "bad.csv", tmp_path / "p.csv")
    assert "bad.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "p.csv").exists()


def test_files_of_the_wrong_kind_are_told(flowers, pictures, tabular, tmp_path):
    out = tmp_path / "p.csv"
    np.save(tmp_path / "wide.npy", np.zeros((3, 5)))
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    np.save(tmp_path / "nan.npy", np.full((3, 4), np.nan))
    np.save(tmp_path / "text.npy", np.array([["a"] * 4] * 3))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    for workdir, name, told in (
        (flowers[0], "wide.npy", "shape"),
        (flowers[0], "none.npy", "no examples"),
        (flowers[0], "nan.npy", "NaN"),
        (flowers[0], "text.npy", "text.npy"),
        (flowers[0], "there.npy", "not there"),
        (pictures[0], "t.csv", "images"),
        (pictures[0], "wide.npy", "shape"),
        (tabular[0], "wide.npy", "columns by name"),
    ):
        with pytest.raises(UserError, match=told):
            predict.predict(workdir, tmp_path / name, out)
    assert not out.exists()


def test_a_description_says_what_is_needed_to_use_the_model(tabular):
    described = json.loads((tabular[0] / "model" / export.DESCRIPTION).read_text())
    assert described["kind"] == "classification" and described["modality"] == "table"
    assert described["feature_names"][0] == "age"
    assert [member["seed"] for member in described["members"]] == [0, 1, 2]
    assert described["settings"] == {"model.dropout": 0.25}
    encoder = data_base.encoder_from_json(described["encoder"])
    assert encoder.feature_names == tuple(described["feature_names"])
