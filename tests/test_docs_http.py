"""docs/http.md lists every address, and what its JSON holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.urls import reverse

from openrouter_app.urls import urlpatterns
from openrouter_app.views import sending
from tests.talking import browser_of, make_conversation, visitor

TEXT = (Path(__file__).parents[1] / "docs" / "http.md").read_text()


def test_every_address_is_listed():
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `([^`|]*)` ?\|", TEXT, re.MULTILINE))
    rows["index"] = ""
    known = {each.name: re.sub(r"<\w+:(\w+)>", r"<\1>", str(each.pattern)) for each in urlpatterns}
    assert rows == known


@pytest.mark.django_db
def test_json_has_the_members_that_stand_there():
    said = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
    made = make_conversation(visitor(), "hi")
    client = browser_of(visitor())
    data = client.get(reverse("openrouter_app:conversation-data", args=[made.uuid])).json()
    assert set(said) == set(data)
    for ours, theirs in zip(said["messages"], data["messages"], strict=True):
        assert set(ours) == set(theirs)
    [row] = client.get(reverse("openrouter_app:conversation-list")).json()["conversations"]
    listed = re.search(r'\{"conversations": \[\{(.*?)\}\]', TEXT)[1]
    assert set(re.findall(r'"(\w+)"', listed)) == set(row)


def test_patience_is_the_codes():
    assert sending.WAIT == 60
    assert "after a minute at most" in " ".join(TEXT.split())
