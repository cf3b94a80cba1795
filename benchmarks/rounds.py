"""Contestants in turns, in processes of their own; medians, and ratios of what one round measured.

A round starts every contestant afresh, warms it up, and lets all take turns. The ratio of two is the
median of the rounds' ratios: what disturbs the machine for a second disturbs both.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

from .contestants import STREAMS
from .environments import ROOT, Environment, surroundings
from .stream_server import text_of
from .worker import digest

Taken = dict[str, list[float]]
PATIENCE = 300
WARM_UP = 300
ENOUGH, MOST = 0.25, 5  # a turn of less CPU than that is taken again, so many times at most


class Unfit(Exception):
    """A contestant that cannot take part, and why."""


class Worker:
    """A contestant's process. A context manager; ``turn(...)`` sends an order and reads what it took."""

    def __init__(self, environment: Environment, *arguments: str, module: str = "benchmarks.worker") -> None:
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - `close` does
        self._process = subprocess.Popen(
            [environment.python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=surroundings(),
        )
        try:
            self._heard()
        except Unfit:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def turn(self, *order: Any) -> Any:
        """Send an order; answers what it took. Raises `Unfit` where the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        limit = Timer(PATIENCE, self._process.kill)
        limit.start()
        line = self._process.stdout.readline()
        limit.cancel()
        if not line:
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            raise Unfit(said[-1] if said else "it ended without a word")
        answer = json.loads(line)
        if isinstance(answer, dict) and "not_offered" in answer:
            raise Unfit(answer["not_offered"])
        return answer


class Streams:
    """The streaming contestants that can take part, against one server."""

    def __init__(self, environments: dict[str, Environment], base_url: str) -> None:
        self._environments = environments
        self._base_url = base_url
        self.unfit: dict[str, str] = {}

    def worker(self, name: str) -> Worker:
        """Start one. Raises `Unfit`."""
        environment = self._environments.get(STREAMS[name].environment)
        if environment is None:
            raise Unfit("its packages could not be installed")
        return Worker(environment, "stream", name, self._base_url)

    def measure(self, names: list[str], order: str, count: int, rounds: int, turns: int = 1) -> Taken:
        """CPU seconds a chunk of each fit contestant, one figure a round."""
        taken: Taken = {}
        for _ in range(rounds):
            for name, times in self._round(names, order, count, turns).items():
                taken.setdefault(name, []).append(median(times) / count)
        return {name: figures for name, figures in taken.items() if name not in self.unfit}

    def _round(self, names: list[str], order: str, count: int, turns: int) -> Taken:
        """Each fit contestant afresh and warm, then all in turns."""
        workers: dict[str, Worker] = {}
        times: Taken = {}
        with ExitStack() as stack:
            for turn in range(-1, turns):
                for name in names:
                    if name in self.unfit:
                        continue
                    try:
                        if turn < 0:
                            workers[name] = stack.enter_context(self.worker(name))
                            answer(workers[name], "each", WARM_UP)
                        else:
                            times.setdefault(name, []).append(_turn(workers[name], order, count))
                    except Unfit as reason:
                        self.unfit[name] = str(reason)
        return times


def answer(worker: Worker, order: str, count: int) -> float:
    """CPU seconds of one streamed answer, whose text is checked."""
    said = worker.turn(f"{order} {count}")
    if said["text"] != digest(text_of(count)):
        raise Unfit("it read another text")
    return float(said["cpu"])


def _turn(worker: Worker, order: str, count: int) -> float:
    """The median of as many answers as make a figure. A paced one takes its time as it is."""
    times = [answer(worker, order, count)]
    while order == "each" and sum(times) < ENOUGH and len(times) < MOST:
        times.append(answer(worker, order, count))
    return median(times)


@contextmanager
def server(python: Path, module: str = "benchmarks.stream_server") -> Iterator[str]:
    """The base URL of a stream server in a process of its own."""
    with subprocess.Popen([python, "-m", module], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def ratio(taken: Taken, name: str, base: str) -> float | None:
    """The median over the rounds of what one took against another."""
    if not taken.get(name) or not taken.get(base):
        return None
    return median(ours / theirs for ours, theirs in zip(taken[name], taken[base], strict=True))


def exponent(small: float, large: float, growth: float) -> float:
    """How the cost grows with the size: 1 is in proportion, 2 with its square."""
    return math.log(large / small) / math.log(growth)
