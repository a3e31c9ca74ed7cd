"""Imports point down only, and the pure layers have no effects."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "recipe_jax"
PURE = [
    *(
        "recipe",
        "checks",
        "probes",
        "sweep",
        "train",
        "feed",
        "data",
        "models",
        "objectives",
        "optim",
    ),
    *("schedules", "augment", "search", "prune", "ensemble", "calibration", "assembly"),
    *("program", "types", "keys", "trees", "resolve", "gate", "adapters"),
]
# Lower numbers are lower layers; a module imports its own layer or lower ones.
LAYER = {
    **dict.fromkeys(("types",), 0),
    **dict.fromkeys(("keys", "trees", "resolve", "gate"), 1),
    **dict.fromkeys(("adapters", "assembly", "ensemble", "calibration", "program"), 2),
    **dict.fromkeys(["data", "models", "objectives", "optim", "schedules", "augment"], 3),
    **dict.fromkeys(["search", "prune"], 3),
    **dict.fromkeys(("feed",), 4),
    **dict.fromkeys(("train",), 5),
    **dict.fromkeys(("sweep",), 6),
    **dict.fromkeys(("probes",), 7),
    **dict.fromkeys(("checks",), 8),
    **dict.fromkeys(("recipe",), 9),
    **dict.fromkeys(("writers", "provenance", "checkpoint", "config", "report", "study"), 10),
    **dict.fromkeys(("track", "tracking"), 10),
    **dict.fromkeys(("diagnosis",), 11),
    **dict.fromkeys(("app",), 12),
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def part(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if part(path) == "__init__":
        return
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] == "recipe_jax" and len(pieces) > 1 and pieces[1] in LAYER:
            assert LAYER[pieces[1]] <= LAYER[part(path)], f"{path} imports {name}"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if part(p) in PURE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_pure_layers_have_no_effects(path):
    forbidden = {"time", "logging", "os", "sys", "rich", "absl", "subprocess", "shutil"}
    assert not forbidden & {name.split(".")[0] for name in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno} prints"
        if isinstance(node, ast.Attribute):
            called = ast.unparse(node)
            assert called not in ("jax.config.update", "np.random.seed"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_needs_tensorflow(path):
    """Nor the parts of clu that import it."""
    for name in imports(path):
        assert name.split(".")[0] not in ("tensorflow", "tf_keras", "tensorflow_datasets"), name
        assert not name.startswith(("clu.metric_writers", "clu.periodic_actions")), name


def test_every_part_has_a_layer():
    assert {part(p) for p in SOURCES} - {"__init__"} <= set(LAYER)
