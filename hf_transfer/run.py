"""A finished run, as `finetune` returns it and `Run.open` reads it. Opening one needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems, nearest
from hf_transfer.run_folder import RESULTS, RUN, holds_run, read_json


@dataclass
class Run:
    """A finished run: its folder, what was measured, and the model.

    Attributes:
        output_dir: the run folder.
        metrics: the flat numbers of `all_results.json`.
        model, processor: as trained; loaded from the folder when first asked for.
    """

    output_dir: str
    metrics: dict[str, float]
    _model: Any = field(default=None, repr=False)
    _processor: Any = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A run from its folder.

        Raises:
            Problems: the folder holds no finished run.
        """
        path = Path(folder)
        if not (path / RUN).is_file():
            raise Problems(_no_run(path))
        results = path / RESULTS
        return cls(str(folder), read_json(results) if results.is_file() else {})

    @property
    def model(self) -> Any:
        """The trained model, in eval mode."""
        if self._model is None:
            from hf_transfer.predict import load_model

            self._model = load_model(self.output_dir, self.record["task"])
        return self._model

    @property
    def processor(self) -> Any:
        """Its tokenizer or image processor."""
        if self._processor is None:
            from hf_transfer.predict import load_processor

            self._processor = load_processor(self.output_dir, self.record["task"])
        return self._processor

    @property
    def record(self) -> dict[str, Any]:
        """`run.json`: arguments, data, versions, what learned."""
        return read_json(Path(self.output_dir) / RUN)

    def predict(self, inputs: Any, batch_size: int = 32) -> list[dict[str, Any]]:
        """Predictions for texts (or pairs), images or paths, or a table of them.

        Args:
            inputs: one or a list of texts, pairs `(a, b)`, images or their paths, dicts by column; a Dataset, a
                DataFrame, or the path of a file or folder.
            batch_size: rows at a time.

        Returns:
            Per input a dict: `label` and `score` (single label), `labels` and `scores` above their thresholds
            (several labels), each with `probabilities` by label; or `value` (regression).
        """
        from hf_transfer.predict import predict

        return predict(self, inputs, batch_size=batch_size)

    def push_to_hub(
        self,
        repo_id: str | None = None,
        *,
        private: bool | None = None,
        adapter_only: bool | None = None,
        include_report: bool | None = None,
    ) -> str:
        """Upload model, processor, card and plots in one commit, and wait until they are there.

        Args:
            repo_id: `me/name` or `name`; by default that of the last push, or the folder's name.
            private: make a new repository private; by default as in the last push, or as the Hub has it.
            adapter_only: push the adapter alone, not the merged model.
            include_report: push report.html too, which may quote the data.

        Returns:
            The repository's address; in the first process only, "" in the others.

        Raises:
            Problems: the push cannot succeed (no token, no right to write there, ...).
            NotPushed: it failed; the message says how to finish it.
        """
        if os.environ.get("RANK", "0") != "0":
            return ""
        from hf_transfer.hub.push import push_run

        given = {
            "repo_id": repo_id,
            "private": private,
            "adapter_only": adapter_only,
            "include_report": include_report,
        }
        return push_run(Path(self.output_dir), self.record, given)


def _no_run(path: Path) -> Problem:
    """What `path` is instead of a finished run."""
    if not path.is_dir():
        names = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        what = "is a file" if path.exists() else f"there is no such folder{nearest(path.name, names)}"
        return Problem(str(path), what, "give the output_dir of a run")
    if holds_run(path):
        return Problem(
            str(path), "holds a run that has not finished", "go on with it: --resume_from_checkpoint true"
        )
    return Problem(str(path), "holds no run (there is no run.json)", "give the output_dir of a run")
