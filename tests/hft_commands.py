"""`hft` inside the test's process: how a command ends and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from hf_transfer.cli import main


def ending(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err
