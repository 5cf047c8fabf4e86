"""Share of right rows; in the config `multilabel` every label must be right."""

import datasets
import evaluate

from hf_transfer.evaluation.scores import accuracy as score


class Accuracy(evaluate.Metric):
    """`accuracy` of `hf_transfer.evaluation.scores` as a module of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("int32")
        kind = datasets.Sequence(kind) if self.config_name == "multilabel" else kind
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(
            description="Share of right rows; in the config `multilabel` every label must be right.",
            citation="",
            inputs_description="Class ids; in the config `multilabel` rows of 0 and 1, one a label.",
            features=features,
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return score(predictions, references)
