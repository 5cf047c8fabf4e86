"""Parameter-efficient methods by name: what each learns, at which default rate, which flags it reads, whether it merges.

Nearly all are the library peft's; the bottleneck adapters are ours (`strategies.bottleneck`). Targets are left open here:
they are found in the model (`strategies.targets`) when it is adapted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_transfer.problems import Problem, Problems, nearest

LORA_FLAGS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
BOTTLENECKS = ("houlsby", "pfeiffer", "parallel")
PROMPTS = ("prefix", "prompt")


@dataclass(frozen=True)
class Method:
    """What the rest of the package asks about a method.

    Attributes:
        kind: peft's type, or that of the bottleneck adapters, as `adapter_config.json` names it.
        learning_rate: its default.
        reads: the flags that it reads.
        merges: whether what was learned can be written into plain weights.
    """

    kind: str
    learning_rate: float
    reads: tuple[str, ...] = ()
    merges: bool = True


# Rates. LoRA and its kin: about ten times that of full fine-tuning (Hu et al. 2022: 4e-4 to 5e-4 on GLUE). Where the authors' own
# teaches a small set too little, the one that docs/peft.md measured.
METHODS: dict[str, Method] = {
    "lora": Method("LORA", 5e-4, (*LORA_FLAGS, "use_rslora", "use_dora", "loraplus_lr_ratio")),
    "dora": Method("LORA", 5e-4, (*LORA_FLAGS, "use_rslora", "loraplus_lr_ratio")),
    "rslora": Method("LORA", 5e-4, (*LORA_FLAGS, "use_dora", "loraplus_lr_ratio")),
    "pissa": Method("LORA", 5e-4, (*LORA_FLAGS, "use_rslora", "loraplus_lr_ratio")),
    "adalora": Method("ADALORA", 1e-3, LORA_FLAGS),  # Zhang et al. 2023: 5e-4 to 2.2e-3 on GLUE
    "ia3": Method("IA3", 1e-2),  # Liu et al. 2022 (T-Few): 3e-3
    "vera": Method("VERA", 1e-2),  # Kopiczko et al. 2024: 4e-3 on SST-2
    "oft": Method("OFT", 5e-4),  # LoRA's: the authors give none for classification
    "ln-tuning": Method("LN_TUNING", 1e-3),  # that of a head alone: the authors give none for classification
    "prefix": Method("PREFIX_TUNING", 1e-2, ("num_virtual_tokens",), False),  # Liu et al. 2022 (P-tuning v2)
    "prompt": Method("PROMPT_TUNING", 1e-3, ("num_virtual_tokens",), False),  # peft's example
    "houlsby": Method("HOULSBY", 1e-3, ("adapter_reduction_factor",), False),  # Houlsby 2019: 3e-5 to 3e-3
    "pfeiffer": Method("PFEIFFER", 1e-3, ("adapter_reduction_factor",), False),  # Pfeiffer et al. 2021: 1e-4
    "parallel": Method("PARALLEL", 1e-4, ("adapter_reduction_factor",), False),  # He et al. 2022
}
FLAGS = tuple(dict.fromkeys(name for method in METHODS.values() for name in method.reads))
PEFT_RATES = {name: method.learning_rate for name, method in METHODS.items()}


def peft_method(
    name: str,
    *,
    lora_r: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.1,
    lora_target_modules: Sequence[str] | None = None,
    use_rslora: bool = False,
    use_dora: bool = False,
    num_virtual_tokens: int = 20,
    adapter_reduction_factor: float | None = None,
) -> Any:
    """The configuration of a method by name: an object of peft's, or a `BottleneckConfig`; None for "none".

    Args:
        name: a key of `METHODS`, `_` as `-`.
        lora_r, lora_alpha, lora_dropout, lora_target_modules, use_rslora, use_dora: for LoRA and its kin.
        num_virtual_tokens: for prefix and prompt tuning.
        adapter_reduction_factor: width of a layer over that of its bottleneck; by default 16, parallel 2.

    Raises:
        Problems: there is no such method.
    """
    import peft

    name = name.replace("_", "-")
    if name == "none":
        return None
    if name not in METHODS:
        what = f"there is no method {name!r}{nearest(name, list(METHODS))}"
        raise Problems(Problem("--peft", what, f"choose none, {', '.join(METHODS)}"))
    lora: dict[str, Any] = {
        "r": lora_r,
        "lora_alpha": lora_alpha,
        "lora_dropout": lora_dropout,
        "target_modules": _names(lora_target_modules),
        "use_rslora": use_rslora or name == "rslora",
        "use_dora": use_dora or name == "dora",
    }
    if name in ("lora", "dora", "rslora"):
        return peft.LoraConfig(**lora)
    if name == "pissa":  # its matrices are the model's own: dropping inputs before them would change step 0
        return peft.LoraConfig(**(lora | {"lora_dropout": 0.0}), init_lora_weights="pissa")
    if name == "adalora":
        return _adalora(lora)
    if name in BOTTLENECKS:
        from hf_transfer.strategies.bottleneck import bottleneck

        return bottleneck(name, adapter_reduction_factor)
    prompt: dict[str, Any] = {"task_type": "SEQ_CLS", "num_virtual_tokens": num_virtual_tokens}
    made: dict[str, Any] = {
        "ia3": lambda: peft.IA3Config(),
        "vera": lambda: peft.VeraConfig(),  # the random matrices are saved too: they differ between machines
        "oft": lambda: peft.OFTConfig(use_cayley_neumann=False),  # exactly orthogonal
        "ln-tuning": lambda: peft.LNTuningConfig(),
        "prefix": lambda: peft.PrefixTuningConfig(**prompt),
        "prompt": lambda: peft.PromptTuningConfig(**prompt, prompt_tuning_init="SAMPLE_VOCAB"),
    }
    return made[name]()


def _adalora(lora: dict[str, Any]) -> Any:
    """Rank 1.5 r at the start, r on average at the end (Zhang et al. 2023); the steps are filled in when planned."""
    import warnings

    import peft

    r = lora["r"]
    kept = {key: lora[key] for key in ("lora_alpha", "lora_dropout", "target_modules")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.AdaLoraConfig(target_r=r, init_r=r + (r + 1) // 2, total_step=UNPLANNED, **kept)


# Types of peft's without a name here that add tokens.
TOKENS = ("P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT", "CARTRIDGE", "ADAPTION_PROMPT")
UNPLANNED = 10**9  # AdaLoRA's total_step until the steps are known


def is_prompt(config: Any) -> bool:
    """Whether a configuration adds tokens to the input rather than weights to the layers."""
    return bool(getattr(config, "is_prompt_learning", False))


def kind_of(config: Any) -> str:
    """The type of a configuration, as `adapter_config.json` names it."""
    kind = getattr(config, "peft_type", "")
    return str(getattr(kind, "value", kind))


def rate_of(config: Any) -> float:
    """The default learning rate of a configuration; LoRA's for a type of peft's without a name here."""
    rates = {method.kind: method.learning_rate for method in METHODS.values()}
    return rates.get(kind_of(config), PEFT_RATES["lora"])


def name_of(config: Any) -> str:
    """What `--peft` calls a configuration; peft's word for one without a name here."""
    if kind_of(config) == "LORA":
        pissa = str(getattr(config, "init_lora_weights", "")).startswith("pissa")
        return "pissa" if pissa else "dora" if config.use_dora else "rslora" if config.use_rslora else "lora"
    return next(
        (n for n, method in METHODS.items() if method.kind == kind_of(config)), kind_of(config).lower()
    )


def merges(kind: str) -> bool:
    """Whether what was learned can become plain weights; others of peft's that change weights are asked when they go in."""
    return {method.kind: method.merges for method in METHODS.values()}.get(kind, kind not in TOKENS)


def _names(flag: Sequence[str] | None) -> list[str] | None:
    """`--lora_target_modules a b` or `a,b` as a list."""
    return [name for part in flag for name in part.split(",") if name] or None if flag else None


def unread(peft: str, given: Sequence[str]) -> list[Problem]:
    """Given flags that the method would not read."""
    found = []
    for name in given:
        if peft == "none" or name not in METHODS[peft].reads:
            first, *others = [method for method, facts in METHODS.items() if name in facts.reads]
            without = "without LoRA" if name in METHODS["lora"].reads else "without a method that reads it"
            what = f"has no effect {without if peft == 'none' else f'on {peft}'}"
            also = f" ({' and '.join(others)} read it too)" if others else ""
            found.append(Problem(f"--{name}", what, f"add --peft {first}{also}"))
    return found
