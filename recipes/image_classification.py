# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-transfer-learning[images]"]
# ///
"""Fine-tune a pretrained vision model to tell kinds of images apart.

    accelerate launch recipes/image_classification.py --dataset_name folder_of_images
    accelerate launch recipes/image_classification.py --dataset_name folder_of_images --strategy feature-extraction
    accelerate launch recipes/image_classification.py --dataset_name images.parquet --image_column img --peft lora
    accelerate launch recipes/image_classification.py --dataset_name AI-Lab-Makerere/beans --strategy two-phase

The folder holds CLASS/*.jpg or SPLIT/CLASS/*.jpg. The model is google/vit-base-patch16-224-in21k from the Hub unless
--model_name_or_path names another, timm's among them (pip install "hf-transfer-learning[images]").
"""

import sys
from dataclasses import dataclass

from hf_transfer import (
    IMAGE_CLASSIFICATION,
    PEFT_RATES,
    Arguments,
    Problem,
    Problems,
    checkpoint,
    command,
    finetune,
    load,
    parse,
    peft_method,
)


@dataclass
class ImageArguments(Arguments):
    """`--help` shows them all; every field of TrainingArguments is a flag too."""

    hide = ("text_column", "text_pair_column", "max_length", "pooling")


def main(argv=None):
    arguments = parse(ImageArguments, argv)  # fast: nothing heavy is imported before this line
    if not (arguments.dataset_name or arguments.train_file):
        what = "no images given, and none come with the package"
        mend = "give a folder with CLASS/*.jpg or SPLIT/CLASS/*.jpg, a parquet file with a column of images, or a Hub id"
        raise Problems(Problem("--dataset_name", what, mend))
    from transformers import AutoImageProcessor, AutoModelForImageClassification, TrainingArguments, set_seed

    # 1. The data: your folder, file or Hub id.
    data = load(IMAGE_CLASSIFICATION, arguments.dataset_name, **arguments.data())

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
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=10,
    )
    args = TrainingArguments(**training)

    # 3. The pretrained model, with a new head for your labels, and the preprocessing it was trained with.
    name = checkpoint(
        arguments.model_name_or_path or "google/vit-base-patch16-224-in21k"
    )  # a folder or Hub id
    set_seed(args.seed)  # the new head is drawn at random
    labels = {"num_labels": len(data.id2label), "id2label": data.id2label, "label2id": data.label2id}
    model = AutoModelForImageClassification.from_pretrained(
        name, **labels, dtype="float32", ignore_mismatched_sizes=True
    )
    processor = AutoImageProcessor.from_pretrained(name)

    # 4. Optional: leave the weights as they are and learn small ones beside them.
    peft_config = peft_method(arguments.peft, **arguments.adapter())  # None without --peft

    # 5. Train, evaluate, save, report.
    return finetune(
        IMAGE_CLASSIFICATION,
        model,
        data,
        processor=processor,
        args=args,
        strategy=arguments.strategy,
        peft_config=peft_config,
        regularization=arguments.regularization(),  # class weights, R-Drop, mixup, averages of weights, ...
        **arguments.transfer(),
    )


if __name__ == "__main__":
    sys.exit(command(main))
