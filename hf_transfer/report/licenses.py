"""Licence names as the Hub knows them, and what may be said of a model made from two licensed things."""

from __future__ import annotations

import re

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


def front_matter(base: str | None, data: str | None) -> dict[str, str]:
    """`license` (with `license_name` for `other`) of a model tuned from `base` on `data`.

    The base model's licence is carried over. Where the data's is another one with conditions of its own (share
    alike, no commercial use), neither name alone would be true, and the card's text has to be read: `other`.
    """
    if not base:
        return {"license": "unknown"}
    base, data = base.strip().lower(), (data or "").strip().lower()
    if data and data not in (base, "unknown") and not FREE_OF_CONDITIONS.fullmatch(data):
        return {"license": "other", "license_name": "see-model-card"}
    if base not in KNOWN:
        return {
            "license": "other",
            "license_name": re.sub(r"[^a-z0-9.-]+", "-", base).strip("-") or "unnamed",
        }
    return {"license": base, "license_name": "see-base-model"} if base == "other" else {"license": base}
