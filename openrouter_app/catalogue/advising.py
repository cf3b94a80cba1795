"""What a chain needs and the model it names lacks, as the catalogue knows it.

Advice and no more: the list may be wrong or old, providers differ, and any slug may be used. Of what the
catalogue does not know nothing is said, nor of presets and aliases it does not list: which model answers
is told at OpenRouter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Max
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

from ..conf import get_settings
from ..models import CatalogueModel, Chain
from .prices import found, variants_of, without_preset

EXPIRES_SOON = timedelta(days=30)
NO_FORCED_TOOL = frozenset({"anthropic", "deepseek", "moonshotai", "qwen"})
"""Authors whose models do not reason where a call is forced. Anthropic's then answer without, for OpenRouter
leaves the reasoning out and says nothing; the others refuse the request.
"""
FORCED_TOOL = frozenset({"google"})
"""Authors whose models were seen to reason all the same. Of all others it is not known."""
_MAXIMA = ("max_tokens", "max_completion_tokens")


def advice(chain: Chain) -> list[str]:
    """A sentence for each thing that a chain, as it is saved, may not get from its models."""
    said = advice_on([chain.body()])[0]
    return [*said, old] if (old := advice_on_age()) else said


def advice_on(bodies: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What is said of the models of each of these, as `ChainVersion.body` keeps them; in two queries."""
    if _newest() is None:  # nobody has fetched the list yet
        return [[] for _ in bodies]
    rows = found(slug for body in bodies for slug in _slugs(body))
    return [
        [said for slug in _slugs(body) for said in _of_model(slug, rows.get(slug), body)] for body in bodies
    ]


def advice_on_age() -> str:
    """A sentence where the list was fetched longer ago than ``CATALOGUE_MAX_AGE``, else empty."""
    newest = _newest()
    if newest is None or timezone.now() - newest <= timedelta(seconds=get_settings().CATALOGUE_MAX_AGE):
        return ""
    day = {"date": _written(timezone.localdate(newest))}
    return (
        gettext("What models cost and can do was fetched last on %(date)s: it may be otherwise by now.") % day
    )


def _newest() -> datetime | None:
    """When the list was fetched last; None for never."""
    newest: datetime | None = CatalogueModel.objects.aggregate(newest=Max("seen_at"))["newest"]
    return newest


def _slugs(body: Mapping[str, Any]) -> list[str]:
    """Every model that may answer: the chain's own, those it falls back to, and those a client may choose."""
    fallbacks, chosen = _options(body).get("models"), body.get("client_models")
    named = [
        body["model"],
        *(fallbacks if isinstance(fallbacks, list) else []),
        *(chosen if isinstance(chosen, list) else []),
    ]
    return list(dict.fromkeys(slug for slug in named if isinstance(slug, str) and slug.strip()))


def _of_model(slug: str, row: CatalogueModel | None, body: Mapping[str, Any]) -> Iterator[str]:
    names = {"model": slug}
    if row is None or ("free" in variants_of(slug) and "free" not in variants_of(row.slug)):
        if without_preset(slug) and not slug.startswith("~"):
            yield gettext("“%(model)s” is not among the models that OpenRouter lists.") % names
        return
    yield from _of_its_days(row, names)
    yield from _of_tools(row, body, names)
    yield from _of_answers(row, body, names)


def _of_its_days(row: CatalogueModel, names: Mapping[str, str]) -> Iterator[str]:
    day, said = row.expires, ""
    if row.missing_since is not None:
        day = timezone.localdate(row.missing_since)
        said = gettext("OpenRouter does not list “%(model)s” any more, since %(date)s.")
    elif day is not None and day < timezone.localdate():
        said = gettext("“%(model)s” was to expire on %(date)s. Choose another model.")
    elif day is not None and day <= timezone.localdate() + EXPIRES_SOON:
        said = gettext("“%(model)s” expires on %(date)s. Choose another model.")
    if day is not None and said:
        yield said % {**names, "date": _written(day)}


def _of_tools(row: CatalogueModel, body: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    choice = body["tool_choice"]
    if not body["tools"] or choice == "none":
        return
    is_forced = choice == "required" or isinstance(choice, dict)
    if _lacks(row, "tools"):
        said = gettext("As OpenRouter lists it, “%(model)s” calls no tools; this chain has some.")
    elif is_forced and _lacks(row, "tool_choice"):
        said = gettext("As OpenRouter lists it, “%(model)s” cannot be made to call a tool.")
    elif is_forced and _reasons(row, names["model"], _options(body)):
        said = _of_forced_reasoning(row)
    else:
        return
    if said:
        yield said % names


def _of_forced_reasoning(row: CatalogueModel) -> str:
    """Of a model that reasons and has to call a tool; empty for one that is known to do both."""
    author = row.slug.lstrip("~").partition("/")[0]
    if author in FORCED_TOOL:
        return ""
    if author in NO_FORCED_TOOL:
        said = gettext(
            "“%(model)s” does not reason where a tool call is forced: it answers without, or the request is "
            "refused."
        )
    else:
        said = gettext(
            "“%(model)s” reasons, and a tool call is forced: some providers answer without reasoning then, "
            "others refuse the request."
        )
    if row.reasoning.get("mandatory"):
        return said + " " + gettext("Choose “auto”.")
    return said + " " + gettext("Choose “auto”, or switch its reasoning off in the options.")


def _of_answers(row: CatalogueModel, body: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    options = _options(body)
    wanted = _member(options, "response_format").get("type")
    if wanted == "json_schema" and _lacks(row, "structured_outputs"):
        said = gettext("As OpenRouter lists it, “%(model)s” follows no JSON Schema; the options have one.")
        yield said % names
    elif wanted == "json_object" and _lacks(row, "response_format"):
        said = gettext(
            "As OpenRouter lists it, “%(model)s” knows no “response_format”; the options have one."
        )
        yield said % names
    modalities = options.get("modalities")
    for modality in modalities if isinstance(modalities, list) else []:
        if row.output_modalities and isinstance(modality, str) and modality not in row.output_modalities:
            said = gettext(
                "As OpenRouter lists it, “%(model)s” makes no %(modality)s; the options want some."
            )
            yield said % {**names, "modality": modality}
    longest = max((options[name] for name in _MAXIMA if type(options.get(name)) is int), default=0)
    if row.max_completion_tokens and longest > row.max_completion_tokens:
        said = gettext("“%(model)s” answers with %(most)d tokens at most; the options allow %(asked)d.")
        yield said % {**names, "most": row.max_completion_tokens, "asked": longest}


def _lacks(row: CatalogueModel, parameter: str) -> bool:
    """Whether a model is listed without a parameter; one that is listed with none at all says nothing."""
    return bool(row.parameters) and parameter not in row.parameters


def _reasons(row: CatalogueModel, slug: str, options: Mapping[str, Any]) -> bool:
    """Whether it reasons before it answers: it always does, or is told to, or does where nothing is said."""
    listed = row.reasoning
    if listed.get("mandatory"):
        return True
    asked = _member(options, "reasoning")
    effort = asked.get("effort", options.get("reasoning_effort"))
    if asked.get("enabled") is False or effort == "none":
        return False
    is_asked = bool(asked.get("enabled") or effort or asked.get("max_tokens"))
    does_by_itself = listed.get("default_enabled", listed.get("default_effort", "none") != "none")
    return bool(does_by_itself) or (
        (is_asked or "thinking" in variants_of(slug)) and not _lacks(row, "reasoning")
    )


def _options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options; a form that is shown again may hold a chain whose are none."""
    return _member(body, "options")


def _member(options: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = options.get(name)
    return value if isinstance(value, Mapping) else {}


def _written(day: date) -> str:
    return date_format(day, "DATE_FORMAT")
