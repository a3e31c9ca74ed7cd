"""What a run is made of: all of its settings, and whose code each part is."""

from collections.abc import Iterator, Mapping
from typing import Any

from recipe_jax.assembly import FAMILIES
from recipe_jax.recipe.base import Context
from recipe_jax.resolve import resolve
from recipe_jax.types import Finding, Status

PARTS = {"data": "data", **FAMILIES, "search": "search", "prune": "prune"}
"""Section -> the family of plug-ins that it chooses from."""
LISTED = 8


def examine(context: Context) -> Iterator[Finding]:
    """ENV1, ENV7."""
    yield settings(context.config, context.defaults)
    yield parts(context.config)


def settings(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Finding:
    """How many settings there are, and which are not as they would be if nothing had been said.

    defaults: a config with the same plug-ins, everything else at its default. How often to save is
    not counted as a change: it changes nothing that is found.
    """
    flat, usual = _flat(config), _flat(defaults)
    changed = [
        path
        for path, value in flat.items()
        if value != usual.get(path) and not path.startswith("checkpoint.")
    ]
    named = ", ".join(f"{path}={flat[path]}" for path in changed[:LISTED])
    more = f" and {len(changed) - LISTED} more" if len(changed) > LISTED else ""
    differ = f"{len(changed)} differ from their defaults: {named}{more}" if changed else "all are "
    differ += "" if changed else "defaults"
    sections = sum(isinstance(value, Mapping) for value in config.values())
    return Finding(
        check="settings",
        row="ENV1",
        status=Status.PASS,
        summary=f"{len(flat)} settings in {sections} sections, {differ}. config.json holds them "
        "all: --config with that file runs the same again.",
        evidence={
            "settings": len(flat),
            "sections": sections,
            "changed": changed,
            "values": [str(flat[path]) for path in changed],
            "defaults": [str(usual.get(path)) for path in changed],
        },
    )


def parts(config: Mapping[str, Any]) -> Finding:
    """Which file each part of the run comes from; "module:function" is the user's own."""
    names = [config[section]["name"] for section in PARTS]
    modules = [resolve(PARTS[s], name).__module__ for s, name in zip(PARTS, names)]
    files = [module.replace(".", "/") + ".py" for module in modules]
    own = [f"{s} ({file})" for s, name, file in zip(PARTS, names, files) if ":" in name]
    model = files[[*PARTS].index("model")]
    told = f"{len(own)} of {len(files)} parts are your own files: {', '.join(own)}"
    if not own:
        told = (
            f"All {len(files)} parts are shipped, each one file to copy and change: the model is "
        )
        told += f"{model}, and a copy runs as --config.model.name=my_module:build"
    return Finding(
        check="parts",
        row="ENV7",
        status=Status.PASS,
        summary=f"{told}.",
        evidence={"section": [*PARTS], "name": names, "file": files},
    )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting by "section.key"; lists as tuples."""
    flat: dict[str, Any] = {}
    for section, value in config.items():
        for key, inner in value.items() if isinstance(value, Mapping) else [("", value)]:
            path = f"{section}.{key}" if key else section
            flat[path] = tuple(inner) if isinstance(inner, list) else inner
    return flat
