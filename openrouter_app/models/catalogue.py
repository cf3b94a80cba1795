"""OpenRouter's models as they were listed last: what they cost and what they can do."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .fields import JSONTextField, OutsideTextField


def _price(name: Any) -> models.DecimalField[Any, Any]:
    # US dollars a token (a request, a picture), as exact as OpenRouter writes them.
    return models.DecimalField(name, max_digits=24, decimal_places=15, null=True, blank=True)


class CatalogueModel(models.Model):
    """One model of ``GET /models``. What vanishes there is marked, not deleted; no price is no answer,
    not 0 (``openrouter/auto`` costs what the model costs that it chooses).
    """

    slug = models.CharField(_("slug"), max_length=200, unique=True)
    canonical_slug = models.CharField(_("canonical slug"), max_length=200, blank=True, db_index=True)
    name = OutsideTextField(_("name"), max_length=300, blank=True)
    description = OutsideTextField(_("description"), max_length=20_000, blank=True)
    prompt_price = _price(_("price of a prompt's token"))
    completion_price = _price(_("price of an answer's token"))
    request_price = _price(_("price of a request"))
    image_price = _price(_("price of a picture"))
    reasoning_price = _price(_("price of a reasoning token"))
    cache_read_price = _price(_("price of a token read from the cache"))
    cache_write_price = _price(_("price of a token written to the cache"))
    # {"web_search": "0.01", "image_output": "0.00003", ...}: US dollars a search or a token, as listed.
    other_prices = JSONTextField(_("further prices"), default=dict, blank=True)
    # [{"min_prompt_tokens": 200000, "prompt": "0.000006", ...}, ...]: what a token costs in a longer prompt.
    overrides = JSONTextField(_("prices of longer prompts"), default=list, blank=True)
    context_length = models.PositiveBigIntegerField(_("context (tokens)"), null=True, blank=True)
    max_completion_tokens = models.PositiveBigIntegerField(
        _("longest answer (tokens)"), null=True, blank=True
    )
    input_modalities = JSONTextField(_("takes"), default=list, blank=True)
    output_modalities = JSONTextField(_("answers with"), default=list, blank=True)
    parameters = JSONTextField(_("supported parameters"), default=list, blank=True)
    reasoning = JSONTextField(_("reasoning"), default=dict, blank=True)
    created = models.DateTimeField(_("at OpenRouter since"), null=True, blank=True)
    expires = models.DateField(_("expires"), null=True, blank=True)
    seen_at = models.DateTimeField(_("seen"))
    missing_since = models.DateTimeField(_("missing since"), null=True, blank=True)

    class Meta:
        verbose_name = _("model at OpenRouter")
        verbose_name_plural = _("models at OpenRouter")
        ordering = ["slug"]
        indexes = [
            models.Index(fields=["slug"], condition=Q(missing_since=None), name="openrouter_model_present"),
        ]

    def __str__(self) -> str:
        return self.slug
