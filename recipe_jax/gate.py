"""Work that is skipped while no lane needs it, although every number is traced.

A knob that is off (dropout at 0) is a traced value, so Python cannot leave its work out; and under
vmap a conditional becomes a select that does the work of both branches. The rule here makes one
longer row of lanes out of every vmap instead, so that a single question is asked of them all. Where
no lane needs the work, `idle` must give the same bits as `active` would.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from recipe_jax.types import PyTree


def gated(
    needed: Callable[..., Bool[Array, ""]],
    active: Callable[..., PyTree],
    idle: Callable[..., PyTree],
) -> Callable[..., PyTree]:
    """A function of one lane's arrays: `active` where any lane `needed` it, else `idle`.

    All three take the same arguments; nothing may be differentiated through it.
    """

    @jax.custom_batching.custom_vmap
    def row(*lanes: PyTree) -> PyTree:
        def when_needed(*lanes: PyTree) -> PyTree:
            question = jnp.any(jax.vmap(needed)(*lanes))
            return jax.lax.cond(question, jax.vmap(active), jax.vmap(idle), *lanes)

        # An accelerator does the work sooner than it tells the host which branch to take.
        return jax.lax.platform_dependent(*lanes, cpu=when_needed, default=jax.vmap(active))

    @row.def_vmap
    def _(size: int, batched: list[PyTree], *lanes: PyTree) -> tuple[PyTree, PyTree]:
        def longer(leaf: Array, mapped: bool) -> Array:
            leaf = leaf if mapped else jnp.broadcast_to(leaf[None], (size, *leaf.shape))
            return leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])

        out = row(*jax.tree.map(longer, lanes, tuple(batched)))
        out = jax.tree.map(lambda leaf: leaf.reshape(size, -1, *leaf.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    def one(*lane: PyTree) -> PyTree:
        first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], lane)
        return jax.tree.map(lambda leaf: leaf[0], row(*first))

    return one
