"""What axe-core finds on a page: nothing, or a sentence for each rule that is broken."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def problems(page: Page) -> list[str]:
    """The rules that are broken, each with the first elements that break it."""
    # a colour that is on its way to another one has no contrast yet
    page.evaluate(
        "() => document.getAnimations().filter((moving) => moving instanceof CSSTransition)"
        ".forEach((moving) => moving.finish())"
    )
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: " + "; ".join(node["html"][:160] for node in rule["nodes"][:3])
        for rule in found
    ]
