"""What the simulation says in a chat when nothing is to be looked up: Markdown of every kind a page shows.

The one rule: it says that it is a simulation, and is the same each time.
"""

from __future__ import annotations

import re

from .asked import Asked
from .scripts import Piece, Reasoning, words

_HELLO = re.compile(
    r"\s*(?:hello|hi|hey|good (?:morning|day|evening))\b[\s!.,]*(?:there|you)?[\s!.]*\Z", re.I
)
_THINKS = re.compile(r"\b(?:think|reason|reasoning|step by step|ponder|puzzle)\b", re.I)
_LONG = re.compile(r"\b(\d{2,5}) words\b", re.I)
MOST_WORDS = 20_000

_GREETING = """\
Hello! I am a simulation: no model is asked here. Try one of these:

- *Which orders of Ada and Grace are on their way?*
- *Move order 1003 one week later*, which waits until you have allowed it
- *Think about a puzzle*, and I show some reasoning
- anything else, and I show what Markdown looks like
"""

_THOUGHT = """\
Nobody is thinking here, but this is where a model would. A farmer has a fox, a goose and a bag of beans, \
and a boat for himself and one of them. Left alone the fox eats the goose, and the goose eats the beans.

The fox and the beans do each other no harm, so the goose has to go first. Then one of the others, say \
the fox. But then fox and goose are together on the far side, so the goose comes back with him.

Now the beans go over, the goose waits alone on this side, and the fox does not care for beans. The last \
way is for the goose. That makes seven crossings: goose, back, fox, goose back, beans, back, goose.
"""

_PUZZLE = """\
**Seven crossings**, with a fox, a goose and a bag of beans:

1. The goose goes over, and the farmer comes back alone.
2. The fox goes over, and the goose comes back.
3. The beans go over, and the farmer comes back alone.
4. The goose goes over.

The trick is the one step *backwards*: the goose travels three times.
"""

_SHOW = """\
## A simulated answer

No model was asked, so this is always the same. It shows what a page makes of **Markdown**: *emphasis*,
`code`, and

- a list,
- with a second item,
  1. and numbers
  2. inside it.

| What | How long |
|---|---:|
| the first token | 30 ms |
| the whole answer | a few seconds |

```python
def greet(name: str) -> str:
    \"\"\"A sentence for somebody.\"\"\"
    return f"Hello, {name}!"


print(greet("Ada"))  # Hello, Ada!
```

> Set `OPENROUTER_API_KEY` and start the site again to talk to a real model.

More about that: [the documentation of OpenRouter](https://openrouter.ai/docs).
"""

_PARAGRAPH = (
    "This is a long answer that nobody has written, so that one can see how a page bears it. It goes on and "
    "on, sentence by sentence, and says nothing in any of them. Now and then there is a new paragraph. "
)


def small_talk(asked: Asked) -> tuple[Piece, ...]:
    """An answer to anything."""
    if _HELLO.match(asked.human):
        return words(_GREETING)
    if _THINKS.search(asked.human):
        return (*(Reasoning(word) for word in words(_THOUGHT)), *words(_PUZZLE))
    if wanted := _LONG.search(asked.human):
        return words(_long(min(int(wanted[1]), MOST_WORDS)))
    return words(_SHOW)


def _long(count: int) -> str:
    """So many words, in paragraphs."""
    said = _PARAGRAPH.split()
    paragraphs = [said[: min(len(said), count - start)] for start in range(0, count, len(said))]
    return "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)
