"""Numbers as people read them: four digits that matter, thousands apart, units that fit."""

import math
from typing import Any


def sensible(value: Any, digits: int = 4) -> str:
    """A short text for a value of any kind; numbers get `digits` significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return _number(value, digits)
    if isinstance(value, list | tuple):
        return ", ".join(sensible(item, digits) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {sensible(item, digits)}" for key, item in value.items())
    return str(value)


def duration(seconds: Any) -> str:
    """'0.4 s', '12 s', '3 min 20 s', '2 h 5 min'."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _number(value: float, digits: int) -> str:
    """Fixed point where that is short, a power of ten where it is not."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < 1e6:
        return sensible(int(value))
    if 1e-3 <= abs(value) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{places}f}"
        return text.rstrip("0").rstrip(".") if "." in text else sensible(int(float(text)))
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
