"""Settings of the demo site and of the tests.

Everything has a default: they work without any environment and write nothing. What a host project
copies from here is the end: ``OPENROUTER``, the channel layer, and the policy `project.csp` sends.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import get_type_hints

import environ

from openrouter_app.conf import Settings

from . import hosts, var

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
HOST = env.str("HOST", default="127.0.0.1")

SECRET_KEY = env.str("SECRET_KEY", default="") or var.secret_key()
# Debug pages show settings and locals: for this machine's own eyes only.
DEBUG = hosts.is_loopback(HOST) and env.bool("DEBUG", default=True)
# Never every host: the websocket's same-host rule stands on this list.
ALLOWED_HOSTS = [
    *hosts.allowed_hosts(HOST),
    *(name for name in env.list("ALLOWED_HOSTS", default=[]) if name != "*"),
]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "openrouter_app",
    "project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "project.context_processors.demo_notice",
            ],
        },
    },
]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{var.VAR / 'demo.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        # A transaction that reads and then writes must not find the lock taken half-way, and readers
        # must not wait for the writer.
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    )
    # A file, as in production: an in-memory database shared between threads locks whole tables.
    DATABASES["default"]["TEST"] = {
        "NAME": str(Path(tempfile.gettempdir()) / f"openrouter-app-test-{os.getpid()}.sqlite3")
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/"

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
SESSION_COOKIE_NAME = "openrouter_demo_session"
CSRF_COOKIE_NAME = "openrouter_demo_csrf"
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"openrouter_app": {"handlers": ["console"], "level": "INFO"}},
}

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if layer_url := env.str("CHANNEL_LAYER_URL", default=""):
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py gives up on a socket after five silent seconds, and every page that waits is silent.
        "CONFIG": {"hosts": [{"address": layer_url, "socket_timeout": None}]},
    }

NUMBERS = {name: kind for name, kind in get_type_hints(Settings).items() if kind in (int, float)}

OPENROUTER = {
    "API_KEY": env.str("OPENROUTER_API_KEY", default=""),
    "BASE_URL": env.str("OPENROUTER_BASE_URL", default="") or "https://openrouter.ai/api/v1",
    "ALLOW_INSECURE_BASE_URL": env.bool("OPENROUTER_ALLOW_INSECURE_BASE_URL", default=False),
    "APP_TITLE": "django-openrouter-chains demo",
    "KEY_LIMIT": 5,
    "KEY_LIMIT_RESET": "monthly",
    # Any number by its name: OPENROUTER_HEARTBEAT=1 is a demo whose patience is short.
    **{
        name: env.get_value(f"OPENROUTER_{name}", cast=kind)
        for name, kind in NUMBERS.items()
        if f"OPENROUTER_{name}" in os.environ
    },
}

DEMO_PROVIDER = env.str("DEMO_PROVIDER", default="")
"""Set by `project.serve` to what answers: ``fake``, ``local``, ``server`` or ``openrouter``."""
