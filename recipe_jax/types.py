"""The nouns: what a model, an objective, a task, a trial, a finding and a stage are.

Bundles of functions and states are NamedTuples (states hold arrays only, so that they can be
vmapped, donated, sharded and saved without a special case); records are frozen dataclasses.
"""

import dataclasses
import enum
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

PyTree = Any
"""Any nest of tuples, lists, dicts and NamedTuples with arrays at its leaves."""


class UserError(ValueError):
    """Something the user can mend: one sentence that names it and the remedy; exit code 2."""


# --- What is trained -------------------------------------------------------------------------


class Model(NamedTuple):
    """A network as two pure functions.

    init: (key) -> (params, model_state)
    apply: (params, model_state, inputs, *, key, train) -> (outputs, model_state)

    `inputs` is one batch, `outputs` has shape (batch, spec.num_outputs), for next_token (batch,
    window, spec.num_outputs); `model_state` holds what is carried but not learnt, such as batch
    statistics ({} where there is none).

    begin: (batch_size) -> what a model of text carries from batch to batch where so many texts
    begin. Its `apply` finds that at model_state["carried"], and leaves there what it carries on;
    where that is missing it begins. Batches then read on row by row.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    begin: Callable[[Any], Any] | None = None

    def begun(self, model_state: Any, batch_size: Any) -> Any:
        """The state at the beginning of `batch_size` texts (a symbolic number in exports)."""
        if self.begin is None:
            return model_state
        return {**model_state, "carried": self.begin(batch_size)}

    def kept(self, model_state: Any) -> Any:
        """The state that belongs to the weights: without what a text left behind."""
        if self.begin is None:
            return model_state
        return {name: part for name, part in model_state.items() if name != "carried"}


class Score(NamedTuple):
    """The metric that decides between models, and whether more of it is better."""

    metric: str
    maximise: bool

    def sign(self) -> float:
        """+1 where more is better, -1 where less is."""
        return 1.0 if self.maximise else -1.0


class Objective(NamedTuple):
    """What outputs are judged by.

    loss: (outputs, targets) -> one number per example, shape (batch,); reducing is not its task
    metrics: a clu.metrics.Collection class; `metrics.single_from_model_output(outputs=, targets=,
        loss=, mask=)` gives sums and counts that merge exactly; always has a metric named "loss"
    predict: (outputs) -> what a person is told: probabilities (batch, classes), or values in the
        target's own units (batch, outputs)
    perfect: (targets) -> the outputs of a model that knows the answer
    loss_at_init: the expected loss of a model that knows only the training prior
    score: the metric that decides
    l2: strength of the penalty l2/2 * |weights|^2, added as its gradient; biases and norms excluded
    """

    loss: Callable[..., Any]
    metrics: Any
    predict: Callable[..., Any]
    perfect: Callable[..., Any]
    loss_at_init: float
    score: Score
    l2: Any


class Plateau(NamedTuple):
    """A schedule of constant height whose rate is cut when validation stalls (state is per lane).

    factor: what the rate is multiplied by; patience: evaluations without a better score before
    that happens; floor: the scale is never cut below it.
    """

    factor: Any
    patience: int
    floor: Any

    def __call__(self, step: Any) -> float:
        """The height at any step; cuts come from TrainState.rate_scale."""
        return 1.0


class Experiment(NamedTuple):
    """What would be trained, complete and pure.

    Built inside the trace from one lane's numbers. `schedule` maps a step to the height that the
    optimiser's updates are multiplied by; `augment` is (key, inputs, targets) -> both.
    """

    model: Model
    objective: Objective
    optimizer: Any
    schedule: Callable[..., Any]
    augment: Callable[..., Any]


class Best(NamedTuple):
    """The best weights seen by one lane, by validation score; ties go to the lower loss."""

    score: Float[Array, ""]
    loss: Float[Array, ""]
    step: Int[Array, ""]
    params: PyTree
    model_state: PyTree


class TrainState(NamedTuple):
    """All that one lane carries from step to step. Arrays only.

    rate_scale: product of the plateau's cuts; stalled: evaluations since the best one (for the
    early stop); since_cut: evaluations since the best one or the last cut; stopped: the early stop
    fired, and the lane is frozen.
    """

    step: Int[Array, ""]
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    rate_scale: Float[Array, ""]
    stalled: Int[Array, ""]
    since_cut: Int[Array, ""]
    stopped: Bool[Array, ""]
    best: Best


class View(NamedTuple):
    """What a lane sees of the training data.

    num_examples: it trains on that many, the first of the split (which is in random order);
    show_inputs: False replaces every input by zeros, for the input-independent baseline;
    held_out: the first example of the fold that is validated on, where there are folds.
    """

    num_examples: Int[Array, ""] | int
    show_inputs: Bool[Array, ""] | bool
    held_out: Int[Array, ""] | int = 0


class Sampling(NamedTuple):
    """How a lane's training examples come from the split; static.

    folds: of so many equal parts of the training split one is left out, and stands in for the
    validation split (0: no folds); resampled: a bootstrap, as many examples drawn with replacement;
    classes: each of so many has the same share of every batch (0: as they come).
    """

    folds: int = 0
    resampled: bool = False
    classes: int = 0


class Lane(NamedTuple):
    """What differs from lane to lane of one program; all of it is traced.

    numbers: "section.keyword" -> value, the float keywords of the step's plug-ins.
    """

    seed: UInt32[Array, ""]
    numbers: dict[str, Float[Array, ""]]
    view: View


# --- Data ------------------------------------------------------------------------------------


class Arrays(NamedTuple):
    """Examples as arrays, axis 0 the example.

    Targets are (n,) int32 classes, (n, k) float32 quantities, or (n, window) int32 tokens with -1
    where nothing is asked.
    """

    inputs: Any
    targets: Any


class Split(NamedTuple):
    """Examples with their names: `ids` are what a person can find again (row number, file)."""

    inputs: np.ndarray
    targets: np.ndarray
    ids: np.ndarray

    @property
    def arrays(self) -> Arrays:
        """Without the names."""
        return Arrays(self.inputs, self.targets)

    def first(self, count: int | None) -> "Split":
        """Its first `count` examples; all of them for None."""
        return Split(self.inputs[:count], self.targets[:count], self.ids[:count])

    def digests(self) -> list[bytes]:
        """The SHA-256 of every input: equal inputs have equal ones."""
        rows = np.ascontiguousarray(self.inputs)
        return [hashlib.sha256(row.tobytes()).digest() for row in rows]

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over examples, of every number of an input."""
        return self.inputs.mean(0, dtype=np.float64), self.inputs.std(0, dtype=np.float64)


class Sealed:
    """A split that can be counted, and whose inputs can be hashed and averaged; labels, scores and
    single inputs are seen only by opening it, with a reason that is recorded."""

    def __init__(self, split: Split):
        self._split = split
        self.num_examples = len(split.inputs)

    def digests(self) -> list[bytes]:
        """As `Split.digests`: finds copies of its inputs in other splits."""
        return self._split.digests()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Split.moments`: tells whether its inputs lie where those of other splits do."""
        return self._split.moments()

    def open(self, record: Callable[[], None]) -> Split:
        """The split; `record` is called first, and is where the opening is written down."""
        record()
        return self._split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """What a model has to fit: shapes and the training prior. Hashable, so programs can be cached.

    kind: "classification", "regression" or "next_token"; prior: class or token frequencies in the
    training split, or zeros (standardised targets); target_scale: standard deviation of each target
    in its own units; input_dtype: "float32", or "int32" where inputs are numbers of tokens;
    class_weights: what the loss weighs classes by where the data section asks for it, else ().

    next_token: input_shape is (window,), inputs are (batch, window) token numbers, num_outputs is
    the size of the vocabulary, outputs are (batch, window, num_outputs): those at a position may
    depend on the tokens up to it, and predict the one after it.
    """

    kind: str
    input_shape: tuple[int, ...]
    num_outputs: int
    prior: tuple[float, ...]
    target_scale: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    input_dtype: str = "float32"
    class_weights: tuple[float, ...] = ()

    @property
    def prior_outputs(self) -> np.ndarray:
        """The outputs that know the training prior alone: centred log frequencies, or zeros.

        A class that is missing from training counts as one in ten thousand: its log stays finite.
        """
        if self.kind == "regression":
            return np.zeros(self.num_outputs)
        logits = np.log(np.maximum(np.asarray(self.prior, np.float64), 1e-4))
        return logits - logits.mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A prepared dataset: splits, what they mean, and the sealed test split.

    modality: "image" (inputs are (height, width, channels)), "sequence" (inputs are (time,
    features)), "table" or "text" (inputs are windows of tokens, class_names the symbols); encoder
    turns raw examples into inputs (and back, for showing); class_names is empty for regression;
    notes are findings made while reading, such as imputed cells; fingerprint is the SHA-256 of
    examples and splits, held_fingerprint of what is held out of training alone, as it was read;
    available: how many examples were read, before classes, a sample or a fraction were chosen
    (0: not known); split: what chose those held out, the "hash" of their content, the hash of the
    "group" that they belong to, or their "order", and split_by, by what that is known.
    """

    name: str
    spec: Spec
    train: Split
    validation: Split
    test: Sealed
    modality: str
    encoder: Any
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    target_names: tuple[str, ...]
    fingerprint: str
    notes: tuple["Finding", ...] = ()
    held_fingerprint: str = ""
    available: int = 0
    split: str = "hash"
    split_by: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person said of one validation example; a line of human.jsonl.

    fingerprint: of the task; place: of the example in the validation split, whose order the
    fingerprint fixes; example: its name there; answer: the name of a class, the values in the
    targets' own units, or None for "I cannot tell"; spent_seconds: from seeing it to answering;
    note: where the person looked.
    """

    fingerprint: str
    person: str
    place: int
    example: str
    answer: str | tuple[float, ...] | None
    spent_seconds: float
    note: str = ""


# --- Trials ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run: settings that differ from the config, a seed, and a view of the data.

    fold: (number, of how many), it trains without that fold of the training split and is validated
    on it; resampled: it trains on a bootstrap of its examples; goes_on: "uid@round" of the trial
    whose state it took over, where that was another one.
    """

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    num_examples: int | None = None
    show_inputs: bool = True
    fold: tuple[int, int] | None = None
    resampled: bool = False
    goes_on: str = ""

    @property
    def uid(self) -> str:
        """A name made of what the trial is; it breaks ties and never enters a random key."""
        content = [
            dict(sorted(self.settings.items())),
            self.seed,
            self.num_examples,
            self.show_inputs,
            self.fold,
            self.resampled,
            self.goes_on,
        ]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]


class Result(NamedTuple):
    """What one trial gave, as host arrays.

    steps: (evaluations,) where the history was taken, the first at step 0
    history: "split/metric" -> (evaluations,); rows after an early stop are NaN
    losses: (steps,) of the training batches; grad_norms: (rounds,) at the last step of each
    best_score, best_step: by the objective's score on validation; NaN and 0 when never finite
    status: "done", "stopped" (early) or "diverged"
    first_bad_step: first training step with a non-finite loss, or the last one where only the
    evaluation after it shows the harm; else None
    weights: (params, model_state), where the request kept them
    rounds: (done, of how many); fewer where it was asked to pause
    place: names the stored state that it can go on from, where it paused
    watched: (evaluations, examples, ...) outputs for the first validation examples, where the
        request watched so many; NaN after an early stop
    """

    trial: Trial
    steps: np.ndarray
    history: dict[str, np.ndarray]
    losses: np.ndarray
    grad_norms: np.ndarray
    best_score: float
    best_step: int
    status: str
    first_bad_step: int | None
    num_params: int
    weights: PyTree | None
    rounds: tuple[int, int]
    place: tuple[str, int] | None = None
    watched: np.ndarray | None = None


class Blend(NamedTuple):
    """Trained models as one: the mean of what they predict, each with its share.

    members: results that hold weights, of one setting or of several; shares: (members,), they sum
    to 1; none means equal ones; temperature: what the logits of the mean are divided by (1 where
    values are predicted).
    """

    members: Sequence[Result]
    shares: tuple[float, ...] = ()
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trials:
    """A stage asks: train these. Answered by one Result a trial, in order.

    epochs: how long, of the full training split, at the trial's own batch size; evaluations: how
    often to look at train and validation on the way; keep: which weights the results hold, "best"
    (by validation), "last" or none (""). Zero epochs give the weights and look at the start. watch:
    the outputs for so many validation examples are kept from every look; that takes a program of
    its own, so those of other requests do nothing for it.

    pauses: rounds (of training and a look) after which it may be decided what goes on: training
    stops at the next of them. after: the results whose states these trials go on from, one a trial
    and all from one request; a trial's settings may have other numbers than that result's.

    lasting: states at the end stay on disk where the schedule can go on, so that longer trials may
    go on from them in a later run. paced: rounds are as long as those of a run of so many epochs.
    """

    label: str
    trials: tuple[Trial, ...]
    epochs: int
    evaluations: int | None = None
    keep: str = ""
    watch: int = 0
    pauses: tuple[int, ...] = ()
    after: tuple[Result, ...] = ()
    lasting: bool = False
    paced: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A stage tells: these settings of its search are measured. Written to study.log.

    name: of the search; axes: what it searches over (search/base.py), or (); settings: each
    "section.key" -> value; scores: of the metric that decides, NaN where a run diverged; maximise:
    whether more of it is better; uids: the name of each setting's first trial.
    """

    name: str
    axes: tuple[Any, ...]
    settings: Sequence[Mapping[str, Any]]
    scores: Sequence[float]
    maximise: bool
    uids: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """A stage asks: what do these trained models give on this split?

    Answered by (outputs (trials, examples, num_outputs), Split). Split "test" breaks the seal: that
    needs a reason, and is counted in run.json. first: only the first so many examples of the split.
    """

    label: str
    results: Sequence[Result]
    split: str
    reason: str = ""
    first: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """A stage asks: how well does each of these trained models answer each example?

    Answered by the metric that decides, of every example by itself: (trials, examples); where that
    has no value for one example alone (r2), of the whole split: (trials, 1).

    permuted: groups of numbers of an input, by their places in it laid out flat. For each group
    these numbers are taken from another example, by a permutation of the trial's own; the answer is
    then (trials, groups, examples). first: only the first so many examples of the split.
    """

    label: str
    results: Sequence[Result]
    split: str
    permuted: tuple[tuple[int, ...], ...] = ()
    first: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """A stage asks: what does this model write on its own?

    Answered by one text a prompt: the prompt, and `length` tokens more. temperature: what logits
    are divided by before drawing; 0 takes the likeliest token.
    """

    label: str
    model: Blend
    prompts: tuple[str, ...]
    length: int
    temperature: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
    """A stage asks: where did this run, which diverged, leave the finite? It is trained again up to
    there. Answered by a Breaking; by None where that does not happen again within its round."""

    result: Result


class Breaking(NamedTuple):
    """Where training left the finite.

    step: the first with a number that is not finite; way: "forward" (activations or loss),
    "gradient", "update" (the weights after it) or "weights" (those before it); layer: the one that
    it was seen in first, by its place among the weights, "" where it depends on none; largest: the
    largest absolute value among that layer's weights before the step.
    """

    step: int
    way: str
    layer: str
    largest: float


# --- Findings --------------------------------------------------------------------------------


ENDED = ("done", "gate closed")
"""What run.json calls a run that came to its end, by its last stage or by a finding that closed the
gate."""


class Status(enum.StrEnum):
    """How a question was answered; the order is the severity."""

    PASS = "PASS"
    SKIP = "SKIP"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer: a sentence with the numbers in it, and what it rests on.

    check: name of the question, also of the figure that draws its evidence; row: ids in the recipe
    ("SKEL6"; several are joined by a space); fault: what it points to ("D2"), or "".
    certainty: what it rests on: "exact" (no threshold but rounding), "statistical" (a stated
    level), "heuristic" (a rule of thumb) or "outcome" (it did not work, whatever the reason)
    explains: faults that this one makes appear beside it
    """

    check: str
    row: str
    status: Status
    summary: str
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remedy: str = ""
    fault: str = ""
    certainty: str = ""
    explains: tuple[str, ...] = ()


class Asked(NamedTuple):
    """A stage tells: what came of questions that belong together, each a finding of its own.

    about: what they ask about; a console tells those that passed in one line.
    """

    about: str
    findings: Sequence[Finding]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What a stage hands to the next: settings to go on with, and the sentence that says why.

    model: what the run leaves behind, as far as this stage can tell; candidates: the settings that
    did best in its search, the best first, each with all that a trial of it is told.
    """

    summary: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: Blend | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()


def judge(
    healthy: bool | np.bool_, summary: str, *, otherwise: Status = Status.FAIL, **fields: Any
) -> Finding:
    """A finding that passes when `healthy`; when not, it has the status `otherwise`, and names the
    fault and the remedy."""
    if healthy:
        fields |= {"remedy": "", "fault": ""}
        return Finding(status=Status.PASS, summary=summary, **fields)
    return Finding(status=otherwise, summary=summary, **fields)


def num_params(params: PyTree) -> int:
    """How many numbers are learnt."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
