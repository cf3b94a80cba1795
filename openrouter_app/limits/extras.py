"""What a request has OpenRouter do beside asking the model once, and what that may cost.

A request is a chain author's and a client's: any JSON. What is known here is searching the web; what is not,
and what is odd, may cost anything. The prices are those of OpenRouter's pages on web search in August 2026,
rounded up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec

from .. import catalogue

LEAST_FEE = Decimal("0.02")
"""US dollars for a search. The dearest mode of an engine costs 0.015."""
RESULT_FEE = Decimal("0.004")
"""US dollars for a result, where that is more: each costs 0.001 from the eleventh on, and cost 0.004 once."""
RESULTS = 5
"""Of a search that does not say how many."""
CHARACTERS = {"low": 5_000, "medium": 15_000, "high": 30_000}
"""Of a result at most, by the size that the request asks for; the most where it says nothing."""
ENGINES = ("exa", "parallel", "perplexity", "firecrawl")
"""Those of known prices. Any other may be the search of the model's own provider."""
FREE_PLUGINS = ("context-compression", "response-healing")
USUAL_TIERS = (None, "auto", "default", "flex")
"""What costs no more than is listed. Of the faster ones the prices are not."""
FAST = ("/fast", "/priority", "/scale")
"""How the names of providers' faster tiers end."""
UNKNOWN = ("preset", "web_search_options", "prediction", "stop_server_tools_when")
"""Members of a request whose costs nobody knows: a preset may add tools and models, a provider's own search
costs by its size, a prediction costs what is wrong of it, and the conditions lift the limits of tools."""
_MOST = 10**9


class Extras(msgspec.Struct, frozen=True):
    """``fee`` in US dollars, ``added`` tokens of prompt and further ``calls`` of the model, all at most.

    ``added`` is None for as many as the model reads.
    """

    fee: Decimal = Decimal(0)
    added: int | None = 0
    calls: int = 0

    def __add__(self, more: Extras) -> Extras:
        added = None if self.added is None or more.added is None else self.added + more.added
        return Extras(self.fee + more.fee, added, self.calls + more.calls)


def extras_of(options: Mapping[str, Any], slug: str, price: catalogue.Price) -> Extras | None:
    """What a request with these members costs beside one call of this model; None where nobody knows."""
    if _is_unknown(options, slug, price):
        return None
    total = Extras()
    asked = (_of_plugins(options, slug, price), _of_tools(options, slug, price))
    for extra in chain(_of_model(slug, price), *asked):
        if extra is None:
            return None
        total += extra
    return total


def _is_unknown(options: Mapping[str, Any], slug: str, price: catalogue.Price) -> bool:
    if "@preset/" in slug or any(options.get(name) is not None for name in UNKNOWN):
        return True
    if options.get("service_tier") not in USUAL_TIERS or options.get("speed") not in (None, "standard"):
        return True
    if options.get("n") not in (None, 1) or _is_fast(options.get("provider")):
        return True
    modalities = options.get("modalities")
    wanted = [modality for modality in _listed(modalities) or [] if modality != "text"]
    return bool(modalities is not None and _listed(modalities) is None) or bool(wanted and price.made == 0)


def _is_fast(provider: object) -> bool:
    """Whether the request prefers providers that may be dearer than what is listed."""
    if provider is None:
        return False
    if not isinstance(provider, Mapping):
        return True
    named = [provider.get(name) for name in ("order", "only")]
    return any(
        _listed(names) is None or any(not isinstance(name, str) or name.endswith(FAST) for name in names)
        for names in named
        if names is not None
    )


def _of_model(slug: str, price: catalogue.Price) -> Iterator[Extras | None]:
    """Searches that its slug stands for. What some models search by themselves is listed as a price."""
    author, _, name = slug.lstrip("~").partition("/")
    if "online" in catalogue.variants_of(slug):
        yield _search({}, slug, price, uses=1, is_listed=True)
    if price.search and "deep-research" in name:
        yield None
    elif price.search and (author == "perplexity" or "search" in name):
        yield Extras(price.search)


def _of_plugins(options: Mapping[str, Any], slug: str, price: catalogue.Price) -> Iterator[Extras | None]:
    for plugin in _items(options.get("plugins")):
        if not isinstance(plugin, Mapping):
            yield None
        elif plugin.get("enabled") is False or plugin.get("id") in FREE_PLUGINS:
            continue
        elif plugin.get("id") == "web":
            # It heeds no limit of what is found.
            said = {name: plugin.get(name) for name in ("engine", "max_results", "max_uses")}
            yield _search(said, slug, price, uses=1)
        else:  # files that are read, pages that are fetched, several models that are asked
            yield None


def _of_tools(options: Mapping[str, Any], slug: str, price: catalogue.Price) -> Iterator[Extras | None]:
    for tool in _items(options.get("tools")):
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind == "function":  # the site's own
            continue
        said = tool.get("parameters") if kind == "openrouter:web_search" else None
        if not isinstance(said, Mapping) or (uses := _number(said.get("max_uses"))) is None:
            yield None  # the model calls it as often as it likes
        else:
            yield _search(said, slug, price, uses=uses, is_tool=True)


def _search(
    said: Mapping[str, Any],
    slug: str,
    price: catalogue.Price,
    *,
    uses: int,
    is_tool: bool = False,
    is_listed: bool = False,
) -> Extras | None:
    """So many searches; ``is_tool``: each is a call of the model; ``is_listed``: the fee is in the price."""
    engine = said.get("engine")
    if engine not in ENGINES and (price.search or engine not in (None, "auto")):
        return _native_search(said, slug, price)
    results = _number(said.get("max_results"), RESULTS)
    characters = _number(said.get("max_characters"), _characters(said.get("search_context_size")))
    if results is None or characters is None:
        return None
    fee = Decimal(0) if is_listed else uses * max(LEAST_FEE, results * RESULT_FEE)
    # A character is a token at most in nearly every script.
    return Extras(fee, uses * results * characters, uses if is_tool else 0)


def _native_search(said: Mapping[str, Any], slug: str, price: catalogue.Price) -> Extras | None:
    """The provider's own. Only Anthropic's heeds how often, and costs the same whatever it finds."""
    uses = _number(said.get("max_uses"))
    results = _number(said.get("max_results"), RESULTS)
    if not price.search or uses is None or results is None or not slug.lstrip("~").startswith("anthropic/"):
        return None
    # Where it is not to be had another engine searches.
    return Extras(uses * max(LEAST_FEE, results * RESULT_FEE, price.search), None, uses)


def _characters(size: object) -> int | None:
    if size is None:
        return max(CHARACTERS.values())
    return CHARACTERS.get(size) if isinstance(size, str) else None


def _number(value: object, otherwise: int | None = None) -> int | None:
    """A count; ``otherwise`` where none is said, None for what is none."""
    if value is None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return None
    return min(value, _MOST)


def _items(value: object) -> Sequence[Any]:
    """Of a member of the request, which may lack; one odd item where it is no list."""
    listed = _listed(value)
    return listed if listed is not None else () if value is None else (None,)


def _listed(value: object) -> list[Any] | None:
    """A list; None for anything else."""
    return list(value) if isinstance(value, list | tuple) else None
