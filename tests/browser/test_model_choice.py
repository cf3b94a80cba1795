"""A chain's model in the admin, chosen in a browser: by keyboard, by mouse, and typed as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, expect

from openrouter_app.models import CatalogueModel, Chain, ToolSpec

from ..factories import make_chain, make_prompt
from .accessible import problems
from .conftest import blank_page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SHOTS = Path(__file__).parents[2] / "screenshots"
MODELS = {
    "mistralai/mistral-small": ("Mistral: Mistral Small", "0.0000002", "0.0000006", 32_768),
    "openai/gpt-4o": ("OpenAI: GPT-4o", "0.0000025", "0.00001", 128_000),
    "openai/gpt-4o-mini": ("OpenAI: GPT-4o-mini", "0.00000015", "0.0000006", 128_000),
    "evil/model": ("<img src=x onerror='window.ran=1'>", "0", "0", 8_192),
}


@pytest.fixture
def catalogue(db: Any) -> None:
    """Four models, the first the newest, one of which would like to be markup."""
    for age, (slug, (name, prompt, completion, length)) in enumerate(MODELS.items()):
        CatalogueModel.objects.create(
            slug=slug,
            name=name,
            prompt_price=Decimal(prompt),
            completion_price=Decimal(completion),
            context_length=length,
            parameters=["max_tokens"] if slug == "evil/model" else ["tools", "tool_choice"],
            input_modalities=["text", "image"],
            output_modalities=["text"],
            created=timezone.now() - timedelta(days=age),
            seen_at=timezone.now(),
        )


@pytest.fixture
def harmless() -> list[str]:
    """Words of errors on the console that a test brings about itself."""
    return []


@pytest.fixture
def page(
    browser: Browser, live_server: Any, admin_client: Client, catalogue: None, harmless: list[str]
) -> Iterator[Page]:
    """The form of a chain with the model ``openai/gpt-4o``; an error or a refused script fails the test."""
    session = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    chain = make_chain("greet", model="openai/gpt-4o")
    with blank_page(browser, f"{live_server}/", expected=harmless) as page:
        page.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": str(live_server)}]
        )
        page.goto(f"{live_server}/admin/openrouter_app/chain/{chain.pk}/change/")
        yield page


def box(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Model:", exact=True)


def suggestions(page: Page) -> Locator:
    """The open list."""
    return page.get_by_role("listbox", name="Models at OpenRouter")


def options(page: Page) -> Locator:
    return suggestions(page).get_by_role("option")


def known(page: Page) -> Locator:
    return page.locator(".openrouter-model-known")


def save(page: Page) -> str:
    page.locator("[name=_continue]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    return Chain.objects.get().model


def test_a_model_is_searched_and_chosen_by_keyboard(page: Page) -> None:
    field = box(page)
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(known(page)).to_contain_text("OpenAI: GPT-4o · $2.50 in, $10.00 out per 1M tokens · 128K context")
    field.fill("")
    field.press_sequentially("gpt mini")
    expect(options(page)).to_have_count(1)
    expect(field).to_have_attribute("aria-expanded", "true")
    expect(options(page)).to_contain_text("openai/gpt-4o-mini")
    expect(options(page)).to_contain_text("$0.15 in, $0.60 out per 1M tokens · 128K context · tools")
    expect(page.get_by_role("status").filter(has_text="One model")).to_have_count(1)
    field.press("ArrowDown")
    expect(options(page)).to_have_attribute("aria-selected", "true")
    identifier = options(page).get_attribute("id")
    expect(field).to_have_attribute("aria-activedescendant", identifier or "")
    field.press("Enter")  # chooses, and sends no form
    expect(field).to_have_value("openai/gpt-4o-mini")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(known(page)).to_contain_text("OpenAI: GPT-4o-mini · $0.15 in")
    assert save(page) == "openai/gpt-4o-mini"


def test_the_keys_of_a_combobox_move_open_and_close(page: Page) -> None:
    field = box(page)
    field.focus()
    expect(suggestions(page)).to_have_count(0)
    field.press("ArrowDown")  # all, the newest first
    expect(options(page)).to_have_count(4)
    expect(options(page).first).to_contain_text("mistralai/mistral-small")
    for key, selected in (
        ("ArrowDown", 0),
        ("ArrowDown", 1),
        ("ArrowUp", 0),
        ("ArrowUp", None),
        ("ArrowUp", 3),
        ("ArrowDown", None),
    ):
        field.press(key)
        chosen = [item.get_attribute("aria-selected") for item in options(page).all()]
        assert chosen == ["true" if index == selected else "false" for index in range(4)]
    assert field.get_attribute("aria-activedescendant") is None
    field.press("Escape")
    expect(suggestions(page)).to_have_count(0)
    expect(field).to_have_value("openai/gpt-4o")
    field.press("Alt+ArrowDown")  # what is typed
    expect(options(page)).to_have_count(2)
    field.press("Alt+ArrowUp")
    expect(suggestions(page)).to_have_count(0)
    field.press("ArrowUp")
    expect(options(page)).to_have_count(4)
    field.press("Tab")
    expect(suggestions(page)).to_have_count(0)
    expect(field).to_have_value("openai/gpt-4o")


def test_a_model_is_chosen_by_the_mouse(page: Page) -> None:
    field = box(page)
    field.click()
    options(page).filter(has_text="mistral-small").click()
    expect(field).to_have_value("mistralai/mistral-small")
    expect(field).to_be_focused()
    expect(known(page)).to_contain_text("Mistral: Mistral Small")
    assert save(page) == "mistralai/mistral-small"


@pytest.mark.parametrize("slug", ["not/listed:nitro", "~openai/gpt-latest", "@preset/site"])
def test_any_text_is_taken_as_it_is_typed(page: Page, slug: str) -> None:
    field = box(page)
    field.fill(slug)
    expect(known(page)).to_have_text("Not in the catalogue; it is used as it stands here.")
    expect(suggestions(page)).to_have_count(0)
    assert save(page) == slug


def test_a_variant_is_known_by_its_model(page: Page) -> None:
    box(page).fill("openai/gpt-4o-mini:nitro")
    expect(known(page)).to_contain_text("OpenAI: GPT-4o-mini · $0.15 in")


def test_enter_sends_the_form_where_nothing_is_chosen(page: Page) -> None:
    field = box(page)
    field.fill("gpt")
    expect(options(page)).to_have_count(2)
    field.press("Enter")
    expect(page.locator(".messagelist .success")).to_be_visible()
    assert Chain.objects.get().model == "gpt"


def test_a_name_that_would_like_to_be_markup_is_text(page: Page) -> None:
    box(page).fill("evil")
    expect(options(page)).to_contain_text("<img src=x")
    options(page).click()
    expect(known(page)).to_contain_text("<img src=x")
    assert page.evaluate("window.ran") is None
    page.reload()
    assert page.evaluate("window.ran") is None


def test_a_search_that_fails_keeps_what_is_typed(page: Page, harmless: list[str]) -> None:
    harmless.append("status of 500")
    field = box(page)
    field.fill("gpt")
    expect(options(page)).to_have_count(2)
    page.route("**/search/?*", lambda route: route.fulfill(status=500, body="no"))
    field.fill("mistral")
    status = page.get_by_role("status").filter(has_text="The catalogue cannot be searched now.")
    expect(status).to_have_count(1)
    expect(known(page)).to_have_text("The catalogue cannot be searched now.")
    expect(options(page)).to_have_count(0)  # those of what was typed before
    expect(field).to_have_value("mistral")
    page.unroute("**/search/?*")
    field.press_sequentially("ai")
    expect(options(page)).to_have_count(1)


def test_an_answer_that_was_overtaken_is_dropped(page: Page) -> None:
    field = box(page)
    late: list[Any] = []
    page.route("**/search/?q=mistral", lambda route: late.append(route))
    with page.expect_request("**/search/?q=mistral"):
        field.fill("mistral")
    field.fill("gpt")
    expect(options(page)).to_have_count(2)
    late[0].continue_()
    with page.expect_response("**/search/?q=mini"):
        field.fill("mini")
    expect(options(page)).to_have_count(1)
    expect(options(page)).to_contain_text("openai/gpt-4o-mini")


def test_without_a_script_the_field_suggests_and_takes_any_text(
    browser: Browser, live_server: Any, admin_client: Client, catalogue: None
) -> None:
    make_prompt()
    context = browser.new_context(java_script_enabled=False)
    session = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": str(live_server)}])
    page = context.new_page()
    page.goto(f"{live_server}/admin/openrouter_app/chain/add/")
    field = page.locator("[name=model]")
    assert field.get_attribute("list") == "id_model_models"
    assert page.locator("#id_model_models option").count() == 4
    field.fill("~any/model-latest")
    page.locator("[name=title]").fill("Greet")
    page.locator("[name=slug]").fill("greet")
    page.locator("[name=prompt]").select_option(index=1)
    page.locator("[name=_continue]").click()
    assert page.locator(".messagelist .success").is_visible()
    assert Chain.objects.get().model == "~any/model-latest"
    context.close()


AT_ITS_MIDDLE = """(element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}"""


def fits(page: Page) -> bool:
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return bool(wider <= 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_screenshots_of_a_models_choice(
    page: Page, live_server: Any, harmless: list[str], scheme: Any, width: int
) -> None:
    harmless += ["Applying inline style", "Failed to load resource"]  # axe's own
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    chain = Chain.objects.get()
    chain.tools.add(ToolSpec.objects.create(name="look"))
    Chain.objects.update(model="evil/model", client_models=["not/listed"])
    page.reload()
    expect(page.locator(".openrouter-advice li")).to_have_count(2)
    box(page).press("ArrowDown")
    expect(options(page)).to_have_count(4)
    box(page).press("ArrowDown")
    # nothing around it cuts the list off
    box(page).evaluate("(field) => field.scrollIntoView({ block: 'start' })")
    assert all(option.evaluate(AT_ITS_MIDDLE) for option in options(page).all())
    SHOTS.mkdir(exist_ok=True)
    assert fits(page)
    found = problems(page)
    assert not [
        problem for problem in found if "openrouter-model" in problem or "openrouter-advice" in problem
    ]
    page.screenshot(path=SHOTS / f"admin-model-choice-{width}-{scheme}.png", full_page=True)
    page.goto(f"{live_server}/admin/openrouter_app/cataloguemodel/")
    page.screenshot(path=SHOTS / f"admin-catalogue-{width}-{scheme}.png", full_page=True)
    assert fits(page)
