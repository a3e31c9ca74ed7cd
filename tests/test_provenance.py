"""Where a result comes from: with git, without it, and with too much of it."""

import json
import pathlib
import shutil
import subprocess

import jax
import pytest

from recipe_jax import provenance, writers

NOTHING = {"commit": None, "dirty": None, "diff": None, "diff_cut": None, "untracked": None}
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("a = 1\n")
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *command], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")


def test_it_is_strict_json_and_has_no_clock():
    first, second = (writers.to_json(provenance.provenance(["run", "--x"])) for _ in range(2))
    told = json.loads(first)
    assert first == second
    assert told["command"] == ["run", "--x"]
    assert told["packages"]["jax"] == jax.__version__
    assert told["devices"]["count"] == jax.device_count()
    assert told["devices"]["kind"] == jax.devices()[0].device_kind
    assert len(told["code"]) == 64


def test_flags_that_change_the_bits_are_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    assert provenance.provenance([])["xla_flags"] == "--xla_cpu_enable_fast_math=false"


@needs_git
def test_a_clean_repository_is_its_commit(repository):
    told = provenance.git_state(repository)
    assert told["commit"] == git(repository, "rev-parse", "HEAD")
    assert (told["dirty"], told["diff"], told["diff_cut"], told["untracked"]) == (
        False,
        "",
        False,
        [],
    )


@needs_git
def test_the_diff_restores_the_code(repository):
    (repository / "a.py").write_text("a = 2  # größer\n")
    (repository / "b.py").write_text("b = 1\n")
    told = provenance.git_state(repository)
    assert told["dirty"] and told["untracked"] == ["b.py"]
    git(repository, "checkout", "-q", "a.py")
    subprocess.run(["git", "-C", repository, "apply"], input=told["diff"].encode(), check=True)
    assert (repository / "a.py").read_text() == "a = 2  # größer\n"


@needs_git
def test_a_large_diff_is_cut_and_says_so(repository):
    (repository / "a.py").write_text("a = 'ß'\n" * 100_000)
    told = provenance.git_state(repository)
    assert told["diff_cut"] and "cut here" in told["diff"].splitlines()[-1]
    assert (
        0.9 * provenance.MAX_DIFF_BYTES
        < len(told["diff"].encode())
        < provenance.MAX_DIFF_BYTES + 100
    )


@needs_git
def test_a_repository_without_a_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a = 1\n")
    told = provenance.git_state(tmp_path)
    assert (told["commit"], told["dirty"], told["diff"], told["untracked"]) == (
        None,
        True,
        "",
        ["a.py"],
    )


def test_no_repository_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state(tmp_path) == NOTHING
    assert provenance.git_state(None) == NOTHING


def test_no_git_is_no_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.provenance([])["git"] == NOTHING


@needs_git
def test_an_installed_package_points_to_the_repository_of_the_caller(repository, monkeypatch):
    # The package lies inside the repository, but is no part of it: a virtual environment.
    installed = repository / "venv" / "recipe_jax"
    installed.mkdir(parents=True)
    (installed / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "ROOT", installed)
    monkeypatch.chdir(repository)
    assert provenance.provenance([])["git"]["commit"] == git(repository, "rev-parse", "HEAD")
    monkeypatch.chdir(repository.parent)
    assert provenance.provenance([])["git"] == NOTHING
    commit(repository)
    assert provenance.provenance([])["git"]["commit"] == git(repository, "rev-parse", "HEAD")


def test_the_digest_of_code_sees_content_and_names(tmp_path):
    def digest(**files):
        folder = tmp_path / "_".join(files)
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return provenance.code_digest(pathlib.Path(folder))

    same = digest(a="1", b="2")
    assert digest(a="1", b="2") == same
    assert digest(a="1", b="3") != same
    assert digest(a="12", c="") != same
