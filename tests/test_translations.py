"""German, whole; and pages in a language that is written from right to left."""

from __future__ import annotations

import gettext
import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation import trans_real

import hatch_build
from tests.messages import APP, ROOT, catalogue, entry, in_engine, in_python, in_template, marked

from .talking import browser_of, make_chat, make_conversation, visitor

GERMAN = hatch_build.entries(catalogue("de").read_text())
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?(?:\.\d)?[sdf]|\{\w*\}")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """The catalogues as they are now, whatever an earlier installation has made and Django has read."""
    hatch_build.compile_all(ROOT)
    trans_real._translations.clear()
    gettext._translations.clear()


def test_every_string_of_the_app_has_a_german_translation():
    missing = [message for message in marked() if not GERMAN.get(message)]
    assert not missing, "run `make messages` and translate what is new"


def test_no_translation_is_left_of_a_string_that_is_gone():
    assert set(GERMAN) - {""} <= set(marked()), "run `make messages`"


def test_placeholders_are_those_of_the_string():
    for message, translated in GERMAN.items():
        if message:
            for original, form in zip(message.split("\0"), translated.split("\0"), strict=True):
                assert sorted(PLACEHOLDER.findall(form)) == sorted(PLACEHOLDER.findall(original)), message


def test_nobody_is_addressed_as_a_friend_and_quotes_are_german():
    for text in GERMAN.values():
        assert not re.search(r"\b([Dd]u|[Dd]ein\w*|[Dd]ich|[Dd]ir|[Ee]uch|[Ee]uer\w*)\b", text), text
        assert "”" not in text, text
        assert text.count("„") == text.count("“"), text
        assert "..." not in text, text


def test_catalogue_is_read_by_the_standard_library():
    with catalogue("de").with_suffix(".mo").open("rb") as file:
        read = gettext.GNUTranslations(file)
    for message, translated in GERMAN.items():
        if not translated:
            continue  # said by another test
        if "\0" in message:
            one, many = message.split("\0")
            assert [read.ngettext(one, many, count) for count in (1, 2)] == translated.split("\0")
        elif message:
            assert read.gettext(message) == translated


def test_catalogue_holds_no_built_file_in_the_repository():
    assert "*.mo" in (ROOT / ".gitignore").read_text().split()


def test_wheel_and_sdist_are_told_of_what_the_build_makes():
    text = (ROOT / "pyproject.toml").read_text()
    assert "[tool.hatch.build.targets.wheel.hooks.custom]" in text
    assert '"/hatch_build.py"' in text


PO = """
msgid ""
msgstr "Language: de\\n"

#, fuzzy
msgid "unsure"
msgstr "unsicher"

#: a.py
#, python-format
msgid "two "
"lines %s\\n"
msgstr ""
"zwei \\"Zeilen\\" %s\\n"

msgid "%d cat"
msgid_plural "%d cats"
msgstr[0] "%d Katze"
msgstr[1] "%d Katzen"

msgid "open"
msgstr ""
"""


def test_source_of_a_catalogue_is_read():
    assert hatch_build.entries(PO) == {
        "": "Language: de\n",
        "two lines %s\n": 'zwei "Zeilen" %s\n',
        "%d cat\0%d cats": "%d Katze\0%d Katzen",
        "open": "",
    }
    with pytest.raises(ValueError, match="msgctxt"):
        hatch_build.entries('msgctxt "x"\nmsgid "a"\nmsgstr "b"')


@pytest.mark.parametrize("text", ['a "b" \\ c\n\td', "„ü“", "%d a\0%d b"])
def test_what_is_written_is_what_is_read(text):
    assert hatch_build.entries(entry(text, text)) == {text: text}


def test_marks_are_found(tmp_path: Path):
    module, page = tmp_path / "a.py", tmp_path / "a.html"
    module.write_text('_("a" "b")\ngettext_lazy("c")\nngettext("%d d", "%d ds", 2)\nother("x")')
    assert list(in_python(module)) == ["ab", "c", "%d d\0%d ds"]
    module.write_text("_(name)")
    with pytest.raises(ValueError, match="only a literal"):
        list(in_python(module))
    page.write_text(
        """{% translate "it's" %}{% trans 'b' as x %}{{ y|default:_("c") }}{% include _("d") %}{# _("e") #}"""
    )
    assert list(in_template(page)) == ["it's", "b", "c", "d"]
    page.write_text("{% blocktranslate trimmed %}\n 5% of\n {{ it }}{% endblocktranslate %}{% trans 'z' %}")
    assert list(in_template(page)) == ["5%% of %(it)s", "z"]
    page.write_text("{% blocktranslate count n=m %}{{ n }} a{% plural %}{{ n }} as{% endblocktranslate %}")
    assert list(in_template(page)) == ["%(n)s a\0%(n)s as"]
    page.write_text('a = "No sentence"\n"""A docstring here."""\nb = f"A {a} is none."\nc = "This is one."')
    assert list(in_engine(page)) == ["This is one."]


_MARKUP = re.compile(
    r"\{% blocktrans.*?endblocktrans\w* %\}|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}"
    r"|<(script|style)\b.*?</\1>|<[^>]*>",
    re.DOTALL,
)


def test_templates_say_nothing_that_is_not_marked():
    """What stands between the tags of a template is punctuation and names only."""
    known = {"Ctrl ↵", "Esc", "is-chat", "openrouter_chat"}
    for path in APP.rglob("*.html"):
        text = _MARKUP.sub("\n", path.read_text())
        words = {line.strip() for line in text.splitlines() if re.search(r"[A-Za-z]{2}", line)}
        assert words <= known, path.name


def in_german(url: str, client: Client | None = None) -> str:
    response = (client or Client()).get(url, headers={"Accept-Language": "de"})
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.django_db
def test_pages_come_in_german():
    made = make_conversation(visitor(), "Hallo")
    client = browser_of(visitor())
    for name, args, words in (
        ("index", [], "Was möchten Sie ausführen?"),
        ("chain", ["chat"], "Nachricht schreiben"),
        ("conversation", [made.uuid], "Alle Unterhaltungen"),
        ("conversations", [], "Umbenennen"),
        ("chat", ["chat"], "Senden"),
    ):
        html = in_german(reverse(f"openrouter_app:{name}", args=args), client)
        assert words in html, name
        assert name == "chat" or 'lang="de" dir="ltr"' in html
    response = client.post(
        reverse("openrouter_app:conversation-rename", args=[made.uuid]),
        {"title": ""},
        headers={"Accept": "application/json", "Accept-Language": "de"},
    )
    assert response.json()["error"]["message"] == "Schreiben Sie einen Titel."


@pytest.mark.django_db
def test_pages_come_in_a_language_from_right_to_left():
    made = make_conversation(visitor(), "hello")
    client = browser_of(visitor())
    for name, args in (
        ("index", []),
        ("chain", ["chat"]),
        ("conversation", [made.uuid]),
        ("conversations", []),
    ):
        response = client.get(reverse(f"openrouter_app:{name}", args=args), headers={"Accept-Language": "ar"})
        assert 'lang="ar" dir="rtl"' in response.content.decode()


@pytest.mark.django_db
def test_element_takes_the_direction_of_its_page():
    make_chat()
    with translation.override("ar"):
        html = Client().get(reverse("openrouter_app:chat", args=["chat"])).content.decode()
    assert 'dir="ltr"' not in html


def test_styles_name_no_side():
    """Left and right change places from right to left; start and end do not."""
    sided = re.compile(
        r"^\s*(?:margin|padding|border|inset)?-?(?:left|right)\s*:|text-align:\s*(?:left|right)|float:\s*(?:left|right)",
        re.M,
    )
    for path in (APP / "static" / "openrouter_app" / "css").glob("*.css"):
        assert not sided.findall(path.read_text()), path.name
