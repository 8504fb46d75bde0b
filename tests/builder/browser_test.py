# SPDX-License-Identifier: Apache-2.0
"""The model builder's notebook in Chromium, served by Voila."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "model_builder.ipynb"
SECONDS = 120
"""Timeout of each wait: the machine may be busy."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serves the notebook and returns its address."""
    pytest.importorskip("voila", reason="no voila here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("voila")
    log = folder / "log.txt"
    command = [
        *(sys.executable, "-m", "voila", NOTEBOOK, "--no-browser"),
        *(f"--port={port}", "--Voila.ip=127.0.0.1"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    how = {"cwd": folder, "env": environment, "start_new_session": True}
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, **how)
    url = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + SECONDS
        while not _answers(f"{url}voila/static/"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # whatever it says
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def page(chromium, address):
    """Opens the page and waits until its example is trained."""
    page = chromium.new_page(viewport={"width": 1100, "height": 1700})
    page.set_default_timeout(1000 * SECONDS)
    page.goto(address)
    page.get_by_role("button", name="Train").wait_for()
    return page


def fits(page):
    """Waits until the builder is no wider than a desktop, and than a phone."""
    whole = page.locator(".nnlab-builder").element_handle()
    for width, height in ((400, 3400), (1100, 1700)):
        page.set_viewport_size({"width": width, "height": height})
        narrow = "([e, width]) => e.getBoundingClientRect().width <= width"
        page.wait_for_function(narrow, arg=[whole, width])


def wait(page, condition, argument=None):
    """Waits until a JavaScript function returns something true, and returns it."""
    return page.wait_for_function(condition, arg=argument).json_value()


def test_a_model_is_built_mended_trained_and_stopped(page):
    error, fine = page.locator(".nnlab-error"), page.locator(".nnlab-fine")

    # An invalid model says why.
    page.get_by_label("begin with").select_option("dense on images (invalid)")
    error.wait_for()
    assert error.inner_text() == (
        "layer 3 (dense_0): got shape (4, 4, 8), needs a flat vector (128,); put a "
        "flatten layer before it"
    )
    rows = page.locator(".nnlab-row")
    assert rows.nth(2).locator(".nnlab-shape").inner_text() == "(4, 4, 8)"
    assert "nnlab-bad" in rows.nth(3).get_attribute("class")
    assert page.get_by_role("button", name="Train").is_disabled()
    fits(page)

    # Once mended, it says at once how good it is without training.
    rows.nth(2).get_by_title("insert a layer below this one").click()
    rows.nth(4).wait_for()
    rows.nth(3).locator("select").first.select_option("flatten")
    error.wait_for(state="detached")
    assert fine.first.inner_text().startswith("Valid: 1,370 parameters")
    page.get_by_text("test examples right").wait_for()
    assert page.get_by_label("begin with").input_value() == "(a stack of your own)"

    # It trains, and its curves move.
    page.get_by_label("epochs").fill("100000")
    page.get_by_label("learning rate").fill("0.01")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("Run 2: conv 8").wait_for()
    stop = page.get_by_role("button", name="Stop")
    seen = set()
    while len(seen) < 3:
        seen.add(
            wait(
                page,
                """seen => {
                    const image = document.querySelector('.nnlab-plots img');
                    return image && !seen.includes(image.src) && image.src;
                }""",
                list(seen),
            )
        )
    accuracy = """() => {
        const said = [...document.querySelectorAll('.nnlab-fine')].pop().innerText;
        const found = /^At epoch .*test accuracy ([0-9.]+)/.exec(said);
        return found && found[1] > 50 && said;
    }"""
    assert "(n = 8)" in wait(page, accuracy)
    page.get_by_text("examples/s").wait_for()
    assert page.locator(".nnlab-card").count() == 6
    fits(page)

    # It can be stopped.
    stop.click()
    page.get_by_text("Stopped after epoch").wait_for()
    wait(page, "() => !document.querySelector('progress')")
    assert stop.is_disabled()
    assert page.get_by_role("button", name="Train").is_enabled()
    last = page.locator(".nnlab-plots img").first.get_attribute("src")
    page.wait_for_timeout(1500)
    assert page.locator(".nnlab-plots img").first.get_attribute("src") == last
    assert page.locator(".nnlab-runs tbody tr").count() == 2

    # Its report opens in place, and can be saved.
    page.get_by_role("button", name="Write report").click()
    page.get_by_text("Open the report").click()
    frame = page.frame_locator("iframe[title=report]")
    frame.get_by_role("heading", name="How good is conv 8").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the report").click()
    assert download.value.suggested_filename == "nnlab-run-2.html"
    assert "How good is conv 8" in pathlib.Path(download.value.path()).read_text()

    # The first run is beside it in the plots, until it is cleared.
    page.get_by_role("button", name="Clear curves").click()
    changed = "last => document.querySelector('.nnlab-plots img').src !== last"
    wait(page, changed, last)

    # It says that networks diverged.
    page.get_by_label("epochs").fill("5")
    page.get_by_label("learning rate").fill("1e30")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("8 of 8 networks diverged, the first").wait_for()
    first, second = page.locator(".nnlab-note").all_inner_texts()
    assert first.endswith("all networks have diverged.")
    assert "rate 1e+30 is too high for this stack; try a tenth, 1e+29" in second
