"""The flags that all recipes share beside `TrainingArguments`': what each is called, its default, its range, its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hf_transfer.flags.ours import flag


@dataclass
class SharedFlags:
    """One field a flag, in the order and the groups in which `--help` shows them."""

    model_name_or_path: str | None = flag("Model", None, "Checkpoint to start from: Hub id or folder.")
    base_model_id: str | None = flag(
        "Model", None, "Hub id that the card names when the checkpoint is a folder."
    )

    dataset_name: str | None = flag(
        "Data", None, "Hub id, file (csv, tsv, json, jsonl, parquet, txt) or folder."
    )
    dataset_config_name: str | None = flag("Data", None, "Configuration of a data set of the Hub.")
    train_file: str | None = flag("Data", None, "File with the training rows.")
    validation_file: str | None = flag("Data", None, "File with the validation rows.")
    test_file: str | None = flag("Data", None, "File with the test rows.")
    train_split: str | None = flag(
        "Data", None, "Name of the training split, or part of it, as in train[:10%]."
    )
    validation_split: str | None = flag("Data", None, "Name of the validation split.")
    test_split: str | None = flag("Data", None, "Name of the test split.")
    text_column: str | None = flag("Data", None, "Column that holds the text; found when unambiguous.")
    text_pair_column: str | None = flag("Data", None, "Column that holds the second text of a pair.")
    image_column: str | None = flag("Data", None, "Column that holds the image; found when unambiguous.")
    label_column: str | None = flag("Data", None, "Column that holds the label; found when unambiguous.")
    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = flag("Data", None, "What the labels mean; found from the label column.")
    max_length: int | None = flag("Data", None, "Tokens a text is cut at; chosen from the lengths found.", 2)
    max_train_samples: int | None = flag("Data", None, "Train on so many rows only, a stratified sample.", 1)
    max_eval_samples: int | None = flag("Data", None, "Evaluate and test on so many rows only.", 1)
    validation_size: float = flag("Data", 0.1, "Share of rows cut off for validation where there is none.", 0)
    test_size: float = flag(
        "Data", 0.1, "Share of rows cut off for the test where there is one split only.", 0
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={"group": "Data", "help": "Further metrics: name, path or Hub id of an evaluate metric."},
    )

    strategy: str | list[dict] = flag(
        "Transfer",
        "full",
        "What learns, and when: full, feature-extraction, partial:N, bitfit, norms, two-phase, lp-ft, gradual, prototypes, knn, "
        "ridge, contrastive, auto; or phases (docs/strategies.md).",
    )
    groups: dict | None = flag(
        "Transfer", None, 'Layer groups by hand, {"block.1": "regex of names"}, if they are not found.'
    )
    layer_decay: float | None = flag(
        "Transfer", None, "Rate of each layer over that of the one above it, such as 0.9.", 0, 1
    )
    head_learning_rate: float | None = flag("Transfer", None, "Learning rate of the head only.", 0)
    early_stopping_patience: int | None = flag(
        "Transfer", None, "Stop after so many evaluations without a better one.", 1
    )

    pooling: Literal["own", "mean", "auto"] | None = flag(
        "Transfer",
        None,
        "What a solved head reads: own (what the model's class reads), mean (over the tokens), or auto.",
    )
    probe: bool = flag(
        "Transfer", True, "Measure a solved head on the untouched checkpoint too: what did training add?"
    )
    compare_scratch: bool = flag(
        "Transfer", False, "Train the same model from random weights too: what was pretraining worth?"
    )
    watch_forgetting: bool = flag(
        "Transfer", False, "Compare features and answers with the checkpoint's, in the report."
    )
    forgetting_file: str | None = flag(
        "Transfer", None, "Text, a passage a line: is its language forgotten? With --watch_forgetting."
    )

    target_file: str | None = flag(
        "Target domain", None, "Rows of the domain that the model is for, without labels: a file or folder."
    )
    align: Literal["dann", "coral"] | None = flag(
        "Target domain", None, "Make features of training and target rows alike: dann or coral."
    )
    align_weight: float | None = flag(
        "Target domain", None, "How strongly to align; by default 0.3 for dann, 10 for coral.", 0
    )
    pseudo_labels: bool | float | None = flag(
        "Target domain",
        None,
        "Train on with target rows of at least this predicted probability; true is 0.95.",
    )

    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "group": "Regularization",
            "help": "auto: rare labels weigh more; or label=weight for each label.",
        },
    )
    focal_gamma: float | None = flag(
        "Regularization", None, "Focal loss: rows that are right already weigh less; such as 2.", 0
    )
    logit_adjustment: float | None = flag(
        "Regularization", None, "Larger margins for rare labels: tau, such as 1.", 0
    )
    weighted_sampling: bool = flag("Regularization", False, "Draw rows so that labels come equally often.")
    r_drop: float | None = flag(
        "Regularization", None, "R-Drop: two passes with dropout shall agree; weight, such as 1.", 0
    )
    l2_sp: float | None = flag(
        "Regularization", None, "L2-SP: pull to the pretrained weights; strength, such as 0.01.", 0
    )
    l2_sp_new: float | None = flag("Regularization", None, "With --l2_sp, pull new weights to 0.", 0)
    mixout: float | None = flag(
        "Regularization", None, "Mixout: chance that an entry of a matrix is the pretrained one.", 0, 1
    )
    mixup: float | None = flag("Regularization", None, "Blend training images: alpha, such as 0.2.", 0)
    cutmix: float | None = flag("Regularization", None, "Paste patches of training images: alpha.", 0)
    reinit_layers: int | None = flag("Regularization", None, "Draw the last so many blocks anew.", 1)
    dropout: float | None = flag("Regularization", None, "Rate of every dropout in the model.", 0, 1)
    ema: float | None = flag(
        "Regularization", None, "Moving average of the weights: decay, such as 0.999.", 0, 1
    )
    soup: int | None = flag(
        "Regularization", None, "Mean of the weights of so many best evaluations (greedy soup).", 2
    )
    wise_ft: str | None = flag(
        "Regularization", None, "WiSE-FT: weights this part of the way from start to end, 0 to 1, or auto."
    )

    peft: Literal[
        "none",
        "lora",
        "dora",
        "rslora",
        "pissa",
        "adalora",
        "ia3",
        "vera",
        "oft",
        "ln-tuning",
        "prefix",
        "prompt",
        "houlsby",
        "pfeiffer",
        "parallel",
    ] = flag(
        "PEFT",
        "none",
        "Train small added weights, not the model's own: lora, dora, rslora, pissa, adalora, ia3, vera, oft, ln-tuning, "
        "prefix, prompt, houlsby, pfeiffer or parallel (docs/peft.md).",
    )
    lora_r: int = flag("PEFT", 8, "Rank of the added matrices.", 1)
    lora_alpha: int = flag("PEFT", 16, "Scale: the update is multiplied by alpha / r.", 1)
    lora_dropout: float = flag("PEFT", 0.1, "Dropout before the added matrices.", 0, 1)
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"group": "PEFT", "help": "Names of the modules to adapt; found from the model."},
    )
    use_rslora: bool = flag("PEFT", False, "Scale by alpha / sqrt(r): for high ranks.")
    use_dora: bool = flag("PEFT", False, "Learn a magnitude beside the direction (DoRA).")
    loraplus_lr_ratio: float | None = flag(
        "PEFT", None, "The second matrices learn so much faster than the first (LoRA+), such as 16.", 0
    )
    num_virtual_tokens: int = flag("PEFT", 20, "Learned tokens before the text: prefix and prompt tuning.", 1)
    adapter_reduction_factor: float | None = flag(
        "PEFT", None, "Width of a layer over that of its bottleneck: 16, parallel 2.", 1
    )

    overwrite_output_dir: bool = flag("Run", False, "Delete what an earlier run wrote into output_dir.")
    cpu_threads: int | None = flag("Run", None, "Threads on a CPU; all cores by default.", 1)
    hub_adapter_only: bool = flag("Run", False, "Push the adapter alone, not the merged model.")
    hub_include_report: bool = flag("Run", False, "Push report.html too (it may quote your data).")
    skip_reload_check: bool = flag("Run", False, "Do not load the saved model afresh and compare.")
    print_config: bool = flag("Run", False, "Show every value and where it came from, as YAML; then stop.")
