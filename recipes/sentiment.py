# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-transfer-learning[minilm]"]
# ///
"""Fine-tune a pretrained encoder to tell praise from blame, or any other text classification.

    accelerate launch recipes/sentiment.py
    accelerate launch recipes/sentiment.py --dataset_name reviews.csv --text_column body --label_column stars
    accelerate launch recipes/sentiment.py --strategy partial:2 --layer_decay 0.9
    accelerate launch recipes/sentiment.py --peft lora --lora_r 16

With no flag: all-MiniLM-L6-v2 on 1,728 sentences that come with the package, two and a half minutes on two CPU cores.
It serves two labels or many, several labels a text, a number (--problem_type regression), and pairs of texts.
"""

import sys
from dataclasses import dataclass

from hf_transfer import (
    PEFT_RATES,
    TEXT_CLASSIFICATION,
    Arguments,
    checkpoint,
    command,
    examples,
    finetune,
    load,
    minilm,
    parse,
    peft_method,
)


@dataclass
class SentimentArguments(Arguments):
    """`--help` shows them all; every field of TrainingArguments is a flag too."""

    hide = ("image_column", "mixup", "cutmix")


def main(argv=None):
    arguments = parse(SentimentArguments, argv)  # fast: nothing heavy is imported before this line
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

    # 1. The data: your file, folder or Hub id, or the sentences that come with the package.
    data = load(
        TEXT_CLASSIFICATION,
        arguments.dataset_name,
        default=examples("everyday_sentiment"),
        **arguments.data(),
    )

    # 2. How to train: what you give as a flag wins over what stands here.
    little = arguments.strategy in ("feature-extraction", "bitfit", "norms")
    rate = PEFT_RATES.get(arguments.peft, 1e-3 if little else 5e-5)
    epochs = min(20, max(3, round(8000 / len(data.splits["train"]))))  # small data: more often
    training = arguments.training(
        learning_rate=rate,  # 5e-5; 1e-3 where little learns, LoRA 5e-4
        weight_decay=0.01,
        warmup_steps=0.06,  # a share of all steps
        num_train_epochs=epochs,  # 3 to 20 by the size of the data
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        train_sampling_strategy="group_by_length",  # little padding: about half the time
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=10,
    )
    args = TrainingArguments(**training)

    # 3. The pretrained model, with a new head for your labels.
    name = checkpoint(arguments.model_name_or_path or minilm())  # a folder or Hub id that can be reached
    set_seed(args.seed)  # the new head is drawn at random
    model = AutoModelForSequenceClassification.from_pretrained(
        name, id2label=data.id2label, label2id=data.label2id, dtype="float32", ignore_mismatched_sizes=True
    )
    tokenizer = AutoTokenizer.from_pretrained(name)

    # 4. Optional: leave the weights as they are and learn small ones beside them.
    peft_config = peft_method(arguments.peft, **arguments.adapter())  # None without --peft

    # 5. Train, evaluate, save, report.
    return finetune(
        TEXT_CLASSIFICATION,
        model,
        data,
        processor=tokenizer,
        args=args,
        strategy=arguments.strategy,
        peft_config=peft_config,
        regularization=arguments.regularization(),  # class weights, R-Drop, mixup, averages of weights, ...
        **arguments.transfer(),
    )


if __name__ == "__main__":
    sys.exit(command(main))
