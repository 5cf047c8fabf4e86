"""Spearman's rank correlation of values, -1 to 1; 0 when either side is constant."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import spearmanr as score


class SpearmanCorrelation(evaluate.Metric):
    """`spearmanr` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64")
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(
            description="Spearman's rank correlation of values, -1 to 1; 0 when either side is constant.",
            citation="",
            inputs_description="Numbers.",
            features=features,
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return score(predictions, references)
