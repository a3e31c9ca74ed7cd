"""Four simulated devices for every test; real images and a real browser for those that ask."""

import os
import pathlib
import shutil

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)

ROOT = pathlib.Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def mnist() -> pathlib.Path:
    """The folder with real MNIST images; the test is skipped where there is none."""
    folder = pathlib.Path(os.environ.get("RECIPE_JAX_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("no MNIST images here")
    return folder


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the test is skipped where none is installed, or where it does not start.

    Of a module and not of all: what drives it keeps an event loop in this thread.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-quic"]
            )
        except driver.Error as error:
            pytest.skip(f"the browser does not start here: {str(error)[:300]}")
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens an address in a fresh window; at its end nothing may have gone wrong in it, and nothing
    may have been asked of the network."""
    windows = []

    def opened(address, *, width=1280, height=900, dark=False, **fields):
        window = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **fields,
        )
        shown = window.new_page()
        shown.set_default_timeout(20_000)
        wrong = []
        shown.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("dialog", lambda box: (wrong.append(f"dialog: {box.message}"), box.dismiss()))
        shown.on("popup", lambda other: wrong.append(f"window: {other.url}"))
        front = address.partition("?")[0].rpartition("/")[0]
        shown.on(
            "request",
            lambda asked: asked.url.startswith((front, "data:")) or wrong.append(asked.url),
        )
        windows.append((window, wrong))
        shown.goto(address)
        return shown

    yield opened
    for window, wrong in windows:
        window.close()
        assert wrong == []
