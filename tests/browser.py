"""The system's Chromium (or Chrome), for tests of pages.

Without one a test that asks for it is skipped, or fails where `NTK_ATLAS_NEEDS_BROWSER` is set.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[object]:
    """A headless browser of Playwright's."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    needed = os.environ.get("NTK_ATLAS_NEEDS_BROWSER")
    if found is None and not needed:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    assert found is not None, "NTK_ATLAS_NEEDS_BROWSER is set, and there is no Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
