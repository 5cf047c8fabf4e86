"""Errors of the Hub: which may pass, how long a server asks to wait, and what to tell people."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

BUSY = (408, 412, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)  # 412: another commit was faster


class GivenUp(Exception):
    """The time for troubles is over, or the server asks to wait for longer than is left of it."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def response_of(error: BaseException) -> Any:
    """The Hub's answer that an error is about, or None."""
    found = (getattr(cause, "response", None) for cause in causes(error))
    return next((response for response in found if response is not None), None)


def status_of(error: BaseException) -> int:
    """The HTTP status that an error is about, or 0."""
    return getattr(response_of(error), "status_code", 0)


def passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: a busy server, a broken connection, an answer cut short."""
    if any(isinstance(cause, GivenUp) for cause in causes(error)):
        return False
    return status_of(error) in BUSY or (not status_of(error) and broken(error))


def broken(error: BaseException) -> bool:
    """Whether the connection failed. httpx is `httpx` or `httpx2` by the version of huggingface_hub, so names tell."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    for cause in causes(error):
        names = {kind.__name__ for kind in type(cause).__mro__}
        if isinstance(cause, OfflineModeIsEnabled) or "UnsupportedProtocol" in names:
            return False
        plain = isinstance(cause, ConnectionError | TimeoutError | json.JSONDecodeError)
        if plain or names & {"TransportError", "DecodingError"}:
            return True
    return False


def asked_to_wait(response: Any) -> float:
    """Seconds that a server asks to wait for (Retry-After as seconds or date, or the Hub's ratelimit), or 0."""
    headers = getattr(response, "headers", None) or {}
    given, limit = headers.get("retry-after", ""), headers.get("ratelimit", "")
    if given.strip().isdigit():
        return float(given)
    if given:
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            return 0.0
    spent = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", limit)
    return float(spent[1]) if spent and response.status_code == 429 else 0.0


def words(error: BaseException) -> str:
    """What went wrong, in words without addresses (they may be signed) or a token."""
    status = status_of(error)
    said = {
        401: "the Hub does not accept the token",
        403: "the token may not do this",
        404: "the repository was not found, or the token may not see it",
        412: "somebody else has just changed the repository",
        429: "the Hub has had too many requests",
    }
    given_up = next((cause for cause in causes(error) if isinstance(cause, GivenUp)), None)
    if given_up:
        return str(given_up)
    if status >= 500:
        return f"the Hub is in trouble ({status})"
    if not status:
        if broken(error):
            return "the connection to the Hub failed"
        return _without_addresses(f"{type(error).__name__}: {error}")
    server = next((text for cause in causes(error) if (text := getattr(cause, "server_message", None))), "")
    return _without_addresses(
        f"{said.get(status, 'the Hub refuses')} ({status}){': ' + server if server else ''}"
    )


def _without_addresses(text: str) -> str:
    return re.sub(
        r"https?://\S+", "(address)", re.sub(r"hf_[A-Za-z0-9]{9,}", "(token)", " ".join(text.split()))
    )[:500]
