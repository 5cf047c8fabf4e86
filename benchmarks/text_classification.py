"""Training speed against the stock Trainer on the same work, in one run: the ratio is the figure, not the seconds.

    python benchmarks/text_classification.py [--dataset_name FILE] [--rows 2000] [--bf16] [--rounds 3]

Both train the same model on the same rows for one epoch with the same batch, precision and threads. The peer is
transformers' Trainer with dynamic padding, as its own examples are written; what differs is how rows are ordered
and how much is padded. Rounds alternate, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from hf_transfer import TEXT_CLASSIFICATION, examples, finetune, load, minilm


def ours(data, options: dict) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = {**options, "output_dir": f"{folder}/run", "num_train_epochs": 1, "save_strategy": "no"}
        args |= {
            "eval_strategy": "no",
            "load_best_model_at_end": False,
            "do_eval": False,
            "do_predict": False,
        }
        run = finetune(TEXT_CLASSIFICATION, minilm(), data, args=args, skip_reload_check=True)
        return run.metrics["train_runtime"]


def stock(data, options: dict) -> float:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(minilm())
    rows = data.splits["train"].map(lambda row: tokenizer(row["text"], truncation=True, max_length=128))
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=len(data.labels))
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(folder, num_train_epochs=1, save_strategy="no", **options)
        trainer = Trainer(model, args, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))
        started = time.monotonic()
        trainer.train()
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_name", default=str(examples("everyday_sentiment")))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    data = load(TEXT_CLASSIFICATION, asked.dataset_name, max_train_samples=asked.rows)
    options = {"per_device_train_batch_size": 32, "bf16": asked.bf16, "use_cpu": True, "disable_tqdm": True}
    rows = len(data.splits["train"])
    ratios = []
    for number in range(asked.rounds):
        a, b = ours(data, options), stock(data, options)
        ratios.append(b / a)
        print(
            f"round {number + 1}: ours {rows / a:.0f} rows/s, stock {rows / b:.0f} rows/s, ratio {b / a:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} over {asked.rounds} rounds of {rows} rows")


if __name__ == "__main__":
    main()
