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
    Arguments,
    Problem,
    Problems,
    checkpoint,
    command,
    finetune,
    load,
    parse,
)


@dataclass
class ImageArguments(Arguments):
    """`--help` shows them all; every field of TrainingArguments is a flag too."""

    hide = ("text_column", "text_pair_column", "max_length")


def main(argv=None):
    arguments = parse(ImageArguments, argv)  # fast: nothing heavy is imported before this line
    if not (arguments.dataset_name or arguments.train_file):
        what = "no images given, and none come with the package"
        mend = "give a folder with CLASS/*.jpg or SPLIT/CLASS/*.jpg, a parquet file with a column of images, or a Hub id"
        raise Problems(Problem("--dataset_name", what, mend))
    from peft import LoraConfig
    from transformers import AutoImageProcessor, AutoModelForImageClassification, TrainingArguments, set_seed

    # 1. The data: your folder, file or Hub id.
    data = load(IMAGE_CLASSIFICATION, arguments.dataset_name, **arguments.data())

    # 2. How to train: what you give as a flag wins over what stands here.
    head_only = arguments.strategy == "feature-extraction"
    training = arguments.training(
        learning_rate=5e-4 if arguments.peft == "lora" else 1e-3 if head_only else 5e-5,
        weight_decay=0.01,
        warmup_steps=0.06,  # a share of all steps
        num_train_epochs=min(20, max(3, round(8000 / len(data.splits["train"])))),  # small data: more often
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
    lora = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=arguments.lora_target_modules,  # None: every matrix and kernel inside the blocks
        use_rslora=arguments.use_rslora,
        use_dora=arguments.use_dora,
    )

    # 5. Train, evaluate, save, report.
    return finetune(
        IMAGE_CLASSIFICATION,
        model,
        data,
        processor=processor,
        args=args,
        strategy=arguments.strategy,
        peft_config=lora if arguments.peft == "lora" else None,
        regularization=arguments.regularization(),  # class weights, R-Drop, mixup, averages of weights, ...
        **arguments.transfer(),
    )


if __name__ == "__main__":
    sys.exit(command(main))
