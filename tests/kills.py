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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import accelerate.optimizer
import numpy as np
import pandas as pd
import safetensors.torch
import tiny
import torch
import transformers
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, ViTImageProcessor

import hf_transfer
import hf_transfer.assess
import hf_transfer.data.loading
import hf_transfer.finishing
import hf_transfer.record
import hf_transfer.report
import hf_transfer.report.plots
import hf_transfer.saving
from hf_transfer import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, command, finetune
from hf_transfer.run import read_json

KINDS = {"step": 4, "batch": 3, "disk": 6, "torn": 4, "clock": 3}  # how often each is chosen
TIMES = ("seconds", "samples", "runtime", "per_second")
QUIET = {"report_to": "none", "disable_tqdm": True, "logging_steps": 3, "use_cpu": True}
QUIET |= {"learning_rate": 2e-3, "dataloader_pin_memory": False, "per_device_eval_batch_size": 8}
SAVE: dict[str, Any] = {"save_strategy": "steps", "eval_strategy": "steps", "save_total_limit": 1}


@dataclass(frozen=True)
class Case:
    """One way to train: arguments of `finetune`, and on how many gloo ranks."""

    name: str
    args: dict[str, Any]
    ranks: int = 1
    images: bool = False
    lora: bool = False
    options: tuple[tuple[str, Any], ...] = ()


EVERY = {**SAVE, "load_best_model_at_end": True, "max_steps": 11, "save_steps": 2, "eval_steps": 2}
SMALL = {"per_device_train_batch_size": 8}
CASES = [
    # dropout, masked words, accumulation, grouping by length; logs and checkpoints out of step
    Case(
        "accumulation, lengths, masking",
        EVERY
        | {
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 3,
            "train_sampling_strategy": "group_by_length",
        },
    ),
    Case("two phases", EVERY | SMALL, options=(("strategy", "two-phase"), ("layer_decay", 0.8))),
    Case("LoRA", EVERY | SMALL, lora=True),
    Case("ViT, augmentation", EVERY | SMALL | {"max_steps": 7}, images=True),
    # evaluation and checkpoint at different times, which meet at the end of an epoch
    Case(
        "saved by steps, measured by epoch",
        SMALL
        | {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "epoch", "num_train_epochs": 2}
        | {"load_best_model_at_end": False, "save_total_limit": 2, "logging_strategy": "epoch"},
    ),  # fmt: skip
    Case(
        "early stopping",
        EVERY | SMALL | {"max_steps": 40, "learning_rate": 2e-2, "metric_for_best_model": "eval_loss"},
        options=(("early_stopping_patience", 2),),
    ),
    Case(
        "epochs",
        SMALL
        | {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 3, "save_total_limit": 1},
    ),
    Case(
        "two ranks, lengths",
        EVERY | {"per_device_train_batch_size": 4, "train_sampling_strategy": "group_by_length"},
        ranks=2,
    ),
    Case(
        "two ranks, two phases, accumulation",
        EVERY | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        ranks=2,
        options=(("strategy", "two-phase"),),
    ),
    Case("two ranks, LoRA", EVERY | SMALL | {"per_device_train_batch_size": 4}, ranks=2, lora=True),
]


def masked(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A collator that hides one word in five, at random."""

    def hide(rows: list[Any]) -> Any:
        batch = collate(rows)
        if "labels" in batch:
            hidden = torch.rand(batch["input_ids"].shape) < 0.2
            batch["input_ids"][hidden & (batch["input_ids"] > 4)] = 4
        return batch

    return hide


def augmented(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A collator that mirrors images and adds noise, from all three random states."""

    def change(rows: list[Any]) -> Any:
        batch = collate(rows)
        if "labels" in batch:
            pixels = batch["pixel_values"]
            pixels = torch.stack([p.flip(-1) if random.random() < 0.5 else p for p in pixels])
            batch["pixel_values"] = pixels * float(np.random.uniform(0.8, 1.2)) + 0.1 * torch.randn_like(
                pixels
            )
        return batch

    return change


# What the runs start from.


def make_parts(folder: Path) -> None:
    """A tiny BERT and rows, a tiny ViT and images."""
    tiny.tiny_bert(folder)
    (folder / "rows.json").write_text(json.dumps(tiny.rows(60)))
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(image_size=16, patch_size=8, num_labels=2, hidden_dropout_prob=0.1, **small)
    ViTForImageClassification(config).save_pretrained(folder / "vit")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder / "vit")


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


def images() -> Any:
    """Forty images of noise, the second class brighter."""
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as PillowImage

    generator = np.random.default_rng(0)
    rows = {
        "image": [
            PillowImage.fromarray(generator.integers(60 * (i % 2), 200, (16, 16, 3), dtype=np.uint8))
            for i in range(40)
        ],
        "label": [("dark", "bright")[i % 2] for i in range(40)],
    }
    return Dataset.from_dict(rows, features=Features({"image": Image(), "label": Value("string")}))


def start(case: Case, parts: Path, folder: Path, resume: bool) -> Any:
    """The run as a recipe would start it."""
    from peft import LoraConfig

    task = IMAGE_CLASSIFICATION if case.images else TEXT_CLASSIFICATION
    more = (augmented if case.images else masked)(task.collator(None)) if case.images else None
    if not case.images:
        plain = task.collator
        task = replace(task, collator=lambda processor: masked(plain(processor)))
    else:
        task = replace(task, collator=lambda processor: more)
    given = {**QUIET, **case.args, "output_dir": str(folder), "resume_from_checkpoint": resume or None}
    given = {"load_best_model_at_end": True, **given}
    args = TrainingArguments(**given, do_train=True, do_eval=True, do_predict=True)
    return finetune(
        task,
        str(parts / ("vit" if case.images else "tiny_bert")),
        images() if case.images else json.loads((parts / "rows.json").read_text()),
        args=args,
        peft_config=LoraConfig(r=2, lora_dropout=0.1) if case.lora else None,
        skip_reload_check=True,
        cpu_threads=1,
        **dict(case.options),
    )


# Moments.


@dataclass(frozen=True)
class Moment:
    """When a run kills itself: at call `number` of what `kind` names; `share` of a torn file is left."""

    kind: str
    number: float
    share: float = 0.5

    def __str__(self) -> str:
        unit = " s" if self.kind == "clock" else ""
        cut = f" ({self.share:.0%} left)" if self.kind == "torn" else ""
        return f"{self.kind} {self.number:g}{unit}{cut}"


class Watch:
    """Counts the calls of each kind, tells where the run was, and kills at the moment."""

    def __init__(self, folder: Path, moment: Moment | None, said: Path) -> None:
        self.folder, self.moment, self.said = str(folder), moment, said
        self.counts: Counter[str] = Counter()
        self.busy = False

    def call(self, kind: str, what: str, torn: str | None = None) -> None:
        """One more call of a kind."""
        self.counts[kind] += 1
        moment = self.moment
        if moment is not None and (kind, self.counts[kind]) == (moment.kind, moment.number):
            self.busy = True
            if torn is not None:
                os.truncate(torn, int(os.path.getsize(torn) * moment.share))
            self.said.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)

    def disk(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: sees every file that Python opens, renames or deletes."""
        if self.busy or event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        path = arguments[0]
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        if isinstance(path, (str, os.PathLike)) and str(path).startswith(self.folder):
            self.call("disk", f"{event} {os.path.relpath(path, self.folder)}")


def watch(folder: Path, moment: Moment | None, said: Path) -> Watch:
    """Put the counters into this process."""
    found = Watch(folder, moment, said)
    sys.addaudithook(found.disk)

    def before(owner: Any, name: str, kind: str, what: Callable[..., str]) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            found.call(kind, what(*args, **kwargs))
            return plain(*args, **kwargs)

        setattr(owner, name, counted)

    def after(owner: Any, name: str, place: int) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            result = plain(*args, **kwargs)
            path = args[place] if len(args) > place else kwargs["filename"]
            if isinstance(path, (str, os.PathLike)):
                found.call("torn", os.path.relpath(path, folder), str(path))
            return result

        setattr(owner, name, counted)

    before(accelerate.optimizer.AcceleratedOptimizer, "step", "step", lambda *a, **k: "training")
    before(Trainer, "prediction_step", "batch", lambda *a, **k: "evaluation in training")
    before(hf_transfer.assess, "shared_scores", "batch", lambda *a, **k: "evaluation after training")
    after(torch, "save", 1)
    for module in (safetensors.torch, transformers.modeling_utils, sys.modules["peft.peft_model"]):
        for name in ("save_file", "safe_save_file"):
            if hasattr(module, name):
                after(module, name, 1)
    return found


# Runs.


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


# What must be the same.


def without_times(entry: Any) -> Any:
    """Metrics, ledger or history without what a clock measured."""
    if isinstance(entry, dict):
        return {k: without_times(v) for k, v in entry.items() if not any(word in k for word in TIMES)}
    return [without_times(item) for item in entry] if isinstance(entry, list) else entry


def differences(a: Path, b: Path) -> list[str]:
    """What of two run folders is not the same to the bit, but for times."""
    found = []
    for folder in ("", "adapter"):
        one, two = (sorted(p.name for p in (root / folder).glob("*") if p.is_file()) for root in (a, b))
        if one != two:
            found.append(f"files of /{folder}: {sorted(set(one) ^ set(two))}")
    weights = [p.relative_to(a) for p in [*a.glob("*.safetensors"), *a.glob("adapter/*.safetensors")]]
    found += [
        str(p) for p in weights if not (b / p).is_file() or (a / p).read_bytes() != (b / p).read_bytes()
    ]
    for name in ("all_results.json", "phases.json", "config.json"):
        one, two = (without_times(read_json(root / name)) for root in (a, b))
        if one != two:
            keys = [k for k in one if one[k] != two.get(k)] if isinstance(one, dict) else [f"{one} / {two}"]
            found.append(f"{name}: {keys}")
    logs = [
        [without_times(json.loads(line)) for line in (root / "history.jsonl").read_text().splitlines()]
        for root in (a, b)
    ]
    if logs[0] != logs[1]:
        found.append(
            f"history.jsonl: {[(x, y) for x, y in zip(*logs, strict=False) if x != y][:2] or 'length'}"
        )
    if not pd.read_parquet(a / "predictions.parquet").equals(pd.read_parquet(b / "predictions.parquet")):
        found.append("predictions.parquet")
    leftover = [str(p.relative_to(b)) for p in b.rglob("*.partial*")]
    return found + ([f"left over: {leftover}"] if leftover else [])


# The kills.


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
    moments, places = [], []
    for again in range(2):
        moment = moment_of(generator, counts, seconds)
        if again and generator.random() < 0.5:
            break
        (scratch / "killed.txt").unlink(missing_ok=True)
        resume = bool(again) and begun(folder)
        code = fork(case, parts, folder, resume, moment, scratch)
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
    from hf_transfer.run import holds_run

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
