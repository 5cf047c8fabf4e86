"""Correlation of true and predicted classes, -1 to 1; 0 when either is constant."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import matthews_correlation as score


class MatthewsCorrelation(evaluate.Metric):
    """`matthews_correlation` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("int32")
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(
            description="Correlation of true and predicted classes, -1 to 1; 0 when either is constant.",
            citation="",
            inputs_description="Class ids.",
            features=features,
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return score(predictions, references)
