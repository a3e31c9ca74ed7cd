"""The bench's own plain training loop, and the rule by which a fault counts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import recipe_jax
from scripts.faults.programs import PROGRAMS, first_state, step_of


def feed(program: Any, seed: int) -> Any:
    """The batches of a run, shuffled anew every epoch, num_steps of them."""
    left, epoch = program.num_steps or 200, 0
    while left > 0:
        taken = 0
        for batch in epoch_of(program, seed, epoch):
            if left <= 0:
                return
            yield batch
            left, taken = left - 1, taken + 1
        if not taken:
            return
        epoch += 1


def epoch_of(program: Any, seed: int, epoch: int) -> Any:
    """The batches of one epoch."""
    if program.batches is not None:
        yield from program.batches(1000 * seed + epoch)
        return
    inputs, targets = program.train
    size = min(program.batch_size or 32, len(inputs))
    order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
    for first in range(0, len(order) - size + 1, size):
        chosen = order[first : first + size]
        yield inputs[chosen], targets[chosen]


def trainer(program: Any) -> Callable[..., Any]:
    """(seed, state) -> (variables, losses); compiled once for all seeds."""
    step = program.step or step_of(program)

    def update(state: Any, inputs: Any, targets: Any, key: Any) -> Any:
        first, second = jax.random.split(key)
        if program.augment is not None:
            inputs, targets = program.augment(first, inputs, targets)
        return step(state, (inputs, targets), second)

    compiled = update if getattr(step, "own_compilation", False) else jax.jit(update)

    def run(seed: int, state: Any = None) -> tuple[Any, list[float]]:
        """Train once."""
        state = first_state(program, seed) if state is None else state
        losses, key = [], jax.random.key(seed + 1000)
        for number, (inputs, targets) in enumerate(feed(program, seed)):
            state, loss = compiled(state, inputs, targets, jax.random.fold_in(key, number))
            losses.append(loss)
        return state.variables, [float(jnp.mean(loss)) for loss in losses]

    return run


def predictor(program: Any) -> Callable[..., Any]:
    """(variables, inputs) -> outputs at evaluation, every example by itself."""

    def alone(variables: Any, example: Any) -> Any:
        key = jax.random.key(0)
        return program.apply(variables, example[None], key=key, train=False)[0][0]

    return jax.jit(jax.vmap(alone, in_axes=(None, 0)))


def scaled_loss(program: Any, outputs: Any, targets: Any) -> float:
    """The loss of the outputs times the number that suits them best.

    For outputs that are no logits: what they know, whatever their scale.
    """
    losses = jax.vmap(lambda scale: jnp.mean(program.loss(scale * outputs, targets)))
    return float(losses(jnp.logspace(-2, 3, 41)).min())


def scores(clean: Any, planted: Any, states: list[Any], own_data: bool, seeds: int) -> Any:
    """(loss, minus the metric, loss at the best scale) of every seed, held out: lower is better.

    The clean program's loss, metric and validation data judge; where a plant changes what goes in,
    its own validation data. A regression is then judged by its share of the targets' variance.
    """
    judged = planted or clean
    run, predict = trainer(judged), predictor(judged)
    inputs, targets = (judged if own_data else clean).validation
    scale = max(float(np.var(targets)), 1e-12) if clean.task == "regression" else 1.0
    rows = []
    for seed in range(seeds):
        outputs = predict(run(seed, states[seed])[0], inputs)
        loss, metric = clean.loss(outputs, targets), clean.metric(outputs, targets)
        row = [
            float(jnp.mean(loss)),
            -float(jnp.mean(metric)),
            scaled_loss(clean, outputs, targets),
        ]
        rows.append([each / scale for each in row])
    return np.array(rows)


def compared(clean: Any, faulty: Any) -> tuple[float, float]:
    """(p of Welch's test that the faulty is worse, Cohen's d)."""
    difference = faulty.mean() - clean.mean()
    spread = np.sqrt((faulty.var(ddof=1) + clean.var(ddof=1)) / 2)
    if spread < 1e-12:
        return (0.0, np.inf) if difference > 1e-9 else (1.0, 0.0)
    test = stats.ttest_ind(faulty, clean, equal_var=False, alternative="greater")
    return float(test.pvalue), float(difference / spread)


@functools.cache
def clean_scores(name: str, own_data: bool, seeds: int) -> Any:
    """Those of the program without a fault."""
    clean = recipe_jax.experiment(**PROGRAMS[name](0))
    return scores(clean, None, states_of(PROGRAMS[name], None, "", seeds), own_data, seeds)


def states_of(program: Any, plant: Any, strength: str, seeds: int) -> list[Any]:
    """First states, one a seed, of programs that bring their own; else None."""
    made = [program(0) if plant is None else plant(program, strength, 0)]
    if made[0].get("state") is None:
        return [None] * seeds
    for seed in range(1, seeds):
        made.append(program(seed) if plant is None else plant(program, strength, seed))
    return [kwargs["state"] for kwargs in made]


def killed(name: str, plant: Any, strength: str, seeds: int = 10) -> dict[str, Any] | None:
    """Whether the fault does harm: what a fault needs to count. None where it does not apply."""
    program = PROGRAMS[name]
    kwargs = plant(program, strength, 0)
    if kwargs is None:
        return None
    if plant.wrong_number or plant.cost_only:
        return {"killed": plant.wrong_number, "by": "kind"}
    clean, faulty = recipe_jax.experiment(**program(0)), recipe_jax.experiment(**kwargs)
    before = clean_scores(name, plant.own_data, seeds)
    try:
        states = states_of(program, plant, strength, seeds)
        after = scores(clean, faulty, states, plant.own_data, seeds)
    except Exception as error:
        return {"killed": True, "by": f"{type(error).__name__}: {error}"[:200]}
    if not np.isfinite(after).all():
        return {"killed": True, "by": "not finite"}
    columns = {"metric": 1, "scaled_loss": 2} if plant.by_metric else {"loss": 0, "metric": 1}
    verdict: dict[str, Any] = {"killed": False, "by": "score"}
    for column, place in columns.items():
        chance, effect = compared(before[:, place], after[:, place])
        verdict["killed"] |= bool(chance < 0.05 and effect >= 0.5)
        verdict[column] = [float(before[:, place].mean()), float(after[:, place].mean())]
        verdict[f"{column}_p"], verdict[f"{column}_d"] = chance, min(effect, 1e6)
    return verdict
