"""What the Hub's own check of a README refuses, as far as its documentation and its messages tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from hf_transfer.licenses import KNOWN

_ID = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
_TEXTS = ("pipeline_tag", "library_name", "license_name", "license_link")


def card_errors(content: str) -> list[str]:
    """What is wrong with a card's front matter."""
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
    if not found:
        return []
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    errors = [f'"{key}" must be a string' for key in _TEXTS if not isinstance(data.get(key, ""), str)]
    stated = data.get("license", [])
    licences = stated if isinstance(stated, list) else [stated]
    errors += [
        f'"license" must be one of [{", ".join(sorted(KNOWN)[:4])}, ...]' for x in licences if x not in KNOWN
    ]
    if "license_name" in data and not re.fullmatch(r"[a-z0-9-.]+", str(data["license_name"])):
        errors.append('"license_name" fails to match /^[a-z0-9-.]+$/')
    if "license_link" in data and not re.match(r"https?://|LICENSE", str(data["license_link"])):
        errors.append('"license_link" must be LICENSE, LICENSE.md or a URL')
    for key in ("datasets", "base_model"):
        named = data.get(key, [])
        for name in named if isinstance(named, list) else [named]:
            if not isinstance(name, str) or not _ID.fullmatch(name):
                errors.append(f'"{key}" with value "{name}" is not valid')
    for key in ("tags", "metrics"):
        if not all(isinstance(item, str) for item in data.get(key, [])):
            errors.append(f'"{key}" must be an array of strings')
    if data.get("base_model_relation", "finetune") not in ("finetune", "adapter", "merge", "quantized"):
        errors.append('"base_model_relation" must be one of [adapter, merge, quantized, finetune]')
    return errors + [
        error for i, model in enumerate(data.get("model-index", [])) for error in _index(i, model)
    ]


def _index(i: int, model: dict[str, Any]) -> Iterator[str]:
    where = f"model-index[{i}]"
    if not isinstance(model.get("name"), str) or not model["name"]:
        yield f'"{where}.name" is required'
    if not isinstance(model.get("results"), list):
        yield f'"{where}.results" must be an array'
    for k, result in enumerate(model.get("results") or ()):
        here = f"{where}.results[{k}]"
        if not (result.get("task") or {}).get("type"):
            yield f'"{here}.task.type" is required'
        for key in ("type", "name"):
            if not isinstance((result.get("dataset") or {}).get(key), str):
                yield f'"{here}.dataset.{key}" is required'
        kind = str((result.get("dataset") or {}).get("type", ""))
        if not _ID.fullmatch(kind):
            yield f'"{here}.dataset.type" with value "{kind}" fails to match the required pattern'
        if not result.get("metrics"):
            yield f'"{here}.metrics" must contain at least 1 item'
        for m, metric in enumerate(result.get("metrics") or ()):
            value = metric.get("value")
            if not isinstance(metric.get("type"), str):
                yield f'"{here}.metrics[{m}].type" is required'
            if value is None or value != value or value in (float("inf"), float("-inf")):
                yield f'"{here}.metrics[{m}].value" is required'
