"""Using what was trained: outputs on a split, and what models of text write."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import assembly, keys
from recipe_jax import config as configs
from recipe_jax.app import blended
from recipe_jax.feed import batches
from recipe_jax.train import evaluate
from recipe_jax.train.generate import generate
from recipe_jax.types import (
    Arrays,
    Experiment,
    Objective,
    Outputs,
    Result,
    Samples,
    Scores,
    Split,
    Task,
)


class Models:
    """Answers what stages ask of trained weights."""

    def __init__(self, task: Task, config: Mapping[str, Any], objective: Objective):
        self.task, self.config, self.objective = task, config, objective
        self._programs: dict[Any, Any] = {}

    def outputs(self, request: Outputs, split: Split) -> np.ndarray:
        """What every trained model gives on the split: (trials, examples, outputs)."""
        return np.stack([self._over(split, result, _outputs) for result in request.results])

    def scores(self, request: Scores, split: Split) -> np.ndarray:
        """The metric that decides, of every trained model on every example: (trials, examples), or
        (trials, 1) on all of them, where one by itself has no such value. In float64: what is made
        of squares of errors in a large unit overflows float32."""
        permuted = request.permuted
        found = [self._over(split, result, _scores, permuted) for result in request.results]
        if np.isfinite(found).any() or not len(split.targets):
            return np.stack(found).astype(float)

        def whole(outputs: np.ndarray) -> list[float]:
            told = evaluate.metrics_of(self.objective, outputs, split.targets)
            return [told[self.objective.score.metric]]

        given = [self._over(split, result, _outputs, permuted) for result in request.results]
        if permuted:
            return np.array([[whole(each) for each in groups] for groups in given])
        return np.array([whole(each) for each in given])

    def _over(
        self,
        split: Split,
        result: Result,
        tell: Callable[..., Any],
        permuted: Sequence[Sequence[int]] = (),
    ) -> np.ndarray:
        """What `tell` makes of the model's outputs for each example of the split: (examples, ...),
        or (groups, examples, ...) where groups of their numbers are permuted in turn."""
        assert result.weights is not None, "the request that trained it must keep its weights"
        config = configs.with_settings(self.config, result.trial.settings)
        static, numbers = assembly.split(config)
        build = assembly.make_build(static, self.task.spec, 1)

        def run(numbers: Any, weights: Any, inputs: Any, swaps: Any) -> Any:
            experiment = build(numbers)
            params, model_state = weights

            def told(examples: Any) -> Any:
                outputs = evaluate.outputs_over(
                    experiment, params, model_state, examples, result.trial.show_inputs
                )
                return tell(experiment.objective, outputs, inputs.targets)

            if swaps is None:
                return told(inputs.inputs)
            every, rows, chosen = swaps
            return jax.lax.map(
                lambda swap: told(jnp.where(swap[1], every[swap[0]], inputs.inputs)), (rows, chosen)
            )

        key = (static, result.trial.show_inputs, tell)
        program = self._programs.setdefault(key, jax.jit(run))
        numbers = {name: jnp.float32(value) for name, value in numbers.items()}
        carries = build(numbers).model.begin is not None
        inputs = evaluate.cut(split.arrays, carries=carries)
        batch_size = inputs.mask.shape[1]
        swaps = self._swaps(split, result, permuted, batch_size) if permuted else None
        found = np.asarray(program(numbers, result.weights, inputs, swaps))
        in_order = [
            each.swapaxes(0, 1).reshape(-1, *each.shape[2:])[: len(split.targets)]
            for each in (found if permuted else found[None])
        ]
        return np.stack(in_order) if permuted else in_order[0]

    def _swaps(
        self, split: Split, result: Result, groups: Sequence[Sequence[int]], batch_size: int
    ) -> tuple[Any, Any, Any]:
        """(inputs, rows of them (groups, batches, batch), numbers to be taken from those rows
        (groups, *example)). The permutations are drawn from the trial's seed."""
        key = keys.derive(keys.lane_key(self.config["seed"], result.trial.seed), "permuted")
        drawn = jax.vmap(
            lambda group: jax.random.permutation(
                jax.random.fold_in(key, group), len(split.targets)
            ),
            out_axes=1,
        )(jnp.arange(len(groups)))
        in_batches, _ = batches.eval_batches(Arrays(drawn, split.targets), batch_size)
        chosen = np.zeros((len(groups), math.prod(split.inputs.shape[1:])), bool)
        for row, places in zip(chosen, groups):
            row[list(places)] = True
        rows = np.moveaxis(in_batches.inputs, -1, 0)
        return split.inputs, rows, chosen.reshape(-1, *split.inputs.shape[1:])

    def samples(self, request: Samples) -> list[str]:
        """Each prompt with what the models, averaged, write after it.

        A prompt's own text decides its random draws, beside the seed: no other prompt does.
        """
        encoder, spec, model = self.task.encoder, self.task.spec, request.model
        (window,) = spec.input_shape
        told = [encoder.encode(prompt)[-window:] for prompt in request.prompts]
        prompts = np.zeros((len(told), window), np.int32)
        for row, tokens in zip(prompts, told):
            row[: len(tokens)] = tokens
        key = keys.lane_key(self.config["seed"], model.members[0].trial.seed)
        drawn = jnp.stack([keys.derive(key, "samples " + prompt) for prompt in request.prompts])

        def write(parts: Any, prompts: Any, temperature: Any) -> Any:
            def outputs_of(inputs: Any) -> Any:
                def member(built: Experiment, params: Any, model_state: Any) -> Any:
                    return evaluate.apply_model(built, params, model_state, inputs)[0]

                told = [each._replace(**arrays) for each, arrays in zip(known, parts)]
                return blended.outputs(model, told, spec.kind, member)

            return generate(
                outputs_of,
                prompts,
                jnp.array([len(tokens) for tokens in told], jnp.int32),
                keys=drawn,
                length=request.length,
                temperature=temperature,
                allowed=jnp.asarray(spec.prior) > 0.0,
            )

        known = blended.parts(model, self.config, spec)
        arrays = [{"numbers": each.numbers, "weights": each.weights} for each in known]
        written = jax.jit(write)(arrays, prompts, jnp.float32(request.temperature))
        texts = [encoder.decode(row) for row in np.asarray(written)]
        return [prompt + text for prompt, text in zip(request.prompts, texts)]


def _outputs(objective: Objective, outputs: Any, targets: Any) -> Any:
    return outputs


def _scores(objective: Objective, outputs: Any, targets: Any) -> Any:
    def batch(pair: Any) -> Any:
        return evaluate.example_scores(objective, *pair)

    return jax.lax.map(batch, (outputs, targets))
