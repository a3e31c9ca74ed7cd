#!/usr/bin/env bash
# Installs the test extra into .venv and runs the tests; arguments go to pytest.
#   bash scripts/test.sh              the default tests, a quarter of an hour on 2 cores
#   bash scripts/test.sh -m slow      the long ones
# PYTHON chooses the interpreter and VENV the environment's folder.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
VENV="${VENV:-.venv}"
make_venv "$VENV" "${PYTHON:-python3}" "[test]"
if [ $# -eq 0 ]; then set -- -m "not slow"; fi
exec "$VENV/bin/python" -m pytest -q -n "$(nproc)" "$@"
