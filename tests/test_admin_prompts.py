"""Prompts in the admin: rows in order, variables found, stray braces refused where they stand."""

from __future__ import annotations

import html

import pytest
from django.urls import reverse

from openrouter_app.models import PromptRow, PromptTemplate
from tests.factories import make_chain, make_prompt

pytestmark = pytest.mark.django_db


def form(prompt=None, rows=(), **fields):
    """What a browser sends: rows are (place, role, text) or (row, place, role, text[, delete])."""
    data = {"slug": "greet", "description": "", "example_input": "{}", **fields}
    old = [row for row in rows if isinstance(row[0], PromptRow)]
    new = [row for row in rows if not isinstance(row[0], PromptRow)]
    data |= {"rows-TOTAL_FORMS": len(rows), "rows-INITIAL_FORMS": len(old)}
    for index, (row, place, role, text, *delete) in enumerate(old):
        data |= row_fields(index, place, role, text) | {f"rows-{index}-id": row.pk}
        if delete:
            data[f"rows-{index}-DELETE"] = "on"
    for index, (place, role, text) in enumerate(new, start=len(old)):
        data |= row_fields(index, place, role, text)
    if prompt:
        data |= {f"rows-{index}-template": prompt.pk for index in range(len(rows))}
    return data


def row_fields(index, place, role, text):
    return {f"rows-{index}-place": place, f"rows-{index}-role": role, f"rows-{index}-text": text}


def add(client, *rows, **fields):
    return client.post(
        reverse("admin:openrouter_app_prompttemplate_add"), form(rows=rows, **fields), follow=True
    )


def change(client, prompt, *rows, **fields):
    address = reverse("admin:openrouter_app_prompttemplate_change", args=[prompt.pk])
    return client.post(address, form(prompt, rows, slug=prompt.slug, **fields), follow=True)


def said(response):
    return html.unescape(response.content.decode())


def test_prompt_is_made_with_its_rows_in_the_order_of_their_numbers(admin_client):
    add(admin_client, (5, "human", "{text}"), (2, "system", "Be brief."), ("", "ai", "Yes."))
    assert PromptTemplate.objects.get().rows_by_value() == [
        ["system", "Be brief."],
        ["human", "{text}"],
        ["ai", "Yes."],
    ]
    assert list(PromptRow.objects.values_list("position", flat=True)) == [1, 2, 3]


def test_new_prompt_offers_a_system_row_and_a_human_one_and_needs_neither(admin_client):
    page = admin_client.get(reverse("admin:openrouter_app_prompttemplate_add")).content.decode()
    assert page.count('<option value="system" selected>') == 1
    add(admin_client, ("", "system", ""), (1, "human", "{text}"))
    assert PromptTemplate.objects.get().rows_by_value() == [["human", "{text}"]]


def test_rows_change_places(admin_client):
    prompt = make_prompt("a", ("system", "one"), ("human", "two"), ("ai", "three"))
    one, two, three = prompt.rows.all()
    change(
        admin_client, prompt, (one, 3, "system", "one"), (two, 1, "human", "two"), (three, 2, "ai", "three")
    )
    assert list(prompt.rows.values_list("pk", "position")) == [(two.pk, 1), (three.pk, 2), (one.pk, 3)]


def test_row_is_put_between_two_others_while_one_is_deleted(admin_client):
    prompt = make_prompt("a", ("system", "one"), ("human", "two"), ("ai", "three"))
    one, two, three = prompt.rows.all()
    change(
        admin_client,
        prompt,
        (one, 1, "system", "one"),
        (two, 2, "human", "two", "delete"),
        (three, 3, "ai", "three!"),
        (2, "human", "new"),
    )
    assert prompt.rows_by_value() == [["system", "one"], ["human", "new"], ["ai", "three!"]]
    assert list(prompt.rows.values_list("position", flat=True)) == [1, 2, 3]


def test_equal_numbers_keep_the_order_in_which_they_stand(admin_client):
    prompt = make_prompt("a", ("system", "one"), ("human", "two"))
    one, two = prompt.rows.all()
    change(admin_client, prompt, (one, 1, "system", "one"), (two, 1, "human", "two"), (1, "ai", "three"))
    assert [row[1] for row in prompt.rows_by_value()] == ["one", "two", "three"]


def test_row_that_somebody_else_added_meanwhile_is_kept(admin_client):
    prompt = make_prompt("a", ("system", "one"))
    (one,) = prompt.rows.all()
    prompt.rows.create(position=2, role="ai", text="theirs")
    change(admin_client, prompt, (one, 1, "system", "one"), (2, "human", "mine"))
    assert [row[1] for row in prompt.rows_by_value()] == ["one", "mine", "theirs"]


def test_gaps_and_high_positions_are_no_obstacle(admin_client):
    prompt = make_prompt("a", ("system", "one"))
    (one,) = prompt.rows.all()
    prompt.rows.update(position=1_000_000)
    change(admin_client, prompt, (one, 1, "system", "uno"), (0, "human", "zero"))
    assert list(prompt.rows.values_list("position", "text")) == [(1, "zero"), (2, "uno")]


@pytest.mark.parametrize(
    ("text", "place"),
    [("Hello {name", "line 1, column 7 is never closed"), ("one\ntwo }", "line 2, column 5 closes nothing")],
)
def test_stray_brace_is_refused_at_its_row_with_the_place_and_the_way_out(admin_client, text, place):
    response = add(admin_client, (1, "system", "fine"), (2, "human", text))
    assert not PromptTemplate.objects.exists()
    formset = response.context["inline_admin_formsets"][0].formset
    assert formset.forms[0].errors == {}
    assert place in formset.forms[1].errors["text"][0]
    assert place in said(response)
    assert "Write '" in said(response) or "write '" in said(response)


def test_line_breaks_of_browsers_do_not_move_the_place(admin_client):
    assert "line 2, column 5" in said(add(admin_client, (1, "human", "one\r\ntwo }")))


def test_name_of_a_variable_and_of_a_placeholder_must_differ(admin_client):
    response = add(admin_client, (1, "messages_placeholder", "history"), (2, "human", "{history}"))
    assert not PromptTemplate.objects.exists()
    assert "“history” is a variable in a text and also a messages placeholder" in said(response)


def test_wrong_example_is_refused_with_line_and_column(admin_client):
    response = add(admin_client, (1, "human", "{a}"), example_input='{"a": 1,\n  b: 2}')
    assert "at line 2, column 3" in said(response)
    assert "  b: 2}" in said(response)


def test_variables_are_listed_on_the_page_and_in_the_list(admin_client):
    prompt = make_prompt("a", ("system", "{language}"), ("human", "{text} {language} {<b>}"))
    address = reverse("admin:openrouter_app_prompttemplate_change", args=[prompt.pk])
    page = admin_client.get(address).content.decode()
    assert "<code>{language}</code></li><li><code>{text}</code></li>" in page
    assert "<code>{&lt;b&gt;}</code>" in page
    assert "language, text" in said(
        admin_client.get(reverse("admin:openrouter_app_prompttemplate_changelist"))
    )


def test_json_that_was_taken_for_a_variable_is_warned_of(admin_client):
    response = add(admin_client, (1, "human", 'Answer as {"a": 1}'))
    assert PromptTemplate.objects.exists()
    (message,) = [str(m) for m in response.context["messages"] if m.level_tag == "warning"]
    assert '“"a": 1”' in message
    assert "{{" in message


def test_prompt_that_was_stored_past_the_checks_can_be_opened_and_mended(admin_client):
    prompt = make_prompt("a", ("human", "{"))
    (row,) = prompt.rows.all()
    address = reverse("admin:openrouter_app_prompttemplate_change", args=[prompt.pk])
    assert admin_client.get(address).status_code == 200
    assert admin_client.get(reverse("admin:openrouter_app_prompttemplate_changelist")).status_code == 200
    change(admin_client, prompt, (row, 1, "human", "{{"))
    assert prompt.variables == ()


def test_prompt_in_use_says_by_whom_and_cannot_be_deleted(admin_client):
    prompt = make_chain("greet").prompt
    assert "Greet" in said(admin_client.get(reverse("admin:openrouter_app_prompttemplate_changelist")))
    address = reverse("admin:openrouter_app_prompttemplate_delete", args=[prompt.pk])
    assert "protected" in said(admin_client.get(address))
    admin_client.post(address, {"post": "yes"})
    assert PromptTemplate.objects.filter(pk=prompt.pk).exists()
