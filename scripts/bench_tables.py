"""The recipe's final test score beside scikit-learn's defaults, over random splits of small tables.

    python scripts/bench_tables.py [--tasks digits,diabetes,breast_cancer] [--splits 20]
                                   [--budget 0] [--out runs/bench_tables.jsonl] [--read]
                                   [--config.train.epochs=5 ...]

A split is the config's own with another data.split_seed. `experiments.run` is carried out on it,
as a process of its own, and its score is the one it tells at its single opening of the test split,
a closed gate notwithstanding (--config.recipe.force; the table counts them). scikit-learn's models,
behind a StandardScaler and with their defaults but for steps enough to converge, are fitted on
training and validation rows together, since they need no validation split, and are asked about the
same test rows.

Every finished split is a line of the JSON file, known by its task, seed and overrides: what is
there is not repeated, so the bench can be stopped and begun again. --budget: seconds after which no
further split is begun (0: none). Words that begin with --config. go to the recipe.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RECIPE, TIE = "recipe", 1e-6
TASKS = ("digits", "diabetes", "breast_cancer")
Record = dict[str, Any]


def classical(kind: str, seed: int) -> dict[str, Any]:
    """scikit-learn's models behind a StandardScaler, with their defaults but for `max_iter`."""
    from sklearn import ensemble, linear_model, neural_network
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "regression":
        models = {
            "ridge": linear_model.Ridge(),
            "random forest": ensemble.RandomForestRegressor(random_state=seed),
            "gradient boosting": ensemble.GradientBoostingRegressor(random_state=seed),
            "histogram boosting": ensemble.HistGradientBoostingRegressor(random_state=seed),
            "MLP": neural_network.MLPRegressor(max_iter=2000, random_state=seed),
        }
    else:
        models = {
            "logistic regression": linear_model.LogisticRegression(max_iter=2000),
            "random forest": ensemble.RandomForestClassifier(random_state=seed),
            "gradient boosting": ensemble.GradientBoostingClassifier(random_state=seed),
            "histogram boosting": ensemble.HistGradientBoostingClassifier(random_state=seed),
            "MLP": neural_network.MLPClassifier(max_iter=2000, random_state=seed),
        }
    return {name: make_pipeline(StandardScaler(), model) for name, model in models.items()}


def classical_scores(task: Any, seed: int) -> dict[str, float]:
    """Accuracy, or mean squared error in the target's own unit, on the test rows of a task."""
    from sklearn import metrics

    regression = task.spec.kind == "regression"

    def rows(split: Any) -> tuple[np.ndarray, np.ndarray]:
        targets = split.targets
        if regression:
            targets = targets[:, 0] * task.spec.target_scale[0] + task.spec.target_mean[0]
        return split.inputs.reshape(len(split.inputs), -1).astype(np.float64), targets

    known = [rows(split) for split in (task.train, task.validation)]
    inputs, targets = (np.concatenate(each) for each in zip(*known))
    held, truth = rows(task.test.open(lambda: None))
    score = metrics.mean_squared_error if regression else metrics.accuracy_score
    found = {}
    for name, model in classical(task.spec.kind, seed).items():
        with warnings.catch_warnings():
            # What has not converged after 2000 rounds is scored as it is.
            warnings.simplefilter("ignore")
            found[name] = float(score(truth, model.fit(inputs, targets).predict(held)))
    return found


def recipe_score(words: Sequence[str]) -> Record:
    """What `experiments.run` says of its test split, in a workdir that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.run", *words, f"--workdir={folder}/w"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ended.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
        findings = json.loads(pathlib.Path(folder, "w", "findings.json").read_text())
    (told,) = [each for each in findings if each["check"] == "test_score"]
    failed = sorted({each["check"] for each in findings if each["status"] == "FAIL"})
    return {key: told["evidence"][key] for key in ("metric", "value", "count")} | {"failed": failed}


def one_split(task_name: str, seed: int, overrides: Sequence[str]) -> Record:
    """Both sides on one split."""
    from recipe_jax import config as configs
    from recipe_jax.app import drive

    path = ROOT / "configs" / f"{task_name}.py"
    words = [f"--config={path}", f"--config.data.split_seed={seed}", *overrides]
    task = drive.load_task(configs.parse(["run", *words], lambda own: None).config)
    began = time.monotonic()
    told = recipe_score([*words, "--config.recipe.force"])
    assert told["count"] == task.test.num_examples
    metric = told["metric"]
    assert metric == ("mse" if task.spec.kind == "regression" else "accuracy"), metric
    return {
        "task": task_name,
        "seed": seed,
        "overrides": list(overrides),
        "metric": metric,
        "test_rows": told["count"],
        "other_rows": len(task.train.targets) + len(task.validation.targets),
        "failed": told["failed"],
        "scores": {RECIPE: told["value"], **classical_scores(task, seed)},
        "run_seconds": round(time.monotonic() - began, 1),
    }


def rows_of(records: Sequence[Record]) -> list[Record]:
    """A row a model of one task: mean and standard error over the splits, and how much better the
    recipe is, paired over splits, with its 95 % interval.

    Random splits share rows, so an interval as of independent ones would be too narrow: the
    variance of the mean is taken as (1 / splits + test rows / other rows) times that of one split
    (Nadeau and Bengio 2003). NaN for one split.
    """
    from scipy import stats

    sign = -1.0 if records[0]["metric"] == "mse" else 1.0
    names = list(records[0]["scores"])
    table = {name: np.array([each["scores"][name] for each in records]) for name in names}
    count = len(records)
    overlap = float(np.mean([each["test_rows"] / each["other_rows"] for each in records]))
    found = []
    for name, scores in table.items():
        gains = sign * (table[RECIPE] - scores)
        # The recipe tells its score in single precision: less than that is a tie.
        gains[np.abs(gains) < TIE * np.abs(scores)] = 0.0
        spread = gains.std(ddof=1) if count > 1 else np.nan
        half = stats.t.ppf(0.975, max(1, count - 1)) * spread * np.sqrt(1 / count + overlap)
        found.append(
            {
                "model": name,
                "mean": float(scores.mean()),
                "error": float(scores.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan,
                "gain": float(gains.mean()),
                "low": float(gains.mean() - half),
                "high": float(gains.mean() + half),
                "better": int((gains > 0).sum()),
                "worse": int((gains < 0).sum()),
            }
        )
    return found


def tell(records: Sequence[Record]) -> None:
    """The table of every task and set of overrides."""
    together: dict[tuple[str, ...], list[Record]] = {}
    for each in records:
        together.setdefault((each["task"], *each["overrides"]), []).append(each)
    for key, group in together.items():
        metric, closed = group[0]["metric"], [each for each in group if each["failed"]]
        print(
            f"\n{' '.join(key)}: {metric} on {group[0]['test_rows']} rows, splits: {len(group)}\n"
        )
        print("| model | mean | standard error | recipe gains (95 %) | better, worse |")
        print("|---|---|---|---|---|")
        for row in rows_of(group):
            gain, wins, error = "", "", "-"
            if row["model"] != RECIPE:
                gain, wins = f"{row['gain']:+.4g}", f"{row['better']}, {row['worse']}"
            if len(group) > 1:
                error = f"{row['error']:.2g}"
                gain += f" [{row['low']:+.4g}, {row['high']:+.4g}]" if gain else ""
            print(f"| {row['model']} | {row['mean']:.4g} | {error} | {gain} | {wins} |")
        seconds = [each["run_seconds"] for each in group]
        print(f"A split took {np.median(seconds):.0f} s; a gate closed in {len(closed)}.")


def main() -> int:
    """Measures the splits that are missing, one after another, and prints the table."""
    from recipe_jax import writers

    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--budget", type=float, default=0.0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/bench_tables.jsonl"))
    parser.add_argument("--read", action="store_true")
    options, overrides = parser.parse_known_args()
    strange = [word for word in overrides if not word.startswith("--config.")]
    if strange:
        parser.error(f"unknown words: {' '.join(strange)}")
    began = time.monotonic()
    finished = {known_by(each) for each in writers.read_jsonl(options.out)}
    # Split by split through all tasks: whatever stands is the same number of splits of each.
    wanted = [(task, seed) for seed in range(options.splits) for task in options.tasks.split(",")]
    for task, seed in [] if options.read else wanted:
        if (task, seed, *overrides) in finished:
            continue
        if options.budget and time.monotonic() - began > options.budget:
            print("The budget is spent; the same command goes on.")
            break
        record = one_split(task, seed, overrides)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with writers.JsonlWriter(options.out) as file:
            file.write(record)
        shown = ", ".join(f"{name} {score:.4g}" for name, score in record["scores"].items())
        print(f"{task} {seed}: {shown} ({record['run_seconds']:.0f} s)", flush=True)
    tell([*writers.read_jsonl(options.out)])
    return 0


def known_by(record: Record) -> tuple[Any, ...]:
    """What a finished split is known by."""
    return (record["task"], record["seed"], *record["overrides"])


if __name__ == "__main__":
    sys.exit(main())
