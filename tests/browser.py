"""A real browser without a window, for pages that must work when they are opened from disk."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
TIMEOUT_SECONDS = 90


def find_browser() -> str | None:
    """The first Chromium or Chrome on PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


needs_browser = pytest.mark.skipif(find_browser() is None, reason=f"no browser on PATH ({', '.join(NAMES)})")


def dump_dom(path: Path, *flags: str) -> str:
    """The document of a local page after it has loaded, as HTML."""
    return _run(path, "--dump-dom", *flags)


def screenshot(path: Path, png: Path, width: int, height: int, *flags: str) -> None:
    """The first `height` rows of a local page in a window of that size, as a PNG file."""
    _run(path, f"--screenshot={png}", f"--window-size={width},{height}", *flags)
    assert png.is_file(), "the browser wrote no screenshot"


def _run(path: Path, *flags: str) -> str:
    browser = find_browser()
    assert browser is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, path.resolve().as_uri()]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
        )
        try:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it has children that would outlive it
            process.communicate()
            raise
        assert process.returncode == 0, err[-2000:]
        return out
