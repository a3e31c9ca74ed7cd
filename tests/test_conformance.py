"""Every plug-in that makes up the step, a forker's too, keeps the rules of its family."""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequence_specs import TEXT
from test_every_model import SMALL

from recipe_jax import resolve, types
from recipe_jax.sweep.population import CPU_OPTIONS

KEY = jax.random.key(0)
COUNT = 6
IMAGES = types.Spec(
    kind="classification", input_shape=(8, 8, 1), num_outputs=3, prior=(0.5, 0.25, 0.25)
)
TABLE = types.Spec(
    kind="regression",
    input_shape=(8,),
    num_outputs=2,
    prior=(0.0, 0.0),
    target_scale=(2.0, 0.5),
    target_mean=(1.0, 0.0),
)
SEQUENCES = types.Spec(
    kind="classification", input_shape=(7, 2), num_outputs=3, prior=(0.5, 0.25, 0.25)
)
FAMILIES = ("models", "objectives", "optim", "schedules", "augment")
PLUGINS = [(family, name) for family in FAMILIES for name in resolve.plugins(family)]
# An objective has its own kind of task; a model is built for every kind, or refuses it.
SPECS = {("objectives", "regression"): TABLE, ("objectives", "next_token"): TEXT}
KINDS = (IMAGES, TEXT, SEQUENCES, TABLE)


def outputs_shape(spec):
    window = spec.input_shape if spec.kind == "next_token" else ()
    return (COUNT, *window, spec.num_outputs)


def example(spec):
    if spec.kind == "next_token":
        inputs = jax.random.randint(KEY, (COUNT, *spec.input_shape), 0, spec.num_outputs)
        return inputs, jnp.roll(inputs, -1, axis=1).at[:, -1].set(-1).at[-1].set(-1)
    inputs = jax.random.normal(KEY, (COUNT, *spec.input_shape))
    if spec.kind == "regression":
        return inputs, jax.random.normal(jax.random.key(1), (COUNT, spec.num_outputs))
    return inputs, jnp.arange(COUNT, dtype=jnp.int32) % spec.num_outputs


def use_model(build, spec, numbers, key):
    """Weights, and outputs in training and evaluation, of a model that has seen one batch."""
    model, (inputs, _) = build(spec, **numbers), example(spec)
    params, state = model.init(key)
    trained, state = model.apply(params, state, inputs, key=key, train=True)
    outputs, after = model.apply(params, state, inputs, key=key, train=False)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert trained.shape == outputs.shape == outputs_shape(spec)
    slope = jax.grad(
        lambda p: model.apply(p, state, inputs, key=key, train=True)[0].sum(), allow_int=False
    )(params)
    return params, state, trained, outputs, slope


def use_objective(build, spec, numbers, key):
    objective, (_, targets) = build(spec, **numbers), example(spec)
    outputs = jax.random.normal(key, outputs_shape(spec))
    losses, slope = (
        objective.loss(outputs, targets),
        jax.grad(lambda outputs: objective.loss(outputs, targets).sum())(outputs),
    )
    one = objective.metrics.single_from_model_output(
        outputs=outputs, targets=targets, loss=losses, mask=jnp.ones(COUNT, bool)
    )
    found = objective.metrics.empty().merge(one).compute()
    assert {"loss", objective.score.metric} <= set(found)
    assert losses.shape == (COUNT,)
    assert objective.perfect(targets).shape == outputs.shape
    assert objective.predict(outputs).shape == outputs.shape
    return losses, slope, found, jnp.asarray(objective.loss_at_init), jnp.asarray(objective.l2)


def use_optim(build, spec, numbers, key):
    optimizer = build(**numbers)
    params = {"kernel": jax.random.normal(key, (3, 2)), "bias": jnp.ones(2)}
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(params, state, params)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
    return updates, state


def use_schedule(build, spec, numbers, key):
    schedule = build(50, **numbers)
    heights = jnp.stack([jnp.asarray(schedule(jnp.int32(i)), jnp.float32) for i in (0, 1, 25, 49)])
    assert heights.shape == (4,)
    return heights


def use_augment(build, spec, numbers, key):
    inputs, targets = example(spec)
    changed, same = build(spec, **numbers)(key, inputs, targets)
    assert changed.shape == inputs.shape
    assert changed.dtype == inputs.dtype
    assert same.shape == targets.shape or same.shape == outputs_shape(spec)  # probabilities
    return changed, same


USES = dict(zip(FAMILIES, (use_model, use_objective, use_optim, use_schedule, use_augment)))


@pytest.mark.parametrize("family, name", PLUGINS)
def test_conforms(family, name):
    module = importlib.import_module(f"recipe_jax.{family}.{name}")
    build = resolve.resolve(family, name)
    assert module.__doc__
    assert inspect.getdoc(build)
    kinds = KINDS if family == "models" else (SPECS.get((family, name), IMAGES),)
    knobs = resolve.keywords(build)
    for knob in knobs.values():
        assert knob.default is not inspect.Parameter.empty, f"{knob.name} has no default"
        assert knob.range is None or knob.default in knob.range, f"{knob.name} is out of range"

    accepted = []
    for spec in kinds:
        try:
            jax.eval_shape(lambda spec=spec: USES[family](build, spec, {}, KEY))
            accepted.append(spec)
        except types.UserError as refusal:
            assert "use " in str(refusal) or "give " in str(refusal), "a refusal has no remedy"
            assert family == "models", f"refuses a task of its own kind: {refusal}"
    assert accepted, "takes no kind of task at all"
    # What is kept does not hang on the size, and small networks compile sooner.
    small = SMALL.get(name, {}) if family == "models" else {}
    keeps_the_rules(family, functools.partial(build, **small), accepted[0], knobs)


def keeps_the_rules(family, build, spec, knobs):
    traces = []

    @functools.partial(jax.jit, compiler_options=CPU_OPTIONS)
    @jax.vmap
    def lanes(seed, numbers):
        traces.append(1)
        return USES[family](build, spec, numbers, jax.random.key(seed))

    defaults = {k.name: jnp.float32(k.default) for k in knobs.values() if k.traced}
    seeds = jnp.arange(4)  # like every block, a power of two
    same = {k: jnp.full(4, v) for k, v in defaults.items()}
    # Inside every range: toward 1 for what is finite, infinity becomes a number.
    other = {
        k: jnp.array([v, 0.5, jnp.where(v < 1e9, 0.7 * v + 0.3, 2.0), 0.25])
        for k, v in defaults.items()
    }
    first, second = lanes(seeds, same), lanes(seeds, other)
    assert len(traces) == 1, "other numbers cost another trace"

    for leaf in jax.tree.leaves((first, second)):
        assert not jnp.issubdtype(leaf.dtype, jnp.floating) or jnp.isfinite(leaf).all()
    with_defaults = jax.jit(
        lambda: USES[family](build, spec, {}, jax.random.key(0)), compiler_options=CPU_OPTIONS
    )()
    order = jnp.array([2, 0, 3, 1])
    permuted = lanes(seeds[order], jax.tree.map(lambda x: x[order], other))
    again = lanes(seeds, same)
    for a, b, c, d, e in zip(
        *map(jax.tree.leaves, (first, again, second, permuted, with_defaults))
    ):
        np.testing.assert_array_equal(a, b, "the same lanes, other bits")
        np.testing.assert_array_equal(c[order], d, "a lane depends on its place")
        np.testing.assert_array_equal(a[0], c[0], "a lane depends on its neighbours")
        np.testing.assert_allclose(a[0], e, rtol=1e-4, atol=1e-5, err_msg="traced defaults differ")


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_not_empty(family):
    assert len(resolve.plugins(family)) >= 2
