"""A start from weights trained elsewhere: which are taken, which stay, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_stages import context_of, driven, healthy

from recipe_jax import assembly, keys
from recipe_jax.app import commands, export
from recipe_jax.recipe import regularise, training
from recipe_jax.train import starting, step
from recipe_jax.train.starting import Start
from recipe_jax.types import Arrays, Status, UserError

LIKE = (
    {"layers": {"1": {"kernel": jnp.zeros((4, 3))}, "10": {"kernel": jnp.zeros((3, 3))}}},
    {"norm": {"mean": jnp.zeros(3)}},
)
NAME = "layers.0.dense.kernel"
THEIRS = {
    "body.1.kernel": np.ones((4, 3)),
    "body.10.kernel": 2 * np.ones((3, 3)),
    "head.kernel": np.ones((3, 9)),
}


def taken(names=(), frozen=(), theirs=THEIRS):
    return starting.matched(theirs, LIKE, Start("w.npz", names, frozen))


def test_names_are_matched_by_their_parts():
    found = taken(("body=layers",), ("layers.1",))
    assert sorted(found) == ["layers.1.kernel", "layers.10.kernel"]
    params, state = (starting.put_in(each, found) for each in LIKE)
    np.testing.assert_array_equal(params["layers"]["10"]["kernel"], 2.0)
    assert params["layers"]["1"]["kernel"].dtype == jnp.float32 and not state["norm"]["mean"].any()
    stays = starting.held(params, ("layers.1",))
    assert stays == {"layers": {"1": {"kernel": True}, "10": {"kernel": False}}}


def test_what_does_not_fit_a_trial_of_another_width_is_drawn():
    found = taken(("body=layers",))
    wider = {"layers": {"1": {"kernel": jnp.zeros((4, 5))}, "10": {"kernel": jnp.zeros((3, 3))}}}
    params = starting.put_in(wider, found)
    assert params["layers"]["1"]["kernel"].shape == (4, 5)
    assert not params["layers"]["1"]["kernel"].any()
    np.testing.assert_array_equal(params["layers"]["10"]["kernel"], 2.0)


def test_a_rule_may_leave_out_and_the_first_that_fits_counts():
    found = taken(("body.1=", "body=layers"))
    assert sorted(found) == ["layers.10.kernel"]
    assert sorted(taken((), theirs={"norm.mean": np.ones(3)})) == ["norm.mean"]


@pytest.mark.parametrize(
    "names, frozen, said",
    [
        ((), (), "Nothing in w.npz has the name of a weight of this model"),
        (("bodi=layers",), (), "begins with 'bodi'; did you mean body"),
        (("body=layer",), (), "no weight of this model begins with 'layer'; did you mean layers"),
        (("body",), (), "'body' must be 'theirs=ours'"),
        (("body=layers",), ("layers.2",), "no weight begins with 'layers.2'; did you mean layers"),
        (("body.10=layers.1",), (), r"shape \(3, 3\) in w.npz and \(4, 3\) in this model"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(names, frozen, said):
    with pytest.raises(UserError, match=said):
        taken(names, frozen)


def test_frozen_weights_do_not_move_and_the_others_are_clipped_without_them():
    sections = {"optim": {"name": "sgd", "weight_decay": 0.1, "clip_norm": 0.05}}
    sections["objective"] = {"name": "classification", "l2": 0.1}
    context = context_of("classification", None, **sections)
    built = assembly.of_config(context.config, context.task.spec)
    params, state = built.model.init(jax.random.key(0))
    batch = Arrays(*(jnp.asarray(each[:10]) for each in context.task.train.arrays))
    begin = step.Moving(jnp.int32(0), params, state, built.optimizer.init(params))
    drawn = step.StepKeys(*(keys.derive(jax.random.key(1), name) for name in ("a", "b")))

    def moved(frozen):
        after, _ = step.make_train_step(built, frozen)(begin, batch, jnp.float32(1.0), drawn)
        return jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.params, params)

    free, held = moved(()), moved(("layers",))
    assert all(value > 0 for value in jax.tree.leaves(free["layers"]))
    assert not any(jax.tree.leaves(held["layers"]))
    # The gradient of what is frozen takes no part in the norm.
    assert held["output"]["bias"] > free["output"]["bias"] > 0
    assert not any(jax.tree.leaves(moved(("",))))


def test_nothing_is_loaded_and_nothing_frozen_unless_it_is_said():
    context = context_of()
    assert context.config["start"] == {"path": "", "names": (), "frozen": ()}
    assert "start.path" not in context.quiet
    fake, _ = driven(regularise)
    assert fake.of("pretrained").status == Status.SKIP and "start.path" in fake.findings[2].summary
    started = context_of(start={"path": "w"})
    assert started.quiet["start.path"] == ""


@pytest.mark.parametrize("helps", [True, False])
def test_a_pretrained_start_is_kept_where_it_helps(helps):
    def world(trial, request):
        better = bool(trial.settings.get("start.path", "w"))
        noise = 1e-3 * np.random.default_rng(trial.seed).normal()
        return healthy(trial, request) | {"score": 0.8 + 0.1 * better * helps + noise}

    context = context_of(carried={"model.width": 8}, start={"path": "w"})
    fake, decision = driven(regularise, context, world)
    assert fake.of("pretrained").row == "REG3 ENV5"
    (asked,) = [each for each in fake.requests if each.label == "pretrained start"][:1]
    both = {(t.settings["start.path"], t.settings["model.width"]) for t in asked.trials}
    assert both == {("", 8), ("w", 16)}
    assert decision.settings["start.path"] == ("w" if helps else "")
    assert decision.settings.get("model.width") == (16 if helps else None)
    planned = sum(each.lanes for each in regularise.planned(context))
    trained = [each.trials for each in fake.requests if getattr(each, "epochs", 0)]
    assert sum(map(len, trained)) == planned


# --- Whole runs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on little, and how to start another from it."""
    folder = tmp_path_factory.mktemp("starting")
    given = {
        "data": {"name": "iris"},
        "model": {"name": "mlp", "width": 8, "depth": 1, "normalization": "batch"},
        "train": {"batch_size": 16, "epochs": 3},
    }
    (folder / "config.json").write_text(json.dumps(given))

    def run(name, *words):
        argv = ["train", f"--config={folder}/config.json", f"--workdir={folder / name}"]
        argv += [f"--config.{word}" for word in (*words, "recipe.force")]
        return commands._trained(commands.train, (training,), argv)

    assert run("first") == 0
    return folder, run


def told(folder, split):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [each["loss"] for each in lines if each["split"] == split]


def test_a_run_that_freezes_all_it_loads_leaves_the_model_that_it_loaded(trained):
    folder, run = trained
    frozen = """start.frozen=("layers","output")"""
    assert run("again", f"start.path={folder / 'first'}", frozen) == 0
    first, again = (export.load_weights(folder / name / "model")[1] for name in ("first", "again"))
    for name, array in first.items():
        if name.startswith("0."):
            np.testing.assert_array_equal(array, again[name])
    # The look before the first step is at the model that was saved; the two runs are programs of
    # their own, which may round differently.
    best = min(told(folder / "first", "validation"))
    assert told(folder / "again", "validation")[0] == pytest.approx(best, rel=1e-5)
    record = json.loads((folder / "again" / "run.json").read_text())
    assert "layers.0.norm.mean" in record["start"]["loaded"]


def test_other_weights_are_refused_on_resuming(trained):
    folder, run = trained
    kernel = np.zeros((4, 8), np.float32)
    np.savez(folder / "w.npz", **{NAME: kernel})  # pyright: ignore[reportArgumentType]
    assert run("npz", f"start.path={folder / 'w.npz'}") == 0
    np.savez(folder / "w.npz", **{NAME: kernel + 1})  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="starts from have changed"):
        run("npz", f"start.path={folder / 'w.npz'}")


def test_what_cannot_be_loaded_is_refused_before_a_file_is_written(trained):
    folder, run = trained
    (folder / "broken.npz").write_bytes(b"PK no")
    for words, said in (
        ([f"start.path={folder / 'none.npz'}"], "cannot be read"),
        ([f"start.path={folder / 'broken.npz'}"], "cannot be read"),
        ([f"start.path={folder / 'first'}", "model.width=9"], "bring the model to that shape"),
        (["start.frozen=('layers',)"], "say whose"),
    ):
        with pytest.raises(UserError, match=said):
            run("refused", *words)
    assert not (folder / "refused").exists()
