"""Finding what a path names: a missing or empty file is one sentence with the nearest name."""

import difflib
import pathlib

from recipe_jax.types import UserError


def locate(path: str, *, key: str, folder: bool = False) -> pathlib.Path:
    """The file (or, where `folder` allows it, folder) that config key `key` names; never empty."""
    if not path:
        raise UserError(f"{key} is empty; set it to the file to read.")
    found = pathlib.Path(path)
    try:
        if not found.exists():
            raise UserError(f"{key}: there is no file {path!r}{_nearest(found)}.")
        if found.is_dir():
            if folder:
                return found
            raise UserError(
                f"{key}: {path} is a folder; name a file in it (class folders of images are "
                "data.name=images)."
            )
        if found.stat().st_size == 0:
            raise UserError(f"{key}: {path} is empty (0 bytes); save it again.")
        with found.open("rb"):
            return found
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{key}: {path!r} cannot be read ({reason}).") from error


def _nearest(missing: pathlib.Path) -> str:
    """The most similar name in the same folder, as the end of a sentence."""
    if not missing.parent.is_dir():
        return f" (nor a folder {missing.parent})"
    names = sorted(entry.name for entry in missing.parent.iterdir())
    close = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.5)
    return f"; the nearest is {missing.parent / close[0]}" if close else ""
