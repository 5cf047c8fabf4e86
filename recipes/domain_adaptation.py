# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-transfer-learning[minilm]"]
# ///
"""Adapt a language model to a domain's texts, without labels, then fine-tune it for a task there.

    accelerate launch recipes/domain_adaptation.py --train_file reviews.csv --test_file held_out.csv
    accelerate launch recipes/domain_adaptation.py --train_file reviews.csv --domain_file all_reviews.txt
    accelerate launch recipes/domain_adaptation.py --model_name_or_path FacebookAI/roberta-base --compare true

Encoders learn masked words, decoders the next one. The texts are those of --domain_file, or the task's own. Nothing is
learned from validation or test texts; perplexity before and after is printed, and with --compare what it was good for.
"""

import sys
from dataclasses import dataclass

from hf_transfer import (
    PEFT_RATES,
    TEXT_CLASSIFICATION,
    AdaptationArguments,
    checkpoint,
    command,
    examples,
    finetune,
    language_modeling,
    load,
    minilm,
    parse,
    peft_method,
)
from hf_transfer.adaptation.adapt import adapting_strategy, domain_texts, language_model, stages
from hf_transfer.adaptation.results import Adaptation, gain, print_adaptation


@dataclass
class DomainArguments(AdaptationArguments):
    """`--help` shows them all; every field of TrainingArguments is a flag too, of the task."""

    hide = ("image_column", "mixup", "cutmix")


def main(argv=None):
    arguments = parse(DomainArguments, argv)  # fast: nothing heavy is imported before this line
    from transformers import TrainingArguments

    # 1. The task's data, and the texts to adapt to: no validation or test text of the task is among them.
    name = checkpoint(arguments.model_name_or_path or minilm())  # a folder or Hub id that can be reached
    language = language_modeling(name, arguments.mlm_probability)  # masked words, or the next one
    default = examples("everyday_sentiment")
    data = load(TEXT_CLASSIFICATION, arguments.dataset_name, default=default, **arguments.data())
    texts = domain_texts(language, data, arguments.domain_file, arguments.domain_text_column)

    # 2. How to train: the task as below, the language model with rates, epochs and a folder of its own.
    epochs = [min(20, max(3, round(8000 / len(part.splits["train"])))) for part in (data, texts)]
    task = task_arguments(arguments, epochs[0])
    folders = stages(task, overwrite=arguments.overwrite_output_dir, compare=arguments.compare)
    adapting = task | {
        "learning_rate": arguments.adapt_learning_rate,
        "num_train_epochs": arguments.adapt_epochs or epochs[1],
        "max_steps": arguments.adapt_max_steps or -1,
    }

    # 3. Adapt: the language model goes on learning on the texts; a head that is new learns alone at first.
    args = TrainingArguments(**adapting | folders["language_model"])
    model, tokenizer, notes = language_model(language, name, texts, arguments.new_vocabulary, args.seed)
    adapted = finetune(
        language,
        model,
        texts,
        processor=tokenizer,
        args=args,
        strategy=arguments.adapt_strategy or adapting_strategy(model),
        notes=notes,
        **arguments.adapting(),
    )

    # 4. The task, from the adapted checkpoint; where asked for from the original one too, on the same rows.
    def fine_tuned(start, folder):
        return finetune(
            TEXT_CLASSIFICATION,
            start,
            data,
            args=TrainingArguments(**task | folders[folder]),
            strategy=arguments.strategy,
            peft_config=peft_method(arguments.peft, **arguments.adapter()),  # None without --peft
            regularization=arguments.regularization(),
            **arguments.transfer(),
        )

    run = fine_tuned(adapted.output_dir, "")
    found = Adaptation(run, adapted)
    if arguments.compare:
        unadapted = fine_tuned(name, "unadapted")
        found = Adaptation(run, adapted, unadapted, gain(unadapted, run))
    print_adaptation(found)
    return found


def task_arguments(arguments, epochs):
    """How to train the task: what you give as a flag wins over what stands here."""
    little = arguments.strategy in ("feature-extraction", "bitfit", "norms")
    rate = PEFT_RATES.get(arguments.peft, 1e-3 if little else 5e-5)
    return arguments.training(
        learning_rate=rate,  # 5e-5; 1e-3 where little learns, LoRA 5e-4
        weight_decay=0.01,
        warmup_steps=0.06,  # a share of all steps
        num_train_epochs=epochs,  # 3 to 20 by the size of the data
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,  # a language model has a score for every word at every place
        train_sampling_strategy="group_by_length",  # little padding: about half the time
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=10,
    )


if __name__ == "__main__":
    sys.exit(command(main))
