"""The system checks, one test a mistake."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.db import DatabaseError

from openrouter_app import checks, tool_handlers
from openrouter_app.models import ToolSpec
from openrouter_app.tool_handlers import Handler
from tests.factories import make_chain

# From Django 6.1 on checks ask the databases unless they are told not to.
pytestmark = pytest.mark.django_db

GOOD = {"API_KEY": "sk-or-v1-x"}


def found(settings, **given):
    settings.OPENROUTER = {**GOOD, **given}
    return {message.id: message for message in run_checks(tags=["openrouter"])}


@pytest.fixture(autouse=True)
def own_hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com"]


def test_good_settings_give_nothing(settings):
    assert found(settings) == {}


def test_unknown_key_is_an_error_that_says_what_was_meant(settings):
    error = found(settings, BASE_ULR="https://x")["openrouter_app.E001"]
    assert "BASE_ULR" in error.msg
    assert error.hint == "Did you mean 'BASE_URL'?"


def test_wrong_type_is_an_error_that_names_the_key(settings):
    assert "IDLE_TIMEOUT" in found(settings, IDLE_TIMEOUT="long")["openrouter_app.E001"].msg


def test_no_dict_is_an_error(settings):
    settings.OPENROUTER = "sk-or-v1-x"
    (message,) = run_checks(tags=["openrouter"])
    assert message.id == "openrouter_app.E001"
    assert "sk-or" not in str(message)


@pytest.mark.parametrize(
    "url", ["openrouter.ai/api/v1", "ftp://x/v1", "", "https://", "https://x/v1?a=1", "http://["]
)
def test_base_url_must_be_an_address(settings, url):
    assert "openrouter_app.E002" in found(settings, BASE_URL=url)


@pytest.mark.parametrize(
    "url", ["http://openrouter.ai/api/v1", "http://192.168.1.4:8080/v1", "http://127.evil.com/v1"]
)
def test_plain_http_to_another_machine_is_an_error_that_names_the_setting(settings, url):
    error = found(settings, BASE_URL=url)["openrouter_app.E003"]
    assert "ALLOW_INSECURE_BASE_URL" in error.hint
    assert found(settings, BASE_URL=url, ALLOW_INSECURE_BASE_URL=True) == {}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:80/v1"])
def test_plain_http_to_this_machine_is_fine_and_needs_no_key(settings, url):
    assert found(settings, BASE_URL=url, API_KEY="") == {}


def test_no_key_is_a_warning(settings):
    warning = found(settings, API_KEY="")["openrouter_app.W001"]
    assert not warning.is_serious()


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://", "*", "null"])
def test_an_allowed_origin_must_be_an_origin(settings, origin):
    assert "openrouter_app.E004" in found(settings, ALLOWED_ORIGINS=[origin])


def test_real_origins_are_fine(settings):
    assert found(settings, ALLOWED_ORIGINS=["https://app.example.com", "http://localhost:3000"]) == {}


def test_websocket_path_begins_with_a_slash(settings):
    assert "openrouter_app.E005" in found(settings, WEBSOCKET_PATH="ws/")


def test_A1_hosts_of_everybody_are_a_warning(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert "openrouter_app.W002" in found(settings)


# The channel layer and the database

URL = "redis://127.0.0.1:6379/0"


def with_layer(settings, *, redis="8.1.0", **config):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openrouter_app.checks.version", lambda package: redis)
        return found(settings)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"hosts": [URL]},
        {"hosts": [f"{URL}?socket_timeout=2"]},
        {"hosts": [("127.0.0.1", 6379)]},
        {"hosts": [{"address": URL}]},
        {"hosts": [{"host": "127.0.0.1", "port": 6379}]},
        {"hosts": [{"address": URL, "socket_timeout": 5}]},
        {"hosts": [{"address": URL, "socket_timeout": "none"}]},
        {"hosts": [{"address": URL, "socket_timeout": None}, URL]},
    ],
)
def test_redis_layer_that_gives_up_on_silent_sockets_is_a_warning(settings, config):
    assert "'socket_timeout': None" in with_layer(settings, **config)["openrouter_app.W003"].hint


@pytest.mark.parametrize(
    "config",
    [
        {"hosts": [{"address": URL, "socket_timeout": None}]},
        {"hosts": [{"host": "127.0.0.1", "port": 6379, "socket_timeout": None}]},
        {"hosts": [{"address": URL, "socket_timeout": 60}]},
        {"hosts": [f"{URL}?socket_timeout=60"]},
        {"hosts": [{"address": f"{URL}?socket_timeout=60"}]},
    ],
)
def test_redis_layer_that_waits_is_fine(settings, config):
    assert with_layer(settings, **config) == {}


def test_older_redis_py_waits_by_itself(settings):
    assert with_layer(settings, redis="7.4.0") == {}


def test_another_layer_or_none_is_not_judged(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    assert found(settings) == {}
    del settings.CHANNEL_LAYERS
    assert found(settings) == {}


def with_sqlite(settings, **options):
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": options}}
    return found(settings)


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    "options",
    [{}, {"transaction_mode": "IMMEDIATE"}, {"timeout": 20}, {"transaction_mode": "DEFERRED", "timeout": 20}],
)
def test_sqlite_whose_writers_do_not_wait_is_a_warning_that_shows_the_options(settings, options):
    assert "'transaction_mode': 'IMMEDIATE'" in with_sqlite(settings, **options)["openrouter_app.W004"].hint


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_sqlite_whose_writers_wait_is_fine_and_so_is_postgresql(settings):
    assert with_sqlite(settings, transaction_mode="immediate", timeout=30) == {}
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql"}}
    assert found(settings) == {}


def about_handlers():
    found = run_checks(tags=["openrouter"], databases=["default"])
    return [message for message in found if message.id == "openrouter_app.W005"]


@pytest.fixture
def publish(monkeypatch):
    """Publish a chain whose tool has this handler; it is there while that happens."""

    def published(handler, slug="acting", **fields):
        tool = ToolSpec.objects.create(name=f"{slug}_tool", handler=handler)
        with monkeypatch.context() as now:
            now.setitem(tool_handlers._handlers, handler, Handler(handler, lambda context: None))
            return make_chain(slug, tools=(tool,), **fields)

    return published


def test_published_chain_whose_handler_is_gone_is_a_warning_with_the_way_out(settings, publish):
    settings.OPENROUTER = GOOD
    chain = publish("went_away")
    (warning,) = about_handlers()
    assert "'acting'" in warning.msg
    assert "'went_away'" in warning.msg
    assert "openrouter_tools.py" in warning.hint
    assert checks.check_handlers(databases=None) == []
    chain.enabled = False
    chain.save()
    assert about_handlers() == []


def test_chains_whose_handlers_are_there_or_are_not_run_are_fine(settings, publish, monkeypatch):
    settings.OPENROUTER = GOOD
    monkeypatch.setitem(tool_handlers._handlers, "there", Handler("there", lambda context: None))
    publish("there")
    publish("", "plain")
    publish("went_away", "card", parser="tools")
    publish("went_away", "draft", publish=False)
    assert about_handlers() == []


def test_published_chains_are_read_in_one_query(settings, publish, django_assert_num_queries):
    settings.OPENROUTER = GOOD
    for number in range(3):
        publish("went_away", f"c{number}")
    with django_assert_num_queries(1):
        assert len(checks.check_handlers(databases=["default"])) == 3


def test_database_that_is_not_migrated_yet_is_not_judged(monkeypatch):
    class Away:
        def filter(self, **conditions):
            raise DatabaseError

    monkeypatch.setattr(checks.Label, "objects", Away())
    assert checks.check_handlers(databases=["default"]) == []
