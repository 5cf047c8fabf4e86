"""Phases and layer groups of one's own, from a config file to what learns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from architectures import make
from conftest import ROOT

from hf_transfer import Arguments, layer_groups, parse
from hf_transfer.problems import Problems
from hf_transfer.strategies.phases import phases

BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "strategies.md").read_text(), re.DOTALL)


def parsed(folder: Path, text: str) -> Arguments:
    path = folder / "run.yaml"
    path.write_text(text)
    return parse(Arguments, [str(path)])


def test_the_phases_of_the_docs_are_read_and_fit_a_model_of_six_blocks(tmp_path: Path) -> None:
    found = parsed(tmp_path, BLOCKS[0])
    groups = layer_groups(make("bert", num_hidden_layers=6))
    planned = phases(found.strategy, groups)
    assert [phase.learns for phase in planned[:2]] == [("head",), ("block.5", "block.6", "head")]
    assert planned[2].learns == tuple(group.name for group in groups)
    assert (planned[0].solve, planned[1].epochs, planned[2].layer_decay) == ("logistic", 1, 0.9)


def test_the_groups_of_the_docs_are_read(tmp_path: Path) -> None:
    found = parsed(tmp_path, BLOCKS[1])
    assert found.groups == yaml.safe_load(BLOCKS[1])["groups"]
    assert found.transfer()["groups"] == found.groups


@pytest.mark.parametrize("value", ["[1, 2]", "{a: 1}", "[{name: x}, full]"])
def test_what_is_neither_a_name_nor_phases_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="strategy"):
        parsed(tmp_path, f"strategy: {value}\n")
