"""Every field of TrainingArguments is a flag, read from the source of whatever version is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_transfer.arguments import Arguments, parse
from hf_transfer.flags.print_config import written
from hf_transfer.training_fields import fields_in, training_fields

pytestmark = pytest.mark.usefixtures("empty_folder")


OTHER_VERSION = '''
from typing import Optional, Union
from .kinds import Speed


class TrainingArguments:
    """About.

    Parameters:
        rate (`float`, *optional*):
            How quick.
    """

    rate: Optional[float] = field(default=None)
    pace: Union[Speed, str] = field(default="slow")
    many: Optional[list[str]] = None
    rest: int = field(default=3, init=False)
'''


def test_every_field_is_a_flag_and_builds_training_arguments() -> None:
    from dataclasses import fields

    from transformers import TrainingArguments

    known = training_fields()
    assert list(known) == [item.name for item in fields(TrainingArguments) if item.init]
    # With all three stages at transformers' false nothing would be left to do, which is refused.
    left_out = ("hub_token", "debug", "output_dir", "use_cpu", "do_train")
    texts = {n: written(f.default).strip('"') for n, f in known.items() if n not in left_out}
    words = [f"--{name}={'none' if text == 'null' else text}" for name, text in texts.items()]
    values = parse(Arguments, words).training()
    for name, flag in known.items():
        if name not in left_out:
            assert values[name] == flag.default and type(values[name]) is type(flag.default), name
    stock = TrainingArguments(use_cpu=True).to_dict()
    built = TrainingArguments(**values | {"use_cpu": True}).to_dict()
    differ = {name for name in stock if stock[name] != built[name]}
    assert differ <= {"output_dir", "do_train"}


def test_fields_of_other_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(
        'class Speed(ExplicitEnum):\n    SLOW = "slow"\n    FAST = "fast"\n\nx = 1\n'
    )
    (tmp_path / "training_args.py").write_text(OTHER_VERSION)
    found = fields_in(tmp_path)
    assert set(found) == {"rate", "pace", "many"}
    assert found["rate"].help == "How quick."
    assert found["rate"].kind.types == {"none", "float"}
    assert found["pace"].kind.choices == ("slow", "fast")
    assert found["many"].kind.types == {"none", "list"}
