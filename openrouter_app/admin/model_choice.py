"""The field in which a chain's model is chosen: a text that may be any slug, with the catalogue beside it.

With the module `model-choice.js` it is a combobox that searches as one types; without it, a text input
with a list of suggestions. What is in the field is what is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.contrib.admin.widgets import AdminTextInputWidget
from django.forms.widgets import Script
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext

from .. import catalogue
from ..models import CatalogueModel

MODEL_STYLESHEET = {"all": ["openrouter_app/admin/model-choice.css"]}
SUGGESTED = 1_000
"""Models in the list of suggestions, where there is no script."""
MILLION = Decimal(1_000_000)


class ModelInput(AdminTextInputWidget):
    """A text input with models to choose from."""

    template_name = "admin/openrouter_app/model_choice.html"

    class Media:
        css = MODEL_STYLESHEET
        js = [Script("openrouter_app/admin/model-choice.js", type="module")]

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """With where to search, the models where no script does, and what is known of the one it has."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        widget = context["widget"]
        try:
            widget["search"] = reverse("admin:openrouter_app_cataloguemodel_search")
        except NoReverseMatch:  # a site that shows no catalogue
            widget["search"] = ""
        identifier = widget["attrs"].setdefault("id", f"id_{name}")
        described = widget["attrs"].get("aria-describedby", "")
        widget["attrs"].update(
            {
                "list": f"{identifier}_models",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "aria-describedby": f"{described} {identifier}_known".strip(),
            }
        )
        widget["models"] = [(row.slug, ", ".join(labels(row))) for row in catalogue.search(limit=SUGGESTED)]
        widget["known"] = known(value) if isinstance(value, str) else ""
        return context


def known(slug: str) -> str:
    """One line of what the catalogue knows of a slug; empty for none."""
    row = catalogue.find(slug)
    if row is not None:
        return " · ".join(labels(row))
    if not slug.strip() or not CatalogueModel.objects.exists():
        return ""
    return gettext("Not in the catalogue; it is used as it stands here.")


def labels(row: CatalogueModel) -> list[str]:
    """Its name, price, length and what it can do, as people read them."""
    return [text for text in _labels(row) if text]


def as_option(row: CatalogueModel) -> dict[str, Any]:
    """A row as the module shows it: its slug, and the texts beside it."""
    return {"slug": row.slug, "labels": labels(row)}


def _labels(row: CatalogueModel) -> Iterator[str]:
    yield row.name
    yield price(row)
    yield context(row)
    yield gettext("tools") if "tools" in row.parameters else gettext("no tools") if row.parameters else ""
    yield gettext("takes pictures") if "image" in row.input_modalities else ""
    yield gettext("makes pictures") if "image" in row.output_modalities else ""
    if row.missing_since is not None:
        yield gettext("not listed any more")
    elif row.expires is not None:
        yield gettext("expires on %(date)s") % {"date": date_format(row.expires, "DATE_FORMAT")}


def price(row: CatalogueModel) -> str:
    """What a million tokens of the prompt and of the answer cost; that it varies where no price is listed."""
    if row.prompt_price is None or row.completion_price is None:
        return gettext("price varies")
    if not row.prompt_price and not row.completion_price and not row.request_price:
        return gettext("free")
    return gettext("%(prompt)s in, %(completion)s out per 1M tokens") % {
        "prompt": per_million(row.prompt_price),
        "completion": per_million(row.completion_price),
    }


def per_million(each: Decimal | None) -> str:
    """US dollars a million tokens: ``$0.15``, ``$12.50``, ``$0.0375``."""
    if each is None:
        return gettext("varies")
    cost = (each * MILLION).normalize()
    exponent = cost.as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"${number_format(cost, decimal_pos=min(places, 6), use_l10n=True, force_grouping=True)}"


def context(row: CatalogueModel) -> str:
    """Its context's length: ``128K``, ``1.05M`` tokens."""
    return gettext("%(tokens)s context") % {"tokens": short(row.context_length)} if row.context_length else ""


def short(number: int) -> str:
    """``8,192`` as ``8K``, ``1,047,576`` as ``1.05M``."""
    for size, unit in ((1_000_000, "M"), (1_000, "K")):
        if number >= size:
            value = round(Decimal(number) / size, 2 if unit == "M" else 0).normalize()
            return f"{number_format(f'{value:f}', use_l10n=True)}{unit}"
    return str(number)
