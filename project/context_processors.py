"""What every page of the demo says about itself."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _


def demo_notice(request: HttpRequest) -> dict[str, str]:
    """``demo_notice``: who answers here, where it is not OpenRouter."""
    match settings.DEMO_PROVIDER:
        case "fake":
            notice = _(
                "Answers are simulated: no model is asked. Start the demo with OPENROUTER_API_KEY set to "
                "talk to OpenRouter, or with MODEL=local for a small model on this machine."
            )
        case "local":
            notice = _("A very small model on this machine answers. It is real, and it is often wrong.")
        case "server":
            notice = _("Answers come from %(url)s.") % {"url": settings.OPENROUTER["BASE_URL"]}
        case _:
            notice = ""
    return {"demo_notice": notice}
