"""Area under the ROC curve, 0 to 1; nothing when a class has no row."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import roc_auc as score


class RocAuc(evaluate.Metric):
    """`roc_auc` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        scores = datasets.Value("float64")
        truths = datasets.Value("int32")
        if self.config_name in ("multiclass", "multilabel"):
            scores = datasets.Sequence(scores)
        if self.config_name == "multilabel":
            truths = datasets.Sequence(truths)
        features = datasets.Features({"prediction_scores": scores, "references": truths})
        return evaluate.MetricInfo(
            description="Area under the ROC curve, 0 to 1; nothing when a class has no row.",
            citation="",
            inputs_description="Scores of class 1, ids; rows of scores in `multiclass` and `multilabel`.",
            features=features,
        )

    def _compute(self, prediction_scores: list, references: list) -> dict[str, float]:
        return score(prediction_scores, references)
