"""Runs the tests of the fault matrix, and prints it as a table with what came out of them.

    python scripts/fault_matrix.py [--quick] [--rows 1,6,19]

The rows and their tests stand in tests/test_fault_matrix.py. --quick leaves the long tests out.
Exit code 1 where a test failed, or a row has none that passed.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
SAID = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def outcomes(tests: Sequence[str], *options: str) -> dict[str, Counter[str]]:
    """How often each function of tests failed, passed and was skipped."""
    with tempfile.TemporaryDirectory() as folder:
        told = pathlib.Path(folder) / "told.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n0", f"--junitxml={told}", *options]
        # The table alone goes to where output is read.
        subprocess.run([*command, *tests], cwd=ROOT, stdout=sys.stderr, check=False)
        return counted(told.read_text())


def counted(told: str) -> dict[str, Counter[str]]:
    """The same from what pytest wrote, as JUnit's XML."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.fromstring(told).iter("testcase"):
        file, name = case.get("classname", ""), case.get("name", "").partition("[")[0]
        test = f"{file.replace('.', '/')}.py::{name}"
        said = next((SAID[each.tag] for each in case if each.tag in SAID), "passed")
        found.setdefault(test, Counter())[said] += 1
    return found


def row_outcome(tests: Sequence[str], found: Mapping[str, Counter[str]]) -> tuple[str, bool]:
    """What came out of a row's tests, in words, and whether it is as promised."""
    sums = sum((found.get(test, Counter()) for test in tests), Counter[str]())
    words = [f"{sums[kind]} {kind}" for kind in ("failed", "passed", "skipped") if sums[kind]]
    return ", ".join(words) or "not run", bool(sums["passed"]) and not sums["failed"]


def main() -> int:
    """Runs, prints; the exit code."""
    parser = argparse.ArgumentParser(description="The fault matrix with what came out of it.")
    parser.add_argument("--quick", action="store_true", help="leave the long tests out")
    parser.add_argument("--rows", default="", help="numbers, such as 1,6,19; all by default")
    given = parser.parse_args()
    from test_fault_matrix import MATRIX, ids  # pyright: ignore[reportMissingImports]

    rows = [int(row) for row in given.rows.split(",") if row] or [*MATRIX]
    tests = sorted({test for row in rows for test in ids(row)})
    found = outcomes(tests, *(("-m", "not slow") if given.quick else ()))
    print("| # | broken on purpose | promised | tests |\n|---|---|---|---|")
    good = True
    for row in rows:
        words, fine = row_outcome(ids(row), found)
        print(f"| {row} | {MATRIX[row].fault} | {MATRIX[row].promise} | {words} |")
        good &= fine
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
