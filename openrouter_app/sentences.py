"""What the engine says to people, in their language.

The engine knows no Django: its errors carry English sentences. Those that a page may show stand in the
catalogues (``tests/messages.py`` finds them); a sentence that holds a name or a number stays as it is.
"""

from __future__ import annotations

from django.utils.translation import gettext


def spoken(sentence: str) -> str:
    """The sentence in the language that is active here, or as it is."""
    return gettext(sentence) if sentence else sentence
