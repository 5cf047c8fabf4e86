"""Throughput and peak memory of a base-size encoder on one GPU: plain, FSDP2 and DeepSpeed, in bf16, one row each.

    python benchmarks/gpu.py --out gpu.csv             # every file of CASES, each launched on one process
    python benchmarks/gpu.py --out gpu.csv --only fsdp2.yaml
    python benchmarks/gpu.py --out small.csv --small   # a tiny model on whatever is there, to try the script itself

It needs no network and no checkpoint: the model (BERT-base's sizes, 109 M parameters) is made from its configuration
and the rows are random tokens, so the figures are about speed and memory alone. A case that cannot run here (no
DeepSpeed, no GPU) gets a row with the reason. Needs torch >= 2.11 and transformers >= 5.17.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results_file import add

CONFIGS = Path(__file__).resolve().parent.parent / "accelerate_configs"
CASES = ("single_gpu.yaml", "fsdp2.yaml", "zero2.yaml", "zero3.yaml")
COLUMNS = ("case", "device", "precision", "parameters", "rows_a_step", "tokens", "steps", "seconds")
COLUMNS += ("tokens_per_second", "peak_gb", "loss", "torch", "transformers", "accelerate", "reason")
BASE = {"vocab_size": 30522}  # the rest are BertConfig's defaults: BERT-base
SMALL = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64}


def measure(case: str, out: str, small: bool, batch: int, length: int, steps: int) -> None:
    """Train on random tokens and append one row; runs under `accelerate launch`."""
    import torch
    from transformers import TrainerCallback

    from hf_transfer.hardware import versions

    class Warm(TrainerCallback):
        """Start the clock and the memory's peak after the first two steps."""

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                self.since = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        trainer, warm = random_trainer(folder, small, batch, length, steps + 2), Warm()
        trainer.add_callback(warm)
        parameters = sum(p.numel() for p in trainer.model.parameters())
        result = trainer.train()
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - warm.since
        trainer.plain_model()
    found = versions()
    row = {
        "case": case,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "precision": trainer.args.mixed_precision,
        "parameters": parameters,
        "rows_a_step": batch,
        "tokens": length,
        "steps": steps,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(batch * length * steps / seconds),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3) if on_gpu else "",
        "loss": round(result.training_loss, 4),
        **{name: found[name] for name in ("torch", "transformers", "accelerate")},
    }
    add(Path(out), row, COLUMNS)


def random_trainer(folder: str, small: bool, batch: int, length: int, steps: int):
    """A PhaseTrainer of a BERT from its configuration, with as many rows of random tokens as `steps` take."""
    import torch
    import transformers
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, BertConfig

    from hf_transfer.anatomy import layer_groups
    from hf_transfer.hardware import on_cpu
    from hf_transfer.strategies.phases import phases
    from hf_transfer.training.trainer import PhaseTrainer

    given = {"output_dir": folder, "max_steps": steps, "per_device_train_batch_size": batch}
    given |= {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": steps}
    args = transformers.TrainingArguments(**given, **on_cpu())
    transformers.set_seed(0)
    config = BertConfig(**(SMALL if small else BASE), num_labels=2)
    model = AutoModelForSequenceClassification.from_config(config)
    ids = torch.randint(5, 100, (batch * steps, length)).tolist()
    rows = Dataset.from_dict({"input_ids": ids, "labels": [i % 2 for i in range(len(ids))]})
    groups = layer_groups(model)
    phase = phases("full", groups)[0]
    return PhaseTrainer(model=model, args=args, phase=phase, groups=groups, train_dataset=rows)


def launch(case: str, asked: argparse.Namespace) -> bool:
    """One case in a process of its own; a row with the reason if it fails."""
    before = Path(asked.out).read_text() if Path(asked.out).exists() else ""
    words = ["--config_file", str(CONFIGS / case), "--num_processes", "1", "--main_process_port", "0"]
    if asked.small:
        words += ["--mixed_precision", "no"]
    own = ["--case", case, "--out", asked.out, *(["--small"] if asked.small else [])]
    own += ["--batch", str(asked.batch), "--length", str(asked.length), "--steps", str(asked.steps)]
    call = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *words, __file__, *own]
    done = subprocess.run(call, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode or Path(asked.out).read_text() == before:
        lines = [line for line in done.stderr.splitlines() if "Error" in line and "Child" not in line]
        why = (lines or ["it ended without a word"])[-1].strip()[:300]
        add(Path(asked.out), {"case": case, "reason": why}, COLUMNS)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="csv file; rows are added")
    parser.add_argument("--only", choices=CASES, help="one case")
    parser.add_argument("--small", action="store_true", help="a tiny model in fp32, on a CPU too")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        measure(asked.case, asked.out, asked.small, asked.batch, asked.length, asked.steps)
        return 0
    ran = [launch(case, asked) for case in ([asked.only] if asked.only else CASES)]
    print(Path(asked.out).read_text(), end="")
    return 0 if any(ran) else 1


if __name__ == "__main__":
    sys.exit(main())
