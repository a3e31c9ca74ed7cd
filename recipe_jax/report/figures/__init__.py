"""How evidence is drawn: one function a check, of the check's name, in any file of this folder.

A function takes the evidence of a finding and returns a plotly figure, a piece of safe HTML, or a
list of them that is set side by side where there is room. A file with one more function is found
by existing. Evidence that lacks a key, or has an odd shape, is not drawn.
"""

import functools
import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import markupsafe
import plotly.graph_objects as go

Drawing = go.Figure | markupsafe.Markup
ODD_EVIDENCE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What drawing raises where evidence is not as expected: it is what a file says, maybe an older
program's."""


def draw(check: str, evidence: Mapping[str, Any]) -> list[Drawing] | None:
    """The drawings of a finding; None when nobody drew that check, or its evidence is not there."""
    function = _functions().get(check)
    if function is None or not evidence:
        return None
    try:
        with warnings.catch_warnings():
            # The lowest of nothing is a gap here.
            warnings.simplefilter("ignore", RuntimeWarning)
            drawings = function(evidence)
    # The report is not lost to it.
    except ODD_EVIDENCE:
        return None
    if drawings is None:
        return None
    return drawings if isinstance(drawings, list) else [drawings]


@functools.cache
def _functions() -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """Check -> the function of that name in this folder."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    ]
    return {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
