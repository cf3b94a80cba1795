"""Finds a Chromium for the browser tests, or installs one: ``python -m tests.browser.chromium --install``.

One that is there is taken. Otherwise Debian's package is installed when we are root, else
Playwright's own build for this user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The path of a Chromium on this machine; ``CHROMIUM`` names one explicitly."""
    if named := os.environ.get("CHROMIUM"):
        return named
    return next(filter(None, map(shutil.which, NAMES)), None) or _of_playwright()


def _of_playwright() -> str | None:
    """Playwright's own build, where it is installed and its driver runs at all."""
    from playwright.sync_api import sync_playwright

    if not _driver_runs():
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def _driver_runs() -> bool:
    """Playwright is driven through a Node.js of its own, which a bare system may lack a library for."""
    from playwright._impl._driver import compute_driver_executable

    node, _ = compute_driver_executable()
    return subprocess.run([node, "--version"], check=False, capture_output=True).returncode == 0


def install() -> str | None:
    """Make sure there is one; answers its path, or None where it could not be had."""
    found, runs = find(), _driver_runs()
    if found and runs:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [*([] if found else ["chromium"]), *([] if runs else ["libatomic1"])]
        print(f"Installing Debian's {' and '.join(packages)} for the browser tests ...", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=False, **quiet)
    elif runs:
        print("Installing Playwright's Chromium for the browser tests ...", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    return find() if _driver_runs() else None


if __name__ == "__main__":
    path = install()
    print(f"Chromium: {path}" if path else "There is no Chromium: the browser tests will be skipped.")
