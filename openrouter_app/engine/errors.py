"""Everything that can go wrong, drawn once.

The tree is split by who must act: the word before a colon. The class docstring is the advice::

    OpenRouterError
    ├── UsageError                  the caller: the chain, its input or its settings are wrong
    │   ├── TemplateError           a template is no template (has .position)
    │   ├── InputError              a variable is missing (has .variables)
    │   ├── ToolSpecError           a tool's name or schema is wrong (has .path)
    │   └── ConfigurationError      no model, a base URL that would leak the key
    │       └── MissingKeyError     no API key
    ├── ProviderError               OpenRouter or a provider behind it said no (has .status)
    │   ├── BadRequestError         the caller: 400, 404, 413, 422, this request can never work
    │   ├── KeyRejectedError        the user: 401, the key is wrong, revoked or expired
    │   ├── CreditError             the user: 402, not enough credit (may have .affordable_tokens)
    │   ├── ForbiddenError          the user: 403, moderation, guardrail, region
    │   ├── RateLimitError          nobody: 429, it passes (may have .retry_after)
    │   └── UpstreamError           OpenRouter: 5xx, no usable status, bodies that make no sense
    ├── TransportError              nobody: the network between us
    │   ├── ConnectError            no connection was made
    │   ├── ReadTimeoutError        connected, then silence
    │   └── BrokenStreamError       cut off, or ended without an end, after it had begun
    ├── OutputError                 nobody: the model answered, but not in the promised form
    │   └── PartialJSONError        text that is no JSON (has .position)
    └── ToolError                   the model: a tool's function tells it why there is no result

Every error carries a sentence for people (``str(error)``), a stable ``code`` of the websocket
protocol and ``retryable``. None ever carries a key, and none shows a provider's raw body in its
sentence: that is kept in ``detail`` for the log.
"""

from __future__ import annotations

from typing import Any


class OpenRouterError(Exception):
    """The root: catch this to catch everything the engine raises on purpose.

    ``message`` is a sentence for people, ``code`` one of the protocol's error codes,
    ``retryable`` whether the same request may succeed later, ``detail`` more for the log.
    Where it is known: ``status`` is the HTTP status or the error's own code, ``retry_after`` the
    seconds to wait, ``provider`` who served the answer, ``generation_id`` OpenRouter's id of it, and
    ``state`` how far a tool loop had come.
    """

    code = "provider"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        provider: str | None = None,
        generation_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.provider = provider
        self.generation_id = generation_id
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        self.detail = detail
        self.state: Any = None


class UsageError(OpenRouterError, ValueError):
    """The caller can fix this: the chain, its input or its settings cannot work."""

    code = "invalid_input"


class TemplateError(UsageError):
    """A template is wrong at ``position`` (characters from its start, 0-based): correct it there."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class InputError(UsageError):
    """Variables named in ``variables`` are missing or unknown: pass exactly what the chain asks for."""

    def __init__(self, message: str, *, variables: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.variables = variables


class ToolSpecError(UsageError):
    """A tool's name, schema or choice is wrong: the sentence names the place.

    ``path`` holds the names and indices that lead to it in the schema, none where all of it is meant.
    """

    def __init__(self, message: str, *, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class ConfigurationError(UsageError):
    """A setting is missing or unsafe: the sentence names it."""

    code = "provider"


class MissingKeyError(ConfigurationError):
    """There is no API key: set one."""

    code = "needs_key"


class ProviderError(OpenRouterError):
    """OpenRouter, or a provider behind it, refused or failed."""


class BadRequestError(ProviderError):
    """This model or these parameters cannot work: change the chain, do not retry."""


class KeyRejectedError(ProviderError):
    """The API key is missing, wrong, revoked or expired: set another one."""

    code = "key_rejected"


class CreditError(ProviderError):
    """The account cannot pay. ``affordable_tokens`` is what it could pay for, where that was said."""

    code = "credit"
    affordable_tokens: int | None = None


class ForbiddenError(ProviderError):
    """Moderation, a guardrail or a region refused this input: change the input."""

    code = "forbidden"


class RateLimitError(ProviderError):
    """Too many requests: wait ``retry_after`` seconds, then try again."""

    code = "limit"
    retryable = True


class UpstreamError(ProviderError):
    """The provider failed: try again later, or use another model."""

    retryable = True


class TransportError(OpenRouterError):
    """The network between here and OpenRouter failed."""

    retryable = True


class ConnectError(TransportError):
    """No connection could be made: check the base URL and the network."""


class ReadTimeoutError(TransportError):
    """OpenRouter was silent for too long: try again, or raise the timeout."""

    code = "timeout"


class BrokenStreamError(TransportError):
    """The answer was cut off, or ended without its end: what came so far is kept."""


class OutputError(OpenRouterError):
    """The model answered in a form that was not asked for. ``raw`` is the text it gave."""

    code = "output_invalid"
    retryable = True

    def __init__(self, message: str, *, raw: str = "") -> None:
        super().__init__(message, detail=raw[:2000])
        self.raw = raw


class PartialJSONError(OutputError):
    """Text that is no JSON; ``position`` counts characters from the text's start, 0-based."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class ToolError(OpenRouterError):
    """A tool's function raises it to tell the model why it has no result; any other error is not told."""

    code = "provider"
