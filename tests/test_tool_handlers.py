"""The registry of handlers: names, clashes, what is found by itself, and what it never does."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from openrouter_app import tool_handlers
from openrouter_app.tool_handlers import ToolContext, all_handlers, discover, find, handler


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """A registry of the test's own."""
    monkeypatch.setattr(tool_handlers, "_handlers", {})


def test_function_is_registered_under_its_own_name_and_stays_what_it_was():
    @handler
    def refund(context, order):
        """Pay back what was paid.

        The rest is for who reads the code.
        """
        return order

    found = find("refund")
    assert found.function is refund
    assert refund(None, 7) == 7
    assert (found.name, found.permission, found.atomic, found.is_async) == ("refund", None, True, False)
    assert found.description == "Pay back what was paid."


def test_name_permission_and_transaction_can_be_said():
    @handler("shop.refund", permission="shop.refund_order", atomic=False)
    async def refund(context):
        pass

    found = find("shop.refund")
    assert (found.permission, found.atomic, found.is_async) == ("shop.refund_order", False, True)
    assert found.description == ""
    assert find("refund") is None


def test_empty_parentheses_are_fine():
    @handler()
    def refund(context):
        pass

    assert find("refund").function is refund


def test_handlers_are_listed_by_name():
    for name in ("b", "a", "c"):
        handler(name)(lambda context: None)
    assert [known.name for known in all_handlers()] == ["a", "b", "c"]


def test_two_functions_of_one_name_are_refused_and_the_first_stays():
    @handler("refund")
    def one(context):
        pass

    with pytest.raises(ImproperlyConfigured, match="Two handlers are called 'refund'") as refused:

        @handler("refund")
        def other(context):
            pass

    assert '@handler("...")' in str(refused.value)
    assert find("refund").function is one


def test_the_same_function_again_is_no_clash():
    """A module that is loaded anew defines it again."""

    def define(text):
        @handler
        def refund(context):
            return text

        return refund

    define("old")
    new = define("new")
    assert find("refund").function is new


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x00"])
def test_name_that_no_page_could_show_is_refused(name):
    with pytest.raises(ImproperlyConfigured, match="1 to 200 printable characters"):
        handler(name)(lambda context: None)


def test_nobody_is_found_for_a_name_that_is_none():
    assert find("invented") is None
    assert find("") is None


def test_context_is_frozen():
    context = ToolContext(user=AnonymousUser(), key=uuid4(), run=uuid4())
    with pytest.raises(AttributeError):
        context.user = None
    assert (context.visitor, context.conversation) == (None, None)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An app of somebody else's; write its ``openrouter_tools.py``, then it can be installed."""
    package = tmp_path / "other_shop"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield package / "openrouter_tools.py"
    for name in [name for name in sys.modules if name.split(".")[0] == "other_shop"]:
        del sys.modules[name]


def test_tools_of_any_installed_app_are_found(shop, settings):
    shop.write_text("from openrouter_app.tool_handlers import handler\n@handler\ndef refund(context): ...\n")
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "other_shop"]):
        discover()
    assert find("refund").function.__module__ == "other_shop.openrouter_tools"


def test_app_without_tools_is_fine_and_a_mistake_in_them_is_not_hidden(shop, settings):
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "other_shop"]):
        discover()
        shop.write_text("import a_module_that_is_not_there\n")
        with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
            discover()


def test_the_apps_own_start_finds_them_without_a_query():
    code = (
        "import django; from django.conf import settings; django.setup();"
        "from openrouter_app.tool_handlers import find; from django.db import connection;"
        "assert find('find_orders') and find('change_delivery_date');"
        "assert connection.connection is None"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "project.settings", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
