"""The flags of domain adaptation, beside those that all recipes share. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hf_transfer.arguments import Arguments
from hf_transfer.flags.ours import flag

SHARED = ("cpu_threads", "overwrite_output_dir", "base_model_id", "skip_reload_check", "recipe", "command")
GROUP = "Adaptation"


@dataclass
class AdaptationArguments(Arguments):
    """Flags of the language model that comes before the task; all others are the task's."""

    domain_file: str | None = flag(
        GROUP, None, "Texts to adapt to: file, folder or Hub id. By default the task's own training texts."
    )
    domain_text_column: str | None = flag(
        GROUP, None, "Its column that holds the text; found when unambiguous."
    )
    adapt_strategy: str | None = flag(
        GROUP,
        None,
        "What learns of the language model: full, partial:N, ...; two-phase where its head is new.",
    )
    adapt_learning_rate: float = flag(GROUP, 1e-4, "Learning rate of the language model.", 0)
    adapt_epochs: float | None = flag(GROUP, None, "Epochs over the texts; 3 to 20 by their number.", 0)
    adapt_max_steps: int | None = flag(GROUP, None, "Steps over the texts, in place of epochs.", 1)
    adapt_max_length: int | None = flag(
        GROUP, None, "Tokens of a row of texts; chosen from their lengths.", 2
    )
    mlm_probability: float = flag(GROUP, 0.15, "Share of the tokens that are masked.", 0, 1)
    new_vocabulary: int = flag(
        GROUP, 0, "Give the tokenizer so many words of the texts that it breaks into pieces.", 0
    )
    compare: bool = flag(
        GROUP, False, "Train the task from the original checkpoint too, and tell what adapting has gained."
    )

    folder: str = field(default="", init=False, repr=False, compare=False)
    """Of all runs, once `training` has settled it."""

    def training(self, **defaults: Any) -> dict[str, Any]:
        """As for other recipes, for the task."""
        values = super().training(**defaults)
        self.folder = str(values["output_dir"])
        return values

    def transfer(self) -> dict[str, Any]:
        """As for other recipes, for the task; what goes on after an interruption is the recipe in its folder."""
        found = super().transfer()
        if found["command"] and not self.asked("output_dir"):
            found["command"] = [*found["command"], "--output_dir", self.folder]
        return found

    def adapting(self) -> dict[str, Any]:
        """Keyword arguments of `finetune` for the language model that are flags."""
        own = {
            "learning_rate": "adapt_learning_rate",
            "num_train_epochs": "adapt_epochs",
            "max_steps": "adapt_max_steps",
        }
        asked = [name for name in self.given if name not in own]
        asked += [name for name, flag in own.items() if flag in self.given]
        return {n: value for n, value in self.transfer().items() if n in SHARED} | {
            "max_length": self.adapt_max_length,
            "asked": tuple(asked),
        }
