"""Mean over the labels that occur of the average precision of their scores."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import mean_average_precision as score


class MeanAveragePrecision(evaluate.Metric):
    """`mean_average_precision` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float64"))
        truths = datasets.Sequence(datasets.Value("int32"))
        features = datasets.Features({"prediction_scores": scores, "references": truths})
        return evaluate.MetricInfo(
            description="Mean over the labels that occur of the average precision of their scores.",
            citation="",
            inputs_description="Rows of scores, and rows of 0 and 1, one a label.",
            features=features,
        )

    def _compute(self, prediction_scores: list, references: list) -> dict[str, float]:
        return score(prediction_scores, references)
