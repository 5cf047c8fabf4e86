"""F1, the harmonic mean of precision and recall."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import f1 as score


class F1(evaluate.Metric):
    """`f1` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("int32")
        kind = datasets.Sequence(kind) if self.config_name == "multilabel" else kind
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(
            description="F1, the harmonic mean of precision and recall.",
            citation="",
            inputs_description="Class ids, rows of 0 and 1 in the config `multilabel`; average='macro'.",
            features=features,
        )

    def _compute(self, predictions: list, references: list, average: str = "macro") -> dict[str, float]:
        return score(predictions, references, average)
