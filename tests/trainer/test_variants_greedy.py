import pytest
import torch
from latentry_trainer.config import OptimizerConfig, TrainingConfig
from latentry_trainer.variants import Batch, Phase
from latentry_trainer.variants.greedy import Greedy
from torch import Generator
from torch.nn import functional

SHAPE = (1, 4, 4)
BATCH = Batch(inputs=torch.rand(5, *SHAPE, generator=Generator().manual_seed(0)), generator=Generator())
TRAINING = TrainingConfig(optimizer=OptimizerConfig(name="sgd", learning_rate=1.5), num_epochs=30)


@pytest.fixture
def deep() -> Greedy:
    """16-9-8-3-8-9-16."""
    torch.manual_seed(0)
    return Greedy(Greedy.Config(hidden_sizes=(9, 8), codings_size=3), SHAPE)


def phases(variant: Greedy) -> list[Phase]:
    return [stage.phases[0] for stage in variant.stages(TRAINING)]


def test_layers_are_trained_from_the_outside_in_and_then_together() -> None:
    variant = Greedy(Greedy.Config(), (1, 28, 28))
    stages = variant.stages(TRAINING)
    assert [(stage.name, stage.num_epochs) for stage in stages] == [("layer 1", 10), ("layer 2", 10), ("joint", 10)]
    assert [phase.optimizer.learning_rate for phase in phases(variant)] == [1.5, 0.05, 0.1]
    assert {phase.optimizer.name for phase in phases(variant)} == {"sgd"}


def test_each_stage_moves_its_own_layers(deep: Greedy) -> None:
    shapes = [[tuple(weight.shape) for weight in phase.module.parameters()] for phase in phases(deep)]
    assert shapes[0] == [(9, 16), (9,), (16, 9), (16,)]
    assert shapes[1] == [(8, 9), (8,), (9, 8), (9,)]
    assert shapes[2] == [(3, 8), (3,), (8, 3), (8,)]
    assert sorted(shapes[3]) == sorted(shapes[0] + shapes[1] + shapes[2])
    for phase in phases(deep)[:3]:
        deep.zero_grad()
        phase.objective(BATCH).backward()  # type: ignore[no-untyped-call]
        reached = {weight for weight in deep.parameters() if weight.grad is not None}
        assert reached == set(phase.module.parameters())


def test_the_outermost_layer_reconstructs_images_and_the_others_codings(deep: Greedy) -> None:
    _, first, second, third = deep.encoder
    hidden = first(BATCH.inputs.flatten(1))
    inner = second(hidden)
    expected = [
        functional.binary_cross_entropy_with_logits(deep.decoder[-1](hidden), BATCH.inputs.flatten(1)),
        functional.mse_loss(deep.decoder[-2](inner), hidden),
        functional.mse_loss(deep.decoder[-3](third(inner)), inner),
        deep.loss(BATCH),
    ]
    losses = [phase.objective(BATCH) for phase in phases(deep)]
    torch.testing.assert_close(torch.stack(losses), torch.stack(expected))


def test_validation_measures_through_one_layer_two_and_all(deep: Greedy) -> None:
    figures = deep.validation_metrics(BATCH)
    assert [name for name in figures if name.startswith("depth")] == ["depth_1_error", "depth_2_error"]
    torch.testing.assert_close(figures["depth_1_error"], phases(deep)[0].objective(BATCH))
    torch.testing.assert_close(figures["bce"], deep.outer_error(3, BATCH.inputs))


@pytest.mark.parametrize(("num_epochs", "shares"), [(4, [1, 1, 1, 1]), (7, [1, 1, 1, 4]), (8, [2, 2, 2, 2])])
def test_stages_share_the_epochs_and_the_last_has_the_rest(deep: Greedy, num_epochs: int, shares: list[int]) -> None:
    stages = deep.stages(TrainingConfig(num_epochs=num_epochs))
    assert [stage.num_epochs for stage in stages] == shares


def test_fewer_epochs_than_stages_are_refused(deep: Greedy) -> None:
    with pytest.raises(ValueError, match=r"option --training.num_epochs: expected at least 4, .* got 3"):
        deep.check_training(TrainingConfig(num_epochs=3), 100)
