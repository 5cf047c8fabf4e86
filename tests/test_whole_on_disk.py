"""What is on disk is whole: torn checkpoints, models moved into their place, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from architectures import make
from conftest import ROOT
from resumed_runs import STEPS
from small_training import make_setup

from hf_transfer.saved import complete, newest_checkpoint, placed
from hf_transfer.training.train import train


def test_every_cut_file_of_a_checkpoint_makes_it_torn(tmp_path: Path) -> None:
    train(make_setup(make("bert"), "bert", tmp_path, **STEPS, max_steps=1))
    whole = tmp_path / "checkpoint-1"
    names = sorted(path.name for path in whole.iterdir())
    assert {"files.json", "losses.json", "model.safetensors", "optimizer.pt", "rng_state.pth"} <= set(names)
    unread = {
        "training_args.bin",
        "files.json",
    }  # where a checkpoint has no list, as stock's: only what is read
    for listed, cut in ((True, names), (False, sorted(set(names) - unread))):
        for name in cut:
            for share in (0.0, 0.5, 0.99):
                torn = tmp_path / "torn"
                shutil.copytree(whole, torn)
                if not listed:
                    (torn / "files.json").unlink()
                assert complete(torn)
                os.truncate(torn / name, int((torn / name).stat().st_size * share))
                assert not complete(torn), (name, share, listed)
                shutil.rmtree(torn)
    assert complete(whole)
    (whole / "rng_state.pth").unlink()
    assert newest_checkpoint(tmp_path) is None


def test_what_a_killed_write_has_left_goes_though_nothing_is_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill comes after the phase's last checkpoint is in its place and before what is left of it is gone."""

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    given = STEPS | {"max_steps": 2, "save_total_limit": 1}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("hf_transfer.training.writing.tidy", killed)
        train(make_setup(make("bert"), "bert", tmp_path, **given | {"save_steps": 2}))
    (tmp_path / "checkpoint.partial").mkdir(exist_ok=True)
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "checkpoint-1")  # should have been rotated away
    train(make_setup(make("bert"), "bert", tmp_path, **given), resume=True)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-2"]


def test_a_model_is_moved_into_its_place_whole(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("before")
    with pytest.raises(OSError, match="full"), placed(tmp_path) as beside:
        (beside / "model.safetensors").write_text("half")
        raise OSError("full")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.safetensors", "before")]
    with placed(tmp_path) as beside:
        (beside / "model.safetensors").write_text("after")
        assert (tmp_path / "model.safetensors").read_text() == "before"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.safetensors", "after")]


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from architectures import make
from small_training import make_setup
from hf_transfer import command
from hf_transfer.training.train import train
import torch
torch.set_num_threads(1)
folder = Path(sys.argv[1])
def main():
    model = make("bert")
    size = sum(p.numel() for p in model.parameters()) * 4
    setup = make_setup(model, "bert", folder, save_strategy="steps", save_steps=1, max_steps=9)
    room = int(size * 3 * 2.5)  # two checkpoints and a half
    import shutil
    free = shutil.disk_usage(folder).free
    (folder / "of_others").write_bytes(bytes(free - room))
    train(setup)
sys.exit(command(main))
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = tmp_path / "full.py"
    script.write_text(FULL.format(tests=str(ROOT / "tests")))
    mounted = f"mount -t tmpfs -o size=64m none {folder} && {sys.executable} {script} {folder}; code=$?; "
    mounted += f"ls {folder} > {tmp_path}/listed; exit $code"
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a user namespace, to mount a small disk")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted], capture_output=True, text=True, env=environment
    )
    listed = (tmp_path / "listed").read_text().split()
    assert done.returncode == 1, done.stderr[-2000:]
    assert "The disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
    kept = [name for name in listed if name.startswith("checkpoint-")]
    assert kept == ["checkpoint-1", "checkpoint-2"] and "checkpoint.partial" not in listed
    assert f"Safe on disk: {folder}/checkpoint-2" in done.stderr
