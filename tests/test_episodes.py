"""Episodes: what is drawn, what the mean and its interval say, and that the checkpoint is only read, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import image_runs
import numpy as np
import pandas as pd
import pytest
import tiny

from hf_transfer import Problems, evaluate_episodes
from hf_transfer.episodes import SOLVERS, episode_accuracies

LABELS = np.repeat(np.arange(8), 20)


def clusters(apart: float, seed: int = 0) -> np.ndarray:
    """Features of 8 labels with 20 rows each, in noise of size 1."""
    rng = np.random.default_rng(seed)
    return apart * rng.normal(size=(8, 16))[LABELS] + rng.normal(size=(len(LABELS), 16))


@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_is_chance_and_what_is_far_apart_is_known(solver: str) -> None:
    """Were a query among the rows that are learned from, its nearest neighbour would be itself, and noise no chance."""
    known = episode_accuracies(clusters(8.0), LABELS, solver, ways=5, shots=2, queries=4, episodes=4)
    assert known.shape == (4,) and known.mean() > 0.97
    chance = episode_accuracies(clusters(0.0), LABELS, solver, ways=5, shots=2, queries=15, episodes=16)
    assert abs(chance.mean() - 0.2) < 4 * chance.std() / np.sqrt(16)


def test_more_shots_and_fewer_ways_are_easier() -> None:
    given = {"solver": "prototypes", "queries": 8, "episodes": 40}
    one, five = (episode_accuracies(clusters(0.7), LABELS, shots=n, **given).mean() for n in (1, 5))
    two = episode_accuracies(clusters(0.7), LABELS, shots=1, ways=2, **given).mean()
    assert one + 0.05 < five and one + 0.1 < two


def test_the_seed_alone_says_what_is_drawn() -> None:
    """One more episode leaves the others as they are; all solvers see the same ones."""
    given: dict[str, Any] = {"shots": 1, "queries": 5}
    first = episode_accuracies(clusters(1.0), LABELS, episodes=6, seed=1, **given)
    assert (episode_accuracies(clusters(1.0), LABELS, episodes=7, seed=1, **given)[:6] == first).all()
    assert (episode_accuracies(clusters(1.0), LABELS, episodes=6, seed=2, **given) != first).any()
    np.random.seed(5)
    assert (episode_accuracies(clusters(1.0), LABELS, episodes=6, seed=1, **given) == first).all()


def test_labels_with_too_few_rows_are_left_out_or_said() -> None:
    labels = np.concatenate([LABELS, [8, 8]])
    features = np.concatenate([clusters(9.0), np.zeros((2, 16))])
    assert len(episode_accuracies(features, labels, ways=8, shots=5, episodes=3)) == 3
    with pytest.raises(Problems, match="8 of 9 labels have the 20 rows"):
        episode_accuracies(features, labels, ways=9, shots=5, episodes=3)
    with pytest.raises(Problems, match="no choice"):
        episode_accuracies(features, labels, ways=1)
    with pytest.raises(Problems, match="give no interval"):
        episode_accuracies(features, labels, episodes=1)
    with pytest.raises(Problems, match="choose of prototypes"):
        episode_accuracies(features, labels, "svm", shots=5, episodes=2)


def test_texts_are_read_once_and_the_interval_is_over_episodes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hf_transfer.predict

    rows, read = pd.DataFrame(tiny.rows(96)), [0]
    scores = hf_transfer.predict.scores

    def counted(model: Any, batches: Any, *args: Any) -> np.ndarray:
        read[0] += len(batches)
        found = counted.features = scores(model, batches, *args)  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr("hf_transfer.predict.scores", counted)
    before = sorted(path.name for path in base.iterdir())
    given: dict[str, Any] = {"ways": 2, "shots": (1, 4), "queries": 8, "episodes": 20, "seed": 7}
    own = evaluate_episodes("text-classification", str(base), rows, solvers=("prototypes", "knn"), **given)
    assert read[0] == 96 and sorted(path.name for path in base.iterdir()) == before
    assert set(own) == {
        f"{solver}_{shots}shot_accuracy{end}"
        for solver in ("prototypes", "knn") for shots in (1, 4) for end in ("", "_ci95_low", "_ci95_high")
    }  # fmt: skip
    key = "prototypes_4shot_accuracy"
    mean = evaluate_episodes(
        "text-classification", str(base), rows, solvers=["prototypes"], pooling="mean", **given
    )
    assert mean[key] > own[key] + 0.05  # the first token of this encoder knows little
    half = mean[f"{key}_ci95_high"] - mean[key]
    assert half == pytest.approx(mean[key] - mean[f"{key}_ci95_low"]) and 0 < half < 0.15


def test_images(image_folder: Path, tmp_path: Path) -> None:
    model = image_runs.save("resnet", tmp_path)
    found = evaluate_episodes(
        "image-classification", model, str(image_folder), ways=2, shots=3, queries=4, episodes=10,
        solvers=["ridge"],
    )  # fmt: skip
    assert found["ridge_3shot_accuracy"] > 0.9  # reddish and bluish
    with pytest.raises(Problems, match="'mean' is no way to read"):
        evaluate_episodes(
            "image-classification", model, str(image_folder), ways=2, queries=4, episodes=2, pooling="mean"
        )


def test_values_have_no_episodes(base: Path) -> None:
    with pytest.raises(Problems, match="one label a row"):
        evaluate_episodes("text-classification", str(base), pd.DataFrame(tiny.rows(40, "regression")))
