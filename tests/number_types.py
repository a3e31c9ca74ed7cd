"""beartype, taught that a float keyword may be an array: plug-ins are built inside the trace."""

import jax
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

check = beartype(
    conf=BeartypeConf(hint_overrides=BeartypeHintOverrides({float: float | int | jax.Array}))
)
