"""What was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from textwrap import fill

WIDTH = 110


@dataclass(frozen=True)
class Verdict:
    """A figure that was to be reached: at most ``limit``, or at least. None where nothing was measured."""

    what: str
    limit: float
    measured: float | None
    unit: str = ""
    why: str = ""
    is_least: bool = False

    @property
    def says(self) -> str:
        if self.measured is None:
            return f"not measured: {self.why}" if self.why else "not measured"
        is_reached = self.measured >= self.limit if self.is_least else self.measured <= self.limit
        return "reached" if is_reached else "**missed**"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        measured = "" if self.measured is None else self._told(self.measured)
        limit = f"{'at least ' if self.is_least else ''}{self._told(self.limit)}"
        return self.what, limit, measured, self.says

    def _told(self, value: float) -> str:
        """Shares are told as such, but what may be more than the whole is no share."""
        return (share(value) if self.limit < 1 and not self.is_least else _plain(value)) + self.unit


@dataclass(frozen=True)
class Section:
    """One subject: what was to be reached, and everything that was measured."""

    title: str
    text: str
    verdicts: list[Verdict] = field(default_factory=list)


def share(value: float) -> str:
    """A ratio as it is spoken of: ``1.25``, ``1/8``."""
    if not 0 < value < 0.95:
        return _plain(value)
    whole = 1 / value
    return f"1/{_plain(whole)}" if whole < 20 else f"1/{whole:.1f}".removesuffix(".0")


def _plain(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """The median, and of several the least and the most: ``20.1 [19.0 to 24.3]``."""
    shown = [_short(value * scale) for value in (median(values), min(values), max(values))]
    return f"{shown[0]} [{shown[1]} to {shown[2]}]" if len(values) > 1 else shown[0]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def prose(text: str) -> str:
    """A paragraph in lines of one width, whatever was put into it."""
    return fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render(about: str, sections: Sequence[Section], unfit: dict[str, str], notes: str) -> str:
    """The whole page."""
    verdicts = [verdict.cells for section in sections for verdict in section.verdicts]
    parts = [
        "# Benchmarks",
        prose(about),
        "## To reach",
        table(("what", "at most", "measured", ""), verdicts),
    ]
    if unfit:
        absent = "\n".join(f"* {name}: {reason}" for name, reason in unfit.items())
        parts.append(f"Took no part:\n\n{absent}")
    parts += [notes.strip(), *(f"## {section.title}\n\n{section.text}" for section in sections)]
    return "\n\n".join(parts) + "\n"


def spliced(page: str, sections: Sequence[Section], about: str, unfit: dict[str, str]) -> str:
    """A page of `render` with these sections in place of those of their titles, and their verdicts too."""
    before, *known = page.split("\n## ")
    parts = dict(part.split("\n", 1) for part in known)
    rows = parts["To reach"].strip().split("\n")
    for section in sections:
        for verdict in section.verdicts:
            row = f"| {' | '.join(verdict.cells)} |"
            here = [at for at, old in enumerate(rows) if old.startswith(f"| {verdict.what} |")]
            end = 1 + max(at for at, old in enumerate(rows) if old.startswith("|"))
            rows[here[0] if here else end : here[0] + 1 if here else end] = [row]
        absent = "".join(f"\n* {name}: {reason}" for name, reason in unfit.items())
        took_no_part = f"\n\nTook no part:\n{absent}" if absent else ""
        parts[section.title] = f"\n{section.text}\n\n{prose(about)}{took_no_part}\n"
    parts["To reach"] = "\n" + "\n".join(rows) + "\n"
    return "\n## ".join([before, *(f"{title}\n{text}" for title, text in parts.items())])
