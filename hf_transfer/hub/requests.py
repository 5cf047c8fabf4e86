"""Talking to the Hub with patience that ends.

`huggingface_hub` tries most requests of an upload again by itself (five times, honouring Retry-After). What it lacks is
added here: a bound on all of it together, time-outs, and the requests that it tries once.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hf_transfer.hub.errors import BUSY, GivenUp, asked_to_wait, passing, response_of, words

T = TypeVar("T")
PATIENCE = 600.0  # seconds of trouble without a file getting through
SILENCE = 100.0  # seconds without a byte after which a request is given up


class Trouble:
    """Since when nothing has worked; a file that gets through ends the trouble."""

    def __init__(self, patience: float) -> None:
        self.patience, self.since, self.why = patience, 0.0, "the Hub does not answer"

    def left(self) -> float:
        """Seconds until it is too much."""
        return self.patience - (time.monotonic() - self.since) if self.since else self.patience

    def note(self, why: str) -> None:
        """Something went wrong."""
        self.since, self.why = self.since or time.monotonic(), why

    def before(self, request: Any) -> None:
        """Let no request begin when the time is over (an event hook of httpx)."""
        if self.left() < 0:
            raise GivenUp(f"{self.why}, and nothing got through for {self.patience:.0f} s")

    def after(self, response: Any) -> None:
        """Watch the answers; let nobody sleep for longer than is left (an event hook of httpx)."""
        if response.status_code in BUSY:
            self.note(f"the Hub answered {response.status_code}")
            if (asked := asked_to_wait(response)) > self.left():
                raise GivenUp(f"the Hub asks to come back in {asked:.0f} s ({response.status_code})")
        elif response.status_code < 300 and response.request.method == "PUT":
            self.since = 0.0


def patience(seconds: float = PATIENCE) -> float:
    """Seconds of trouble to bear; HF_TRANSFER_HUB_PATIENCE in the environment says otherwise."""
    try:
        return float(os.environ["HF_TRANSFER_HUB_PATIENCE"])
    except (KeyError, ValueError):
        return seconds


def persist(action: Callable[[], T], say: Callable[[str], None], seconds: float) -> T:
    """Call `action` until it succeeds; what cannot get better, or too much trouble, is raised.

    Args:
        action: may be called again after it failed half-way.
        say: is told of every new try, in a line.
        seconds: of trouble to bear.
    """
    trouble, pause = Trouble(seconds), 1.0
    with _bounded(trouble), _told(say, trouble):
        while True:
            try:
                return action()
            except Exception as error:
                if not passing(error):
                    raise
                trouble.note(words(error))
                wait = max(pause, asked_to_wait(response_of(error)))
                if wait > trouble.left():
                    raise
                say(f"{words(error)}; trying again in {wait:.0f} s")
            time.sleep(wait)
            pause = min(2 * pause, 30.0)


@contextmanager
def _bounded(trouble: Trouble) -> Iterator[None]:
    """All requests of huggingface_hub under one clock, and none that waits for ever, as its own client would."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    before = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)

    def client() -> Any:
        made = before()
        hooks = made.event_hooks
        made.event_hooks = {
            "request": [*hooks["request"], trouble.before],
            "response": [*hooks["response"], trouble.after],
        }
        made.timeout = SILENCE
        return made

    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(before)


@contextmanager
def _told(say: Callable[[str], None], trouble: Trouble) -> Iterator[None]:
    """The retries that huggingface_hub logs, in words: its own lines hold addresses that may be signed."""

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            wait = re.search(r"(?:Retrying in|Waiting) ([\d.]+)s", text)
            if wait:
                say(f"{trouble.why}; trying again in {float(wait[1]):.0f} s")
            else:  # of a connection that failed nothing else tells
                code = re.search(r"HTTP Error (\d+)", text)
                trouble.note(f"the Hub answered {code[1]}" if code else "the connection to the Hub failed")

    logger, teller = logging.getLogger("huggingface_hub.utils._http"), Teller(logging.WARNING)
    logger.addHandler(teller)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.propagate = propagated
