"""No file makes a reader crash, hang or hoard memory; scripts/soak.py asks for far longer."""

import numpy as np
import pytest
from fuzzing import HOSTILE_YAML, READERS, Reader, outcome
from hypothesis import HealthCheck, given, settings

from recipe_jax import config as configs
from recipe_jax.types import UserError

CASES = 115
"""Of each reader: 2,000 in all."""
USUAL = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_any_file_is_read_or_refused_in_one_sentence(reader, tmp_path):
    ended = []

    @USUAL
    @given(reader.files)
    def fuzz(content):
        ended.append(outcome(reader, content, tmp_path))

    fuzz()
    assert len(ended) >= CASES and set(ended) == {"read", "refused"}


def test_there_are_enough_cases():
    assert CASES * len(READERS) >= 2000


def test_what_goes_wrong_is_noticed(tmp_path):
    """The judge of all these cases, on readers that are bad on purpose."""

    def crashes(path):
        raise KeyError("x")

    def babbles(path):
        raise UserError("two\nlines")

    def hoards(path):
        np.zeros(200 * 2**20, np.uint8)

    for bad, told in ((crashes, KeyError), (babbles, AssertionError), (hoards, AssertionError)):
        with pytest.raises(told):
            outcome(Reader("bad", "", bad, READERS[0].files), b"", tmp_path)


def test_a_reader_that_hangs_is_noticed(tmp_path, monkeypatch):
    clock = iter((0.0, 9.0))
    monkeypatch.setattr("fuzzing.time.monotonic", lambda: next(clock))
    with pytest.raises(AssertionError, match=r"9\.0 s"):
        outcome(Reader("slow", "", lambda path: None, READERS[0].files), b"", tmp_path)


@pytest.mark.parametrize("text", HOSTILE_YAML[:1])
def test_yaml_builds_no_objects(tmp_path, text):
    (tmp_path / "c.yaml").write_bytes(text)
    with pytest.raises(UserError, match="could not determine a constructor"):
        configs.load(str(tmp_path / "c.yaml"))
