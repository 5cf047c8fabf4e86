"""Mean squared error, in the square of the label's unit."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import mse as score


class MeanSquaredError(evaluate.Metric):
    """`mse` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64")
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(
            description="Mean squared error, in the square of the label's unit.",
            citation="",
            inputs_description="Numbers.",
            features=features,
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return score(predictions, references)
