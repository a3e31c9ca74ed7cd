"""What a setting's static half is, and what is traced."""

import math

import jax
import jax.numpy as jnp
import pytest

from recipe_jax import assembly, config
from recipe_jax.train.step import Moving, StepKeys, make_train_step
from recipe_jax.types import Arrays, Spec

SPEC = Spec(kind="classification", input_shape=(4,), num_outputs=3, prior=(0.2, 0.3, 0.5))


def split(**settings):
    completed = config.as_dict(config.complete({"optim": {"name": "sgd"}}))
    return assembly.split(config.with_settings(completed, settings))


@pytest.mark.parametrize(
    "path, off, one, other", [("optim.clip_norm", math.inf, 1.0, 2.0), ("objective.l2", 0, 0.1, 1)]
)
def test_a_knob_that_is_off_is_static_and_on_it_is_traced(path, off, one, other):
    without, numbers = split(**{path: float(off)})
    assert path not in numbers
    with_one, first = split(**{path: float(one)})
    with_other, second = split(**{path: float(other)})
    assert (first[path], second[path]) == (one, other)
    assert with_one == with_other != without


def test_what_the_search_varies_is_traced_also_where_it_is_off():
    static, numbers = split()
    assert "model.dropout" not in numbers and numbers["optim.weight_decay"] == 0.0
    completed = config.as_dict(config.complete({"optim": {"name": "sgd"}}))
    varied, numbers = assembly.split(completed, {"model.dropout"})
    assert numbers["model.dropout"] == 0.0
    # The setting at which it is off needs no program of its own then.
    assert varied == split(**{"model.dropout": 0.5})[0] != static


def test_a_penalty_that_is_off_leaves_no_work_in_the_step():
    def operations(l2: float) -> int:
        static, numbers = split(**{"objective.l2": l2, "model.width": 5})
        built = assembly.make_build(static, SPEC, 10)(numbers)
        step = make_train_step(built)
        params, state = built.model.init(jax.random.key(0))

        moving = Moving(jnp.int32(0), params, state, built.optimizer.init(params))
        batch = Arrays(jnp.ones((2, 4)), jnp.zeros(2, jnp.int32))
        step_keys = StepKeys(jax.random.key(1), jax.random.key(2))
        return len(jax.make_jaxpr(step)(moving, batch, jnp.float32(1.0), step_keys).eqns)

    assert operations(0.0) < operations(0.1)
