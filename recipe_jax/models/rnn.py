"""Recurrent networks: GRU (Cho et al. 2014) and LSTM (Hochreiter & Schmidhuber 1997)."""

import itertools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx

from recipe_jax import adapters
from recipe_jax.models import _recurrence, _sequence, base
from recipe_jax.resolve import Count, Fraction, OneOf, Positive, Rate
from recipe_jax.types import Model, Spec, UserError

_CELLS = {"gru": (_recurrence.gru, 3), "lstm": (_recurrence.lstm, 4)}


def build(
    spec: Spec,
    /,
    *,
    cell: Annotated[str, OneOf(tuple(_CELLS))] = "gru",
    width: Count = 128,
    depth: Count = 1,
    states: Annotated[str, OneOf(("reset", "carried"))] = "reset",
    embedding: Count = 128,
    dropout: Rate = 0.0,
    init: base.Init = "auto",
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """`depth` recurrent layers of `width` units.

    states: "reset" starts every window from a state of 0; "carried", for text, from the state after
    the window before: batches then read on row by row (feed/streams.py), and gradients stop where a
    window begins (truncated backpropagation through time, Williams & Peng 1990).

    Tokens become vectors of `embedding` numbers, and every position gives outputs; of a sequence of
    numbers, the state after the last step does. Dropout is on the input and on the output of every
    layer, never on what goes from step to step (Zaremba et al. 2014). `init` is that of the input
    kernels ("auto": lecun); recurrent kernels are orthogonal gate by gate, embeddings standard
    normal, and biases 0 but for the forget gate's, which are 1 (Jozefowicz et al. 2015).

    (batch, window) -> (window, batch, embedding) -> depth times (window, batch, width) ->
    (batch, window, num_outputs); or (batch, time, features) -> depth times (time, batch, width) ->
    (batch, num_outputs). Parameters, for F features or embedding numbers, W width, D depth and K
    outputs: G (F + W + 1) W + (D - 1) G (2 W + 1) W + (W + 1) K with G = 3 gates for the GRU and 4
    for the LSTM, and K F more for tokens.
    """
    features = _sequence.num_features(spec, name="rnn")
    tokens = not features
    if states == "carried" and not tokens:
        raise UserError(
            "model.states=carried needs a text that goes on from window to window, and these "
            "examples stand alone; use model.states=reset."
        )
    recurrence = _CELLS[cell][0]

    def make(rngs: nnx.Rngs) -> "_Rnn":
        widths = (features or embedding, *[width] * depth)
        normal = jax.nn.initializers.normal(1.0)
        kernel_init = base.initializer(base.hidden_init(init, "tanh"), init_gain)
        return _Rnn(
            _sequence.Embedding(spec.num_outputs, embedding, normal, rngs=rngs) if tokens else None,
            [
                _Layer(fan_in, fan_out, cell, kernel_init, init_gain, rngs=rngs)
                for fan_in, fan_out in itertools.pairwise(widths)
            ],
            base.output_layer(
                spec, width, rngs=rngs, init=init, gain=init_gain, prior_bias=prior_bias
            ),
        )

    def begin(batch_size: Any) -> Any:
        zeros = jnp.zeros((batch_size, width))
        first = zeros if cell == "gru" else (zeros, zeros)
        return {str(place): first for place in range(depth)}

    def call(module: Any, given: Any, *, key: jax.Array, train: bool) -> Any:
        def dropped(x: jax.Array, place: int) -> jax.Array:
            return base.dropout(x, dropout, jax.random.fold_in(key, place)) if train else x

        inputs, first = given
        last = {}
        x = inputs.swapaxes(0, 1)
        x = dropped(module.embedding(x) if tokens else x, 0)
        for place, layer in enumerate(module.layers, 1):
            before = first[str(place - 1)]
            x, last[str(place - 1)] = recurrence(layer.recurrent[...], layer.input(x), before)
            if not tokens and place == depth:
                # The last state, not the last of all: what is not asked for is not written down.
                x = jax.tree.leaves(last[str(place - 1)])[0]
            x = dropped(x, place)
        x = module.output(x)
        return (x.swapaxes(0, 1) if tokens else x), last

    network = adapters.from_nnx(make, call)

    def apply(
        params: Any, model_state: Any, inputs: jax.Array, *, key: jax.Array | None, train: bool
    ) -> tuple[jax.Array, Any]:
        first = model_state.get("carried") or begin(inputs.shape[0])
        (outputs, last), _ = network.apply(params, {}, (inputs, first), key=key, train=train)
        return outputs, {"carried": last} if "carried" in model_state else model_state

    return Model(network.init, apply, begin if states == "carried" else None)


class _Rnn(nnx.Module):
    def __init__(self, embedding, layers, output):
        self.embedding = embedding
        self.layers = nnx.List(layers)
        self.output = output


class _Layer(nnx.Module):
    def __init__(self, fan_in, width, cell, kernel_init, gain, *, rngs):
        num_gates = _CELLS[cell][1]

        def by_gate(init):
            """A kernel of its own for each gate, side by side: what a gate gets has its fan."""
            return lambda key, shape, dtype=jnp.float32, **_: jnp.concatenate(
                [init(each, (shape[0], width), dtype) for each in jax.random.split(key, num_gates)],
                axis=1,
            )

        def biases(key, shape, dtype=jnp.float32, **_):
            zeros = jnp.zeros(shape, dtype)
            return zeros.at[width : 2 * width].set(1.0) if cell == "lstm" else zeros

        self.input = nnx.Linear(
            fan_in, num_gates * width, kernel_init=by_gate(kernel_init), bias_init=biases, rngs=rngs
        )
        orthogonal = by_gate(base.initializer("orthogonal", gain))
        self.recurrent = nnx.Param(orthogonal(rngs.params(), (width, num_gates * width)))
