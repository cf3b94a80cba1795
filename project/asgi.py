"""HTTP through Django, websockets through the app."""

import os

from channels.routing import ProtocolTypeRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

# First: it sets Django up, which what follows needs.
http = get_asgi_application()

from openrouter_app.routing import lifespan_application, websocket_application  # noqa: E402

application = ProtocolTypeRouter(
    {
        # The demo serves its own static files, with DEBUG or without; a real site leaves that to
        # its web server.
        "http": ASGIStaticFilesHandler(http),
        "websocket": websocket_application,
        "lifespan": lifespan_application,
    }
)
