"""Tweets without labels before a task on tweets: what adapting a language model to them is worth. One row of the csv for each run.

    python benchmarks/domain.py --data FOLDER --out docs/domain.csv
    python benchmarks/domain.py --data FOLDER --out docs/domain.csv --model FOLDER/models/stories260k --learning_rate 1e-3

FOLDER holds tweet_eval_irony, tweet_eval_offensive and tweet_eval_stance_abortion, of whose training texts `domain_rows` are drawn by
the seed to adapt to, and tweet_eval_emotion, the task: `rows` of its training rows, drawn by the seed, and its validation
rows as the test, which nothing is chosen on. The task is trained from the adapted and from the original checkpoint with the same
rows and seed; the interval is that of the difference on the test rows (paired bootstrap). A run that the csv holds is skipped.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from results_file import add, held

DOMAIN = ("tweet_eval_irony", "tweet_eval_offensive", "tweet_eval_stance_abortion")
FIELDS = ("model", "domain_rows", "rows", "domain_epochs", "epochs", "learning_rate", "seed", "perplexity_before", "perplexity_after", "metric",
          "unadapted", "adapted", "gain_low", "gain_high", "seconds")  # fmt: skip
KEY = FIELDS[:7]


def drawn(data: Path, domain_rows: int, rows: int, seed: int) -> tuple[list[str], dict[str, pd.DataFrame]]:
    """Texts of the domain, and `train` and `test` of the task."""
    tweets = pd.concat([pd.read_parquet(data / name / "train.parquet")["text"] for name in DOMAIN])
    texts = tweets.drop_duplicates().sample(domain_rows, random_state=seed).tolist()
    train, test = (
        pd.read_parquet(data / "tweet_eval_emotion" / f"{s}.parquet") for s in ("train", "validation")
    )
    return texts, {"train": train.sample(min(rows, len(train)), random_state=seed), "test": test}


def measured(asked: Any, model: str, key: tuple[Any, ...], folder: str) -> dict[str, Any]:
    """Perplexities and the task's figures."""
    from datasets import Dataset, DatasetDict

    from hf_transfer import adapt

    _, domain_rows, rows, domain_epochs, epochs, _, seed = key
    texts, frames = drawn(asked.data, domain_rows, rows, seed)
    splits = DatasetDict(
        {
            name: Dataset.from_pandas(frame.astype({"label": str}), preserve_index=False)
            for name, frame in frames.items()
        }
    )
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "eval_strategy": "no",
             "load_best_model_at_end": False}  # fmt: skip
    quiet |= {"bf16": True, "use_cpu": True} if asked.bf16 else {}
    quiet |= {"learning_rate": asked.learning_rate} if asked.learning_rate else {}
    found = adapt(
        model, splits, domain=pd.DataFrame({"text": texts}), compare=True, seed=seed, probe=False, skip_reload_check=True,
        args=quiet | {"output_dir": folder, "num_train_epochs": epochs}, overwrite_output_dir=True,
        adapt_args=quiet | {"num_train_epochs": domain_epochs}, text_column="text", label_column="label",
    )  # fmt: skip
    language = found.language_model
    new = bool(language.record["base_model"]["new"])  # its perplexity before says nothing
    return {
        "perplexity_before": "" if new else round(language.metrics["eval_baseline_perplexity"], 3),
        "perplexity_after": round(language.metrics["eval_perplexity"], 3),
        "metric": found.gain.metric,
        "unadapted": round(found.gain.first, 4),
        "adapted": round(found.gain.second, 4),
        "gain_low": round(found.gain.low, 4),
        "gain_high": round(found.gain.high, 4),
    }


def main() -> None:
    """Run what the csv does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", help="checkpoint; MiniLM by default")
    parser.add_argument("--domain_rows", type=int, default=8000)
    parser.add_argument("--rows", nargs="+", type=int, default=[3257])
    parser.add_argument("--domain_epochs", type=float, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--learning_rate", type=float, help="of both, the defaults' by default")
    parser.add_argument("--bf16", action="store_true", help="on a CPU")
    asked = parser.parse_args()
    from hf_transfer import minilm
    from hf_transfer.embedded import hub_id_of

    model = asked.model or minilm()
    name = Path(hub_id_of(model) or model).name
    done = held(asked.out, KEY)
    for rows, seed in product(asked.rows, asked.seeds):
        key = (
            name,
            asked.domain_rows,
            rows,
            asked.domain_epochs,
            asked.epochs,
            asked.learning_rate or "",
            seed,
        )
        if tuple(map(str, key)) in done:
            continue
        folder, started = tempfile.mkdtemp(), time.monotonic()
        row = dict(zip(KEY, key, strict=True)) | measured(asked, model, key, folder)
        row["seconds"] = round(time.monotonic() - started, 1)
        shutil.rmtree(folder)
        add(asked.out, row, FIELDS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
