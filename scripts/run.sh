#!/usr/bin/env bash
# From a bare clone to a report: makes .venv where there is none, installs, runs the recipe on digits.
# More arguments go to the command:  bash scripts/run.sh --config.train.epochs=10
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
make_venv .venv python3 ""
exec .venv/bin/python -m experiments.run --config configs/digits.py "$@"
