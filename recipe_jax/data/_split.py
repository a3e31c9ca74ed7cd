"""Who goes where: splits and orders that follow from the content of the examples alone.

An example's content is hashed; equal inputs have equal hashes and stay together. The distinct
inputs of a stratum (a class, or a tenth of the range of a quantity) are ordered by hash, and that
order is cut at the fractions. So neither file order nor the training seed can move an example, and
rows added later move only those next to a cut.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = {"training": TRAIN, "validation": VALIDATION, "test": TEST}


def digests(raw: np.ndarray | Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """(examples, 2) uint64: half of the SHA-256 of the seed and each example's content."""
    prefix = f"{seed}:".encode()
    rows = _table_rows(raw) if isinstance(raw, Mapping) else map(_number_bytes, raw)
    joined = b"".join(hashlib.sha256(prefix + row).digest()[:16] for row in rows)
    return np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)


def _number_bytes(values: np.ndarray) -> bytes:
    # Adding zero makes -0.0 the same content as 0.0.
    return (np.asarray(values, "<f8") + 0.0).tobytes()


def _table_rows(raw: Mapping[str, np.ndarray]) -> list[bytes]:
    """Each row as bytes, whatever the order of the columns."""
    names = sorted(raw)
    numeric = [raw[name] for name in names if raw[name].dtype != object]
    text = [raw[name] for name in names if raw[name].dtype == object]
    num_rows = len(raw[names[0]])
    numbers = np.stack(numeric, axis=1) if numeric else np.zeros((num_rows, 0))
    # One NaN for all missing cells: their bits may differ.
    numbers = np.where(np.isnan(numbers), np.nan, numbers)
    return [
        _number_bytes(row) + repr([column[i] for column in text]).encode()
        for i, row in enumerate(numbers)
    ]


def class_strata(group: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The stratum of each group of equal inputs: its rarest class, so that rare ones are spread."""
    counts = np.bincount(classes)
    rarity = np.empty(len(counts), np.int64)
    rarity[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    strata = np.full(group.max() + 1, len(counts))
    np.minimum.at(strata, group, rarity[classes])
    return strata


def quantity_strata(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The stratum of each group: which of up to ten equally full bins its target falls in."""
    num_groups = group.max() + 1
    lowest = np.full(num_groups, np.inf)
    np.minimum.at(lowest, group, values)
    num_bins = int(np.clip(num_groups // 10, 1, 10))
    strata = np.empty(num_groups, np.int64)
    # Groups are numbered by hash, so a stable sort breaks ties by hash.
    strata[np.argsort(lowest, kind="stable")] = np.arange(num_groups) * num_bins // num_groups
    return strata


def cut(strata: np.ndarray, *, validation: float, test: float) -> np.ndarray:
    """TRAIN, VALIDATION or TEST for each group (numbered by hash): per stratum, the first
    round(test * size) and the next round(validation * size); none is left empty if three exist."""
    parts = np.full(len(strata), TRAIN)
    for members in by_value(strata):
        size = len(members)
        num_test = min(max(1, round(test * size)), max(size - 2, 0))
        num_validation = min(max(1, round(validation * size)), max(size - num_test - 1, 0))
        parts[members[:num_test]] = TEST
        parts[members[num_test : num_test + num_validation]] = VALIDATION
    return parts


def cut_in_order(order: np.ndarray, *, validation: float, test: float) -> np.ndarray:
    """TRAIN, VALIDATION or TEST for each example: the last round(test * n) by `order` are TEST, the
    round(validation * n) before them VALIDATION; examples of one place stay together, in the later
    part."""
    count, ordered = len(order), np.sort(order)
    num_test = max(1, round(test * count))
    num_validation = max(1, round(validation * count))
    parts = np.full(count, TRAIN)
    parts[order >= ordered[max(0, count - num_test - num_validation)]] = VALIDATION
    parts[order >= ordered[max(0, count - num_test)]] = TEST
    return parts


def by_value(strata: np.ndarray) -> list[np.ndarray]:
    """Positions of each value, ascending."""
    order = np.argsort(strata, kind="stable")
    starts = np.flatnonzero(np.diff(strata[order])) + 1
    return [members for members in np.split(order, starts) if len(members)]


def interleave(strata: Sequence[np.ndarray]) -> np.ndarray:
    """One order in which every prefix holds the strata in nearly their proportions."""
    if not strata:
        return np.zeros(0, np.int64)
    members = np.concatenate(strata)
    share = np.concatenate([(np.arange(len(m)) + 0.5) / len(m) for m in strata])
    return members[np.lexsort((members, share))]
