"""Data sets on the Hub: answers at once where it cannot be reached."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hf_transfer.licenses import of_hub
from hf_transfer.problems import Problem, Problems

PATIENCE = 3.0  # seconds for the Hub to accept a connection; the clients' own retries take 25 s and more
HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


def reachable(endpoint: str, patience: float = PATIENCE) -> bool:
    """Whether the host of a URL accepts a connection within `patience` seconds; a proxy is believed to."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=patience).close()
            answers.append(True)
        except OSError:
            answers.append(False)

    thread = threading.Thread(target=connect, daemon=True)  # a name server that never answers has no timeout
    thread.start()
    thread.join(patience)
    return bool(answers and answers[0])


@contextmanager
def _offline() -> Iterator[None]:
    """Lets datasets and huggingface_hub look into their caches only."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def read_hub(name: str, config: str | None) -> tuple[dict[str, Any], str | None]:
    """All splits of a data set on the Hub (or in the local cache), and its licence if stated.

    Raises:
        Problems: it does not exist, needs a config or a login, or the Hub cannot be reached and it is not cached.
    """
    import datasets
    from huggingface_hub import constants

    where = "--dataset_name"
    if not HUB_ID.fullmatch(name):
        mend = "check the path, or give a Hub id such as stanfordnlp/imdb"
        raise Problems(Problem(where, f"{name!r} is no file or folder here, and no Hub id", mend))
    if (
        name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES
    ):  # load_dataset would read what lies about
        what = f"{name!r} is a file format, not a data set"
        raise Problems(Problem(where, what, "give a file, a folder or a Hub id"))
    wanted_offline = bool(datasets.config.HF_HUB_OFFLINE or constants.HF_HUB_OFFLINE)
    offline = wanted_offline or not reachable(constants.ENDPOINT)
    try:
        if not offline:
            found = datasets.load_dataset(name, config)
        else:
            with _offline():
                found = datasets.load_dataset(name, config)
    except datasets.exceptions.DatasetNotFoundError as error:
        mend = "check the spelling; a private or gated one needs `hf auth login` (or HF_TOKEN) and its terms accepted"
        raise Problems(
            Problem(where, f"{name!r} is no file or folder here, and {_short(error)}", mend)
        ) from error
    except ValueError as error:  # config missing or unknown
        raise Problems(
            Problem(where, f"{name!r}: {_short(error, 600)}", "give --dataset_config_name")
        ) from error
    except Exception as error:
        if not offline:
            cause = error.__cause__ or error
            what = f"{name!r} cannot be loaded: {type(cause).__name__}: {_short(cause)}"
            raise Problems(Problem(where, what, "try again, or download it and give the folder")) from error
        why = (
            "HF_HUB_OFFLINE is set" if wanted_offline else f"the Hub ({constants.ENDPOINT}) cannot be reached"
        )
        what = f"{name!r} is no file or folder here, is not in the cache, and {why}"
        local = name.rsplit("/", 1)[-1]
        mend = (
            f"check the path; or run where there is a network: hf download {name} --repo-type dataset "
            f"--local-dir {local}, copy that folder here and give --dataset_name {local}"
        )
        raise Problems(Problem(where, what, mend)) from error
    splits = dict(found) if isinstance(found, dict) else {"train": found}
    stated = next((rows.info.license for rows in splits.values() if rows.info.license), None)
    return splits, stated or _card_license(name, offline)


def _card_license(name: str, offline: bool) -> str | None:
    """The licence in the data set's card, which `datasets` does not read."""
    if not offline:
        return of_hub(name, "dataset").get("license")
    with _offline():
        return of_hub(name, "dataset").get("license")


def _short(error: BaseException, limit: int = 300) -> str:
    return " ".join(str(error).split())[:limit].rstrip(".")
