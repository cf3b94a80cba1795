"""OpenRouter's models: what they cost, and what they can do::

    from openrouter_app import catalogue

    catalogue.find("openai/gpt-4o:nitro")            # the row CatalogueModel "openai/gpt-4o", or None
    catalogue.price_of("openai/gpt-4o").completion   # Decimal("0.00001"), US dollars a token
    catalogue.search("gpt mini")                     # rows, the nearest first

    catalogue.sync()                                 # fetch the list, write what has changed
    catalogue.advice(chain)                          # what the chain needs and its models lack

All of it asks the database and is synchronous.
"""

from .advising import advice, advice_on, advice_on_age
from .prices import Price, find, price_of, prices_of, variants_of
from .searching import MAX_TEXT, search
from .syncing import Synced, sync

__all__ = [
    "MAX_TEXT",
    "Price",
    "Synced",
    "advice",
    "advice_on",
    "advice_on_age",
    "find",
    "price_of",
    "prices_of",
    "search",
    "sync",
    "variants_of",
]
