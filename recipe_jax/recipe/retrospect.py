"""A look back on the whole run: which expectation held, and which runs ended before their time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from recipe_jax.recipe.base import Context
from recipe_jax.types import Finding, Status

HELD, FAILED, OPEN = "held", "did not hold", "open"
PATIENCE = 5
"""Looks without a better score after which the early stop that is weighed here would end a run."""


class Claim(NamedTuple):
    """A part of what a stage says that it expects, the findings that test it, and how: from their
    evidence to yes, no, or None where they leave it open; without that, they have to pass."""

    stage: str
    says: str
    checks: tuple[str, ...]
    test: Callable[[Context, Mapping[str, Any]], bool | None] | None = None


def _beats_a_constant(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """The network is the first of the scores, the best constant the second."""
    network, constant = np.asarray(evidence["scores"][:2], float)
    sign = context.objective.score.sign()
    return bool(sign * network > sign * constant) if np.isfinite(network) else False


def _capacity_helps(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """The mean training loss of the largest model against that of the smallest."""
    losses = np.asarray(evidence["train_loss"], float).mean(1)
    return bool(losses[-1] < losses[0]) if np.isfinite(losses[[0, -1]]).all() else None


def _one_is_kept(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """Of dropout and decay; open where an interval still holds a gain that is worth a change."""
    asked = [
        place
        for place, name in enumerate(evidence["names"])
        if name.startswith(("model.dropout", "optim.weight_decay"))
    ]
    if any(evidence["kept"][place] for place in asked):
        return True
    worth = [evidence["high"][place] > evidence["smallest_gain"] for place in asked]
    return None if any(worth) or not asked else False


def _another_wins(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """The present setting is the first of the search; open where the gain may be luck."""
    if evidence["winner"] == 0:
        return False
    return True if evidence["gain"]["low"] > 0 else None


def _rate_is_first(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    shares = {path: share for path, share in evidence["importance"].items() if np.isfinite(share)}
    if "optim.learning_rate" not in shares or not sum(shares.values()) > 0:
        return None
    return max(shares, key=lambda path: shares[path]) == "optim.learning_rate"


def _averaging_wins(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """The interval of what one model loses against the mean of the seeds."""
    single = evidence["names"].index("one model")
    if evidence["high"][single] < 0:
        return True
    return False if evidence["low"][single] > 0 else None


def _scores_agree(context: Context, evidence: Mapping[str, Any]) -> bool | None:
    """Within the error that both have, at 95 %."""
    error = (evidence["high"] - evidence["low"]) / 3.92
    other = error * np.sqrt(evidence["count"] / len(context.task.validation.targets))
    apart = abs(evidence["value"] - evidence["validation"])
    return bool(apart <= 1.96 * np.hypot(error, other)) if np.isfinite(error) else None


CLAIMS = (
    Claim("data", "no bad values", ("non_finite", "corrupt")),
    Claim("data", "no leak between the splits", ("duplicates", "near_copies")),
    Claim("skeleton", "The loss starts where theory says", ("loss_at_init",)),
    Claim("skeleton", "a few examples can be learnt by heart", ("overfit_one_batch",)),
    Claim("skeleton", "inputs matter", ("input_independent",)),
    Claim("skeleton", "the network beats a constant", ("baselines",), _beats_a_constant),
    Claim("overfit", "Some rate between 1e-7 and 1 trains well", ("range_test",)),
    Claim("overfit", "more capacity lowers the training loss", ("model_ladder",), _capacity_helps),
    Claim("regularise", "Dropout or weight decay helps", ("regularisers",), _one_is_kept),
    Claim("tune", "Some setting near the present one is better", ("search",), _another_wins),
    Claim("tune", "the rate matters most", ("search",), _rate_is_first),
    Claim("squeeze", "Averaging models beats the single one", ("ensembles",), _averaging_wins),
    Claim("squeeze", "the test score agrees with validation", ("test_score",), _scores_agree),
)


def expectations(context: Context) -> Finding:
    """ENV8: what every stage expected, beside what was found."""
    found: dict[str, list[Finding]] = {}
    for each in context.findings:
        found.setdefault(each.check, []).append(each)
    told = [_tested(context, claim, found) for claim in CLAIMS]
    count = {verdict: sum(v == verdict for v, _ in told) for verdict in (HELD, FAILED, OPEN)}
    missed = [claim.says for claim, (verdict, _) in zip(CLAIMS, told) if verdict == FAILED]
    said = f"Of {len(CLAIMS)} expectations {count[HELD]} held, {count[FAILED]} did not, "
    said += f"{count[OPEN]} {'is' if count[OPEN] == 1 else 'are'} open"
    return Finding(
        check="expectations",
        row="ENV8",
        status=Status.PASS,
        summary=said + "".join(f"; not: {each}" for each in missed) + ".",
        evidence={
            "stages": [claim.stage for claim in CLAIMS],
            "claims": [claim.says for claim in CLAIMS],
            "verdicts": [verdict for verdict, _ in told],
            "why": [why for _, why in told],
        },
    )


def _tested(
    context: Context, claim: Claim, found: Mapping[str, Sequence[Finding]]
) -> tuple[str, str]:
    """(verdict, the sentence that it rests on)."""
    asked = [each for check in claim.checks for each in found.get(check, ())]
    asked = [each for each in asked if each.status != Status.SKIP]
    if not asked:
        return OPEN, "Not asked."
    worst = max(asked, key=lambda each: [*Status].index(each.status))
    if worst.status == Status.FAIL or claim.test is None:
        return (HELD if worst.status == Status.PASS else FAILED), worst.summary
    # A finding that could not be measured has no evidence.
    holds = claim.test(context, worst.evidence) if worst.evidence else None
    return {True: HELD, False: FAILED, None: OPEN}[holds], worst.summary


def stopping(context: Context) -> Finding:
    """ENV6: runs that diverged or ended early, the steps that this saved, and what an early stop
    would have done to the final runs."""
    ran = [each for each in context.ran if each.of_steps]
    steps, whole = (sum(getattr(each, name) for each in ran) for name in ("steps", "of_steps"))
    diverged = [each for each in ran if each.status == "diverged"]
    ended = [each for each in ran if each.status == "stopped"]
    lost, saved = (sum(r.of_steps - r.steps for r in each) for each in (diverged, ended))
    told = f"Of {len(ran)} training runs {len(diverged)} diverged"
    told += f" ({lost:,} steps after that are worth nothing)" if lost else ""
    told += f" and {len(ended)} ended before their time"
    told += f", which saved {saved:,} of {whole:,} steps ({saved / whole:.1%})" if saved else ""
    config = context.config
    off = [
        words
        for words, is_off in (
            ("train.patience=5", config["train"]["patience"] is None),
            ("prune.name=halving", config["prune"]["name"] == "none"),
        )
        if is_off
    ]
    told += f"; {' and '.join(off)} would end more of them" if off else ""
    evidence: dict[str, Any] = {
        "runs": len(ran),
        "diverged": len(diverged),
        "ended": len(ended),
        "steps": steps,
        "of_steps": whole,
        "saved": saved,
    }
    curves = next((each.evidence for each in context.findings if each.check == "curves"), {})
    if curves and config["train"]["patience"] is None:
        sign = context.objective.score.sign()
        scores = sign * np.asarray(curves["validation_score"], float)
        share, cost = patience(scores, np.asarray(curves["validation_loss"], float), PATIENCE)
        told += (
            f". Stopped after {PATIENCE} looks without a better score, the final runs would have "
            f"made {share:.0%} of their steps and lost {cost:.2g} of {curves['metric']}"
        )
        evidence |= {"patience": PATIENCE, "share": share, "cost": cost}
    return Finding(
        check="stopping", row="ENV6", status=Status.PASS, summary=f"{told}.", evidence=evidence
    )


def patience(
    scores: Float[np.ndarray, "runs looks"], losses: Float[np.ndarray, "runs looks"], looks: int
) -> tuple[float, float]:
    """(share of the looks, mean loss of score) if runs ended after so many looks in a row without
    a better score; more is better, ties go to the lower loss, as in training."""
    shares, costs = [], []
    for curve, loss in zip(scores, losses):
        finite = np.isfinite(curve) & np.isfinite(loss)
        if not finite.any() or len(curve) < 2:
            continue
        last = int(np.flatnonzero(finite)[-1])
        best, end = 0, last
        for look in range(1, last + 1):
            if (curve[look], -loss[look]) > (curve[best], -loss[best]) or not finite[best]:
                best = look
            if look - best >= looks:
                end = look
                break
        shares.append(end / last if last else 1.0)
        costs.append(float(np.nanmax(curve[finite]) - curve[best]))
    return (float(np.mean(shares)), float(np.mean(costs))) if shares else (1.0, 0.0)
