"""Which parameter learns at which rate, and which is decayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from small_training import make_setup
from torch import nn
from transformers import Trainer, TrainerCallback

from hf_transfer.anatomy import layer_groups
from hf_transfer.assembling import planned_phases
from hf_transfer.problems import Problems
from hf_transfer.strategies.named import full, partial
from hf_transfer.strategies.phases import Phase, learning_rate_for, phases
from hf_transfer.strategies.rates import decay_names, group_rates, optimizer_groups
from hf_transfer.training.phase import phase_trainer

# architecture: names that are decayed, names that are not, and those of the latter that stock decays all the same
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "bert": (
        (
            "bert.embeddings.word_embeddings.weight",
            "bert.encoder.layer.0.output.dense.weight",
            "classifier.weight",
        ),
        ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.output.dense.bias", "classifier.bias"),
        ("bert.embeddings.position_embeddings.weight",),
    ),
    "deberta-v2": (
        ("deberta.encoder.layer.0.attention.self.query_proj.weight", "pooler.dense.weight"),
        ("deberta.encoder.layer.0.attention.output.LayerNorm.weight", "deberta.encoder.LayerNorm.weight"),
        (),
    ),
    "modernbert": (
        ("model.embeddings.tok_embeddings.weight", "model.layers.1.mlp.Wi.weight"),
        ("model.final_norm.weight", "model.layers.1.attn_norm.weight", "head.norm.weight"),
        (),
    ),
    "llama": (
        ("model.layers.0.self_attn.q_proj.weight", "score.weight"),
        ("model.layers.0.input_layernorm.weight", "model.norm.weight"),
        (),
    ),
    "vit": (
        ("vit.embeddings.patch_embeddings.projection.weight", "classifier.weight"),
        ("vit.layernorm.weight", "vit.layernorm.bias"),
        ("vit.embeddings.cls_token", "vit.embeddings.position_embeddings"),
    ),
    "dinov2": (
        ("dinov2.encoder.layer.0.mlp.fc1.weight",),
        ("dinov2.encoder.layer.0.norm1.weight",),
        ("dinov2.encoder.layer.0.layer_scale1.lambda1", "dinov2.embeddings.cls_token"),
    ),
    "swin": (
        ("swin.encoder.layers.0.downsample.reduction.weight",),
        (
            "swin.embeddings.norm.weight",
            "swin.encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table",
        ),
        (),
    ),
    "convnext": (
        (
            "convnext.encoder.stages.0.layers.0.dwconv.weight",
            "convnext.encoder.stages.0.layers.0.pwconv1.weight",
        ),
        ("convnext.layernorm.weight",),
        ("convnext.encoder.stages.0.layers.0.layer_scale_parameter",),
    ),
    "convnextv2": (
        ("convnextv2.encoder.stages.0.layers.0.dwconv.weight",),
        (),
        ("convnextv2.encoder.stages.0.layers.0.grn.weight",),  # shaped (1, 1, 1, C)
    ),
    "resnet": (
        ("resnet.embedder.embedder.convolution.weight", "classifier.1.weight"),
        ("resnet.embedder.embedder.normalization.bias",),
        (
            "resnet.embedder.embedder.normalization.weight",
            "resnet.encoder.stages.1.layers.0.shortcut.normalization.weight",
        ),
    ),
    "timm-vit": (
        ("timm_model.patch_embed.proj.weight", "timm_model.head.weight"),
        ("timm_model.norm.weight",),
        ("timm_model.pos_embed", "timm_model.cls_token"),
    ),
    "timm-resnet18": (
        ("timm_model.conv1.weight", "timm_model.layer1.0.conv1.weight"),
        ("timm_model.bn1.bias",),
        ("timm_model.bn1.weight", "timm_model.layer2.0.downsample.1.weight"),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_weight_decay_is_on_matrices_alone(name: str) -> None:
    model = make(name)
    decayed, (yes, no, stock_wrong) = decay_names(model), TABLE[name]
    names = {n for n, _ in model.named_parameters()}
    assert {*yes, *no, *stock_wrong} <= names
    assert set(yes) <= decayed
    assert not decayed & {*no, *stock_wrong}
    assert not any(n.endswith("bias") or model.get_parameter(n).dim() < 2 for n in decayed)
    # Where transformers' own rule goes wrong, so that ours can go when it is mended.
    assert set(stock_wrong) <= set(Trainer.get_decay_parameter_names(None, model))  # type: ignore[arg-type]


def test_tables_of_positions_have_many_names() -> None:
    """transformers' rule decays each of them but the last, which is a layer and not a table."""
    model = nn.Module()
    tables = (
        "rel_embeddings",
        "rel_pos_x_bias",
        "rel_attn_embed",
        "distance_embedding",
        "relative_attention_bias",
    )
    for name in tables:
        setattr(model, name, nn.Embedding(4, 8))
    free = (
        "attention_biases",
        "rel_pos_h",
        "pos_bias_u",
        "seg_embed",
        "level_embed",
        "detection_tokens",
        "A_log",
    )
    for name in free:
        setattr(model, name, nn.Parameter(torch.ones(4, 8)))
    model.relative_head, model.positions_projection = nn.Linear(8, 4), nn.Linear(8, 4)
    model.position_bias_mlp = nn.Linear(8, 4)  # makes a bias, as Swin V2's
    assert decay_names(model) == {"relative_head.weight", "positions_projection.weight"}


def test_the_head_of_a_regression_is_a_matrix_too() -> None:
    assert "classifier.weight" in decay_names(make("bert", num_labels=1))


def test_layer_decay_is_lr_times_d_to_the_distance_from_the_head() -> None:
    groups = layer_groups(make("bert"))
    phase = Phase("full", full(groups)[0].learns, layer_decay=0.5)
    top = len(groups) - 1  # L + 1
    assert group_rates(groups, phase, 8e-4) == {
        g.name: pytest.approx(8e-4 * 0.5 ** (top - i)) for i, g in enumerate(groups)
    }
    assert group_rates(groups, phase, 8e-4)["head"] == 8e-4


def test_head_learning_rate_replaces_the_heads_only() -> None:
    groups = layer_groups(make("bert"))
    learns = full(groups)[0].learns
    plain = group_rates(groups, Phase("full", learns, layer_decay=0.9), 1e-4)
    given = group_rates(groups, Phase("full", learns, layer_decay=0.9, head_learning_rate=1e-2), 1e-4)
    assert given == plain | {"head": 1e-2}


def test_the_topmost_learning_group_has_the_learning_rate() -> None:
    groups = layer_groups(make("bert"))
    rates = group_rates(
        groups, Phase("middle", ("block.1", "block.2"), layer_decay=0.5, learning_rate=4.0), 1e-4
    )
    assert rates == {"block.1": 2.0, "block.2": 4.0}
    assert set(group_rates(groups, partial(groups, "2")[0], 1e-4)) == {"block.2", "block.3", "head"}


def test_default_rates_by_what_learns() -> None:
    assert learning_rate_for("full", False) == learning_rate_for("partial:2", False) == 5e-5
    assert learning_rate_for("feature_extraction", False) == 1e-3
    assert learning_rate_for("full", True) == 5e-4


@pytest.mark.parametrize("name", ["bert", "resnet", "timm-vit"])
def test_optimizer_groups_hold_every_parameter_once_at_its_rate(name: str) -> None:
    model = make(name)
    groups = layer_groups(model)
    phase = Phase("full", full(groups)[0].learns, layer_decay=0.8)
    made, rates, decayed = (
        optimizer_groups(model, groups, phase, 1e-3, 0.1),
        group_rates(groups, phase, 1e-3),
        decay_names(model),
    )
    names = {id(parameter): n for n, parameter in model.named_parameters()}
    held = [names[id(p)] for group in made for p in group["params"]]
    assert sorted(held) == sorted(names.values())
    for group in made:
        mine = {names[id(p)] for p in group["params"]}
        assert mine <= set(next(g.parameters for g in groups if g.name == group["name"]))
        assert group["lr"] == rates[group["name"]]
        assert group["weight_decay"] == (0.1 if mine <= decayed else 0.0) and (
            mine <= decayed or not mine & decayed
        )
    assert len(made) <= 2 * len(groups)


class Rates(TrainerCallback):
    """The rate of every optimizer group at every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        self.seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd"])
def test_the_ratio_of_neighbours_holds_through_warmup_and_schedule(optim: str, tmp_path: Path) -> None:
    model = make("bert")
    strategy = [Phase("full", full(layer_groups(model))[0].learns, layer_decay=0.5, head_learning_rate=3e-3)]
    # 6 steps: 3 of warmup, then a cosine to zero.
    changes = {"max_steps": 6, "warmup_steps": 3, "lr_scheduler_type": "cosine", "optim": optim}
    setup = make_setup(model, "bert", tmp_path, strategy, **changes)
    rates = Rates()
    trainer = phase_trainer(setup, 1)
    trainer.add_callback(rates)
    trainer.train()
    peak = max(seen["block.3"] for seen in rates.seen)
    assert [round(seen["block.3"] / peak, 3) for seen in rates.seen[:4]] == [0.0, 0.333, 0.667, 1.0]
    assert peak == pytest.approx(5e-4)  # 1e-3 * 0.5
    for seen in rates.seen[1:]:
        assert seen["block.2"] / seen["block.3"] == pytest.approx(0.5)
        assert seen["block.1"] / seen["block.2"] == pytest.approx(0.5)
        assert seen["embeddings"] / seen["block.1"] == pytest.approx(0.5)
        assert seen["head"] / seen["block.3"] == pytest.approx(6.0)
    logged = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    assert logged == [seen["head"] for seen in rates.seen]  # stock logs the lowest group's


def test_strategies_by_name_and_what_is_said_when_there_is_none() -> None:
    from hf_transfer.problems import Problems

    groups = layer_groups(make("bert"))
    assert phases("feature_extraction", groups)[0].learns == ("head",)
    assert phases("partial:1", groups)[0].learns == ("block.3", "head")
    assert [phase.name for phase in phases("two-phase", groups)] == ["head", "full"]
    for wrong, said in {
        "ful": "did you mean full",
        "partial:4": "3 blocks",
        "partial:0": "3 blocks",
        "partial": "3 blocks",
        "full:2": "no strategy",
    }.items():
        with pytest.raises(Problems, match=said):
            phases(wrong, groups)
    with pytest.raises(Problems, match="did you mean block.1") as error:
        phases([Phase("a", ("blok.1",)), Phase("b", ())], groups)
    assert len(error.value.problems) == 2
    with pytest.raises(Problems, match="no head of its own"):
        phases("feature-extraction", layer_groups(make("gpt2-causal")))


def test_what_nothing_would_learn_by_is_refused_and_pairs_leave_the_head_alone() -> None:
    groups = layer_groups(make("bert"))
    for name in ("layer_decay", "head_learning_rate"):
        with pytest.raises(Problems, match=f"--{name}: is 0, so nothing would learn"):
            planned_phases("full", groups, {name: 0.0})
        with pytest.raises(Problems, match=f"{name} is 0, so nothing would learn"):
            phases([{"name": "own", "learns": "all", name: 0.0}], groups)
    (own,) = phases([{"name": "own", "learns": "all", "pairs": True}], groups)
    assert own.learns == tuple(group.name for group in groups if group.name != "head")
