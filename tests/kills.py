"""Runs that are killed at random moments and resumed, beside the same runs left alone.

    python tests/kills.py --kills 100 --seed 0 --log kills.csv

torch is imported once; every run is a fork of this process, or two that find each other over gloo. A run is killed
with SIGKILL by itself at the n-th call of what the moment names, or from outside after a time:

    step     before an optimizer step                 batch    before a batch of an evaluation
    disk     before a file of the run is opened for writing, renamed or deleted
    torn     after weights, optimizer or random states were written, with the file cut short
    clock    wherever it is

One of two resumed runs is killed a second time. Seeds and moments come from one seeded generator.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gc
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import numpy as np
import torch
from kill_cases import CASES, Case, make_parts, start
from kill_moments import Moment, watch
from run_differences import differences

from hf_transfer import command
from hf_transfer.run_folder import read_json

KINDS = {"step": 4, "batch": 3, "disk": 6, "torn": 4, "clock": 3}  # how often each is chosen


def warm_up() -> None:
    """Import here, and not in every fork, what evaluation and report import when they first need it."""
    from matplotlib.figure import Figure

    from hf_transfer.evaluation.classification import compute
    from hf_transfer.evaluation.intervals import intervals

    scores, labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], np.array([0, 1, 1, 0])
    compute("single_label_classification", scores, labels, num_labels=2)
    intervals("single_label_classification", scores, labels, ["accuracy", "f1_macro"], num_labels=2)
    # Plots take a third of such a run; here their files are written, but nothing is drawn.
    Figure(figsize=(1, 1)).savefig(empty := io.BytesIO(), format="png")
    Figure.savefig = lambda self, path, **_: Path(path).write_bytes(empty.getvalue())  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()  # what is here already is not looked through in every fork


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fork(case: Case, parts: Path, folder: Path, resume: bool, moment: Moment | None, scratch: Path) -> int:
    """Run the case in a fork for each rank; the code of the first that ended (-9: killed)."""
    port, ranks = free_port(), {}
    for rank in range(case.ranks):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = in_fork(
                    case, parts, folder, resume, moment if rank == 0 else None, scratch, rank, port
                )
            finally:
                os._exit(code)
        ranks[child] = rank
    until = time.monotonic() + (moment.number if moment and moment.kind == "clock" else 600)
    codes: dict[int, int] = {}
    while len(codes) < case.ranks:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            codes[ranks[done]] = os.waitstatus_to_exitcode(status)
        if (
            codes and any(codes.values())
        ) or time.monotonic() > until:  # as a launcher, or a machine, ends all
            for child, rank in ranks.items():
                if rank not in codes:
                    os.kill(child, signal.SIGKILL)
                    codes[rank] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.005)
    return codes[0] or max(codes.values(), key=abs)


def in_fork(
    case: Case, parts: Path, folder: Path, resume: bool, moment: Moment | None, scratch: Path, rank: int, port: int
) -> int:  # fmt: skip
    log = os.open(scratch / f"output-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if case.ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(case.ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(case.ranks)}
    counting = watch(folder, moment, scratch / "killed.txt")
    # What was drawn before must not matter to a resumed run.
    random.seed(time.time_ns())
    np.random.seed(time.time_ns() % 2**32)
    torch.manual_seed(time.time_ns())
    code = command(lambda: start(case, parts, folder, resume))
    counting.busy = True
    if rank == 0:
        (scratch / "counts.json").write_text(json.dumps(counting.counts))
    sys.stdout.flush()
    return code


def moment_of(generator: random.Random, counts: dict[str, int], seconds: float) -> Moment:
    """A moment of an uninterrupted run, drawn."""
    kinds = [kind for kind in KINDS if kind == "clock" or counts.get(kind)]
    kind = generator.choices(kinds, [KINDS[k] for k in kinds])[0]
    number = generator.uniform(0, seconds) if kind == "clock" else generator.randint(1, counts[kind])
    return Moment(kind, round(number, 3), round(generator.random(), 2))


def kill_and_resume(
    case: Case, parts: Path, whole: Path, generator: random.Random, counts: dict[str, int], seconds: float,
    scratch: Path,
) -> dict[str, Any]:  # fmt: skip
    """One row of the log."""
    folder = scratch / "run"
    shutil.rmtree(folder, ignore_errors=True)
    (scratch / "output-0.txt").unlink(missing_ok=True)
    moments: list[str] = []
    places: list[str] = []
    for again in range(2):
        moment = moment_of(generator, counts, seconds)
        if again and generator.random() < 0.5:
            break
        (scratch / "killed.txt").unlink(missing_ok=True)
        resume = bool(again) and begun(folder)
        code = fork(case, parts, folder, resume, moment, scratch)
        if code == 0 and not again:  # it ended before the clock, on a machine that has become quieter
            return kill_and_resume(case, parts, whole, generator, counts, seconds, scratch)
        if code == 0:  # the resumed run had fewer such calls left, or ended before the clock
            break
        said = scratch / "killed.txt"
        moments.append(str(moment))
        places.append(said.read_text() if said.is_file() else where(folder))
        if code != -signal.SIGKILL:
            return {
                "moment": " then ".join(moments),
                "place": " then ".join(places),
                "outcome": f"exit {code}",
            }
    code = fork(case, parts, folder, begun(folder), None, scratch)
    wrong = differences(whole, folder) if code == 0 else [f"resumed run ended with {code}"]
    outcome = "identical" if not wrong else "; ".join(wrong)
    return {"moment": " then ".join(moments), "place": " then ".join(places), "outcome": outcome}


def begun(folder: Path) -> bool:
    """Whether there is anything to resume; a run killed before it wrote anything is started again."""
    from hf_transfer.run_folder import holds_run

    return holds_run(folder)


def where(folder: Path) -> str:
    """What of a run was on disk when it was killed from outside."""
    if not begun(folder):
        return "preparation"
    done = len(read_json(folder / "phases.json")) if (folder / "phases.json").is_file() else 0
    saved = len([*folder.glob("checkpoint-*"), *folder.glob("phase-*/checkpoint-*")])
    writing = ", a checkpoint being written" if [*folder.rglob("checkpoint.partial")] else ""
    return f"{done} phases done, {saved} checkpoints{writing}" + (
        ", run.json" if (folder / "run.json").is_file() else ""
    )


@contextlib.contextmanager
def parts_in(folder: str | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", default="kills.csv")
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the cases; all of them by default")
    parser.add_argument("--scratch", help="a folder to keep")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    cases = [CASES[i] for i in given.cases] if given.cases else CASES
    rows: list[dict[str, Any]] = []
    with parts_in(given.scratch) as root, open(given.log, "w", newline="") as file:
        make_parts(root)
        log = csv.DictWriter(file, ["seed", "case", "moment", "place", "outcome"])
        log.writeheader()
        whole: dict[str, tuple[Path, dict[str, int], float]] = {}
        for number in range(given.kills):
            case = cases[number % len(cases)]
            scratch = root / f"case-{CASES.index(case)}"
            if case.name not in whole:
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                before = time.monotonic()
                code = fork(case, root, scratch / "whole", False, None, scratch)
                assert code == 0, (scratch / "output-0.txt").read_text()[-3000:]
                counts = read_json(scratch / "counts.json")
                whole[case.name] = (scratch / "whole", counts, time.monotonic() - before)
                print(f"{case.name}: {whole[case.name][2]:.1f} s, {counts}", flush=True)
            seed = given.seed * 100_000 + number
            row = {"seed": seed, "case": case.name}
            row |= kill_and_resume(case, root, whole[case.name][0], random.Random(seed), *whole[case.name][1:], scratch)  # fmt: skip
            rows.append(row)
            log.writerow(row)
            file.flush()
            print(f"{number + 1}: {row}", flush=True)
            if row["outcome"] != "identical" and given.scratch:
                shutil.copytree(scratch, root / f"failed-{seed}", dirs_exist_ok=True)
    good = sum(row["outcome"] == "identical" for row in rows)
    print(f"{good} of {len(rows)} killed runs ended as the uninterrupted one")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
