"""Runs the tests of the fault matrix, and prints it as a table with what came out of them.

    python scripts/fault_matrix.py [--quick] [--rows 1,6,19]

The rows and their tests stand in tests/test_fault_matrix.py. --quick leaves the long tests out.
Exit code 1 where a test failed, or a row has none that ran.
"""

import argparse
import contextlib
import pathlib
import sys
from collections import Counter
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


class Outcomes:
    """A plug-in of pytest that counts what came out of each test function."""

    def __init__(self) -> None:
        self.of: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One of setup, call and teardown of a test."""
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.partition("[")[0]
            self.of.setdefault(name, Counter())[report.outcome] += 1


def told(tests: list[str], outcomes: Outcomes) -> tuple[str, bool]:
    """What came out of a row's tests, in words, and whether it is as promised."""
    sums = sum((outcomes.of.get(test, Counter()) for test in tests), Counter[str]())
    words = [f"{sums[kind]} {kind}" for kind in ("failed", "passed", "skipped") if sums[kind]]
    return ", ".join(words) or "not run", bool(sums["passed"]) and not sums["failed"]


def main() -> int:
    """Runs, prints; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", default="")
    given = parser.parse_args()
    from test_fault_matrix import MATRIX, ids  # pyright: ignore[reportMissingImports]

    rows = [int(row) for row in given.rows.split(",") if row] or [*MATRIX]
    tests = sorted({test for row in rows for test in ids(row)})
    outcomes = Outcomes()
    options = ["-q", "-p", "no:cacheprovider", "-n0", f"--rootdir={ROOT}"]
    options += ["-m", "not slow"] if given.quick else []
    # The table alone goes to where output is read.
    with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(ROOT):
        pytest.main([*options, *tests], plugins=[outcomes])
    print("| # | broken on purpose | promised | tests |\n|---|---|---|---|")
    good = True
    for row in rows:
        words, fine = told(ids(row), outcomes)
        print(f"| {row} | {MATRIX[row].fault} | {MATRIX[row].promise} | {words} |")
        good &= fine
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
