"""Share of rows whose class is among the five highest scores."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import top5_accuracy as score


class Top5Accuracy(evaluate.Metric):
    """`top5_accuracy` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Sequence(datasets.Value("float64"))
        truths = datasets.Value("int32")
        features = datasets.Features({"prediction_scores": scores, "references": truths})
        return evaluate.MetricInfo(
            description="Share of rows whose class is among the five highest scores.",
            citation="",
            inputs_description="Rows of scores, one a class, and class ids.",
            features=features,
        )

    def _compute(self, prediction_scores: list, references: list) -> dict[str, float]:
        return score(prediction_scores, references)
