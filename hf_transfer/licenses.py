"""Licences: read from cards, what they forbid, and what may be said of a model made from two licensed things."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_transfer import embedded

# https://huggingface.co/docs/hub/repositories-licenses; any other word in a card's `license` is refused there.
_LIST = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    openrail++ afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl
    gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0
    odc-by odbl openmdw-1.0 osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other
"""
KNOWN = frozenset(_LIST.split())
FREE_OF_CONDITIONS = re.compile(
    r"apache-2\.0|mit|bsd.*|isc|zlib|unlicense|wtfpl|cc0.*|pddl|cc-by-\d.*|odc-by|cdla-permissive.*"
)


FORBIDS = {
    r"cc-by(-nc)?-nd-.*": "forbids passing on changed versions, and a fine-tuned model is one",
    r"cc-by-nc.*|fair-noncommercial.*|deepfloyd-if-license": "forbids commercial use",
    r"h-research|intel-research|apple-amlr": "allows research only",
}
Card = dict[str, str]
"""`license`, and where that is `other` also `license_name` and `license_link`, as far as the card states them."""


def base_license(name: str, hub_id: str | None = None) -> Card:
    """What the base model's card says of its licence; empty where it says nothing or there is no card.

    Args:
        name: the folder or Hub id that the model was loaded from; a folder's README.md is its card.
        hub_id: the Hub id that a folder stands for.
    """
    found = of_folder(Path(name)) if Path(name).is_dir() else of_hub(name)
    if not found and hub_id and hub_id != name:
        found = of_hub(hub_id)
    return found or ({"license": embedded.LICENSE} if hub_id == embedded.HUB_ID else {})


def of_folder(folder: Path) -> Card:
    """What the README.md of a folder says of the licence, if there is one."""
    return _of_card(folder / "README.md")


def of_hub(repo_id: str, repo_type: str = "model") -> Card:
    """What a repository's card says of the licence: from the cache, else from the Hub if that can be reached."""
    import logging

    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repo_id, "README.md", repo_type=repo_type)
        if isinstance(cached, str):
            return _of_card(Path(cached))
        if constants.HF_HUB_OFFLINE:
            return {}
        return _of_card(Path(hf_hub_download(repo_id, "README.md", repo_type=repo_type)))
    except Exception as error:  # a licence that cannot be read is unknown, and said to be
        logging.getLogger(__name__).debug("no card of %s: %s", repo_id, error)
        return {}


def _of_card(path: Path) -> Card:
    from huggingface_hub import metadata_load

    try:
        found: Mapping[str, Any] = metadata_load(path) or {} if path.is_file() else {}
    except Exception:  # front matter that is no YAML
        return {}
    stated = found.get("license")
    names = [str(name).strip().lower() for name in (stated if isinstance(stated, list) else [stated]) if name]
    if not names or names == ["unknown"]:
        return {}
    others = {key: str(found[key]) for key in ("license_name", "license_link") if found.get(key)}
    return {"license": ", ".join(names), **(others if names == ["other"] else {})}


def license_warnings(base: str | None, data: str | None, published: bool = False) -> list[dict[str, str]]:
    """What the two licences forbid, as warnings for the plan; with `published` also that one is not known."""
    found = []
    for where, licence in (("licence of the base model", base), ("licence of the data", data)):
        mend = "ask for permission, or choose another, before you publish or use the model so"
        for name in (licence or "").split(", "):
            for pattern, what in FORBIDS.items():
                if re.fullmatch(pattern, name.lower()):
                    found.append({"where": where, "what": f"{name} {what}", "mend": mend})
        if licence == "other":
            what = "its terms are its own (other)"
            found.append({"where": where, "what": what, "mend": "read them before you publish the model"})
        if published and not licence:
            mend = "find out whether the model may be passed on"
            found.append({"where": where, "what": "not known", "mend": mend})
    return found


def front_matter(base: str | None, data: str | None, more: Mapping[str, Any] | None = None) -> Card:
    """`license` (with `license_name` for `other`) of a model tuned from `base` on `data`.

    The base model's licence is carried over, with `license_name` and `license_link` from `more` where it is `other`.
    Where the data's is another one with conditions of its own (share alike, no commercial use), neither name alone
    would be true, and the card's text has to be read: `other`.
    """
    if not base:
        return {"license": "unknown"}
    base, data = base.strip().lower(), (data or "").strip().lower()
    if data and data not in (base, "unknown") and not FREE_OF_CONDITIONS.fullmatch(data):
        return {"license": "other", "license_name": "see-model-card"}
    if base not in KNOWN:
        return {"license": "other", "license_name": _name(base)}
    if base != "other":
        return {"license": base}
    stated, link = (str((more or {}).get(key) or "") for key in ("license_name", "license_link"))
    found = {"license": base, "license_name": _name(stated) if stated else "see-base-model"}
    return found | ({"license_link": link} if link.startswith("https://") else {})


def _name(text: str) -> str:
    """A licence's name in the form that the Hub takes."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-") or "unnamed"
