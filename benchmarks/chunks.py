"""A chunk of a streamed answer: our chain against the least that could be done, and against the peers."""

from __future__ import annotations

from .contestants import PEERS
from .page import Section, Verdict, prose, share, spread, table
from .plan import Plan
from .rounds import Streams, Taken, ratio
from .stream_server import PAUSE

FLOOR, CHAIN = "httpx + msgspec", "chain"
FAST_FLOOR, FAST = "httpx + msgspec, fast", "chain, fast"
FLOOR_LIMIT = 1.25
LIMITS = {
    CHAIN: {"openai": 1 / 8, "pydantic-ai": 1 / 16, "langchain-openrouter": 1 / 50},
    FAST: {"openai": 1 / 18, "langchain-openrouter": 1 / 120},
}
TITLES = {CHAIN: "a chunk of the chain", FAST: "a chunk with the `fast` extra"}


def measure(streams: Streams, plan: Plan) -> Section:
    """Both comparisons, flat out and paced."""
    near = streams.measure([FLOOR, CHAIN, FAST_FLOOR, FAST], "each", plan.chunks, plan.rounds, plan.turns)
    everyone = [CHAIN, FAST, *PEERS]
    each = streams.measure(everyone, "each", plan.chunks, plan.rounds)
    paced = streams.measure(everyone, "paced", plan.paced_chunks, plan.rounds)
    verdicts = [
        Verdict(f"{TITLES[CHAIN]}, against httpx + msgspec alone", FLOOR_LIMIT, ratio(near, CHAIN, FLOOR))
    ]
    for ours, limits in LIMITS.items():
        for peer, limit in limits.items():
            why = streams.unfit.get(ours) or streams.unfit.get(peer, "")
            against = ratio(each, ours, peer)
            verdicts.append(Verdict(f"{TITLES[ours]}, against {peer}", limit, against, why=why))
    floors = table(
        ("", "µs CPU a chunk", "against its floor"),
        (
            (name, spread(near[name], 1e6), _against(near, name, base))
            for name, base in ((FLOOR, FLOOR), (CHAIN, FLOOR), (FAST_FLOOR, FAST_FLOOR), (FAST, FAST_FLOOR))
            if name in near
        ),
    )
    peers = table(
        ("", "µs CPU a chunk", "chain takes", "with `fast`", "paced: µs CPU", "chain takes", "with `fast`"),
        (
            (
                name,
                spread(each[name], 1e6),
                _against(each, CHAIN, name),
                _against(each, FAST, name),
                spread(paced[name], 1e6) if name in paced else "",
                _against(paced, CHAIN, name),
                _against(paced, FAST, name),
            )
            for name in everyone
            if name in each
        ),
    )
    near_text = prose(
        f"""`prompt | model | parser` streams {plan.chunks:,} chunks from a server in another process and
        the text is joined, against httpx and a typed msgspec decoder alone: its floor, without events,
        errors or tools. Each event is an HTTP chunk, a send and a packet of its own, flat out. "fast":
        over aiohttp, on uvloop; httpx hands out each event by itself, aiohttp what has come together."""
    )
    peers_text = prose(
        f"""The peers stream the same bytes and join the same text, each with its own client on asyncio's
        loop: langchain-openrouter as `prompt | model | parser`, pydantic-ai as an agent, openai and litellm
        as the plain call. "Paced": an event every {PAUSE * 1000:.0f} ms, each waking its reader, as a real
        stream does; most of that is the transport and the loop, so the ratios are smaller. Nothing is to be
        reached there."""
    )
    text = "\n\n".join((near_text, floors, peers_text, peers))
    return Section("A chunk of a streamed answer", text, verdicts)


def _against(taken: Taken, name: str, base: str) -> str:
    value = ratio(taken, name, base)
    return "" if value is None else share(value)
