"""The dense GAN and its mitigations: each does what its paper says."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from latentry_trainer.config import OptimizerConfig, TrainingConfig
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.adversarial_losses import gradient_deviations, squared_gradients
from latentry_trainer.variants.discrimination import MinibatchDiscrimination
from latentry_trainer.variants.replay import Replay
from torch import Generator, nn

from tests.trainer.adversaries import NUM_LABELS, SHAPE, batch, gan, images


def step(variant: Adversarial) -> None:
    """Trains the critic alone, for a step."""
    training = TrainingConfig(optimizer=OptimizerConfig(name="sgd", learning_rate=0.1))
    critic, _ = variant.phases(training)
    optimizer = torch.optim.SGD(critic.module.parameters(), lr=critic.optimizer.learning_rate)
    critic.objective(batch()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert critic.after_step
    critic.after_step()


def test_phases_reach_their_own_weights_only() -> None:
    variant = gan()
    variant.critic_loss(batch()).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in variant.generator.parameters())
    assert all(weight.grad is not None for weight in variant.critic.parameters())


def test_a_critic_that_knows_nothing_loses_log_two_on_either_side() -> None:
    variant = gan()
    for weight in variant.critic.parameters():
        nn.init.zeros_(weight)
    assert variant.critic_loss(batch()).item() == pytest.approx(2 * np.log(2))
    assert variant.generator_loss(batch()).item() == pytest.approx(np.log(2))


def test_the_critic_is_trained_first_and_may_be_trained_more_often_and_faster() -> None:
    variant = gan(num_critic_steps=5, critic_learning_rate=0.5)
    (stage,) = variant.stages(TrainingConfig(num_epochs=3, optimizer=OptimizerConfig(learning_rate=0.1)))
    assert [(phase.name, phase.module, phase.interval, phase.optimizer.learning_rate) for phase in stage.phases] == [
        ("critic", variant.critic, 1, 0.5),
        ("generator", variant.generator, 5, 0.1),
    ]
    assert stage.num_epochs == 3


def penalised(options: Mapping[str, object]) -> tuple[float, Adversarial, Adversarial]:
    """What options add to the critic's loss; the critics with and without them."""
    plain, other = gan(), gan(**options)
    other.load_state_dict(plain.state_dict())
    return (other.critic_loss(batch()) - plain.critic_loss(batch())).item(), plain, other


def test_r1_adds_half_of_gamma_times_the_squared_slope_at_images() -> None:
    added, plain, _ = penalised({"r1_penalty": 0.5})
    expected = squared_gradients(lambda inputs: plain.criticise(inputs, None), images(6)).mean().item()
    assert added == pytest.approx(0.25 * expected, rel=1e-4)


def test_penalties_can_be_taken_on_a_part_of_the_batch() -> None:
    added, plain, _ = penalised({"r1_penalty": 0.5, "penalty_parts": 3})
    expected = squared_gradients(lambda inputs: plain.criticise(inputs, None), images(6)[:2]).mean().item()
    assert added == pytest.approx(0.25 * expected, rel=1e-4)


def test_drift_adds_the_squared_scores_of_images() -> None:
    added, plain, _ = penalised({"drift": 0.1})
    assert added == pytest.approx(0.1 * plain.criticise(images(6), None).square().mean().item(), rel=1e-4)


def test_a_gradient_penalty_adds_lambda_times_the_deviations_between_images_and_samples() -> None:
    added, plain, _ = penalised({"gradient_penalty": 10.0})
    rows = batch()
    fakes = plain.fakes(rows, None).detach()
    epsilon = rows.uniforms(1, 1, 1)
    deviations = gradient_deviations(lambda inputs: plain.criticise(inputs, None), rows.inputs, fakes, epsilon)
    assert added == pytest.approx(10 * deviations.mean().item(), rel=1e-4)


def test_clipping_keeps_every_weight_of_the_critic_within_its_bound() -> None:
    variant = gan(loss="wasserstein", clip=0.01)
    step(variant)
    weights = torch.cat([weight.flatten() for weight in variant.critic.parameters()])
    assert weights.abs().max().item() == pytest.approx(0.01)


def test_spectral_norm_makes_every_layer_of_the_critic_stretch_by_one_at_most() -> None:
    variant = gan(spectral_norm=True)
    with torch.no_grad():
        for name, weight in variant.critic.named_parameters():
            if name.endswith("original"):
                weight.mul_(5)
    variant.critic.train()
    for _ in range(500):  # an iteration of the power method each
        variant.criticise(images(2), None)
    variant.critic.eval()
    layers = [layer for layer in variant.critic.modules() if isinstance(layer, nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in layers]
    assert norms == pytest.approx([1] * len(layers), abs=1e-3)
    assert not any(hasattr(layer, "parametrizations") for layer in variant.generator.modules())


def test_instance_noise_falls_to_nothing_over_the_run() -> None:
    variant = gan(instance_noise=0.5)
    noise = [variant.add_noise(images(400), batch(400, progress=progress)) - images(400) for progress in (0, 0.5, 1)]
    assert [rows.std().item() for rows in noise] == pytest.approx([0.5, 0.25, 0], abs=0.01)


def test_smoothed_labels_are_refused_where_there_are_no_targets() -> None:
    with pytest.raises(ValueError, match=r"--model.label_smoothing: --model.loss hinge has no targets"):
        gan(loss="hinge", label_smoothing=0.1).check_training(TrainingConfig(), 100)
    gan(label_smoothing=0.1).check_training(TrainingConfig(), 100)


def test_labels_go_into_both_networks() -> None:
    variant = gan(conditional=True)
    codings, first, second = torch.zeros(1, 4), torch.tensor([0]), torch.tensor([1])
    assert not torch.equal(variant.decode(codings, first), variant.decode(codings, second))
    assert not torch.equal(variant.criticise(images(1), first), variant.criticise(images(1), second))
    graphs = {graph.role: graph for graph in variant.graph_modules()}
    assert [tensor.name for tensor in graphs["decoder"].inputs] == ["codings", "labels"]
    assert [tensor.name for tensor in graphs["critic"].inputs] == ["inputs", "labels"]


def test_samples_without_labels_are_of_each_class_in_turn() -> None:
    variant = gan(conditional=True)
    expected = variant.sample(6, Generator().manual_seed(0), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert torch.equal(variant.sample(6, Generator().manual_seed(0)), expected)


def test_a_replay_gives_half_of_what_came_and_half_of_what_it_holds() -> None:
    replay = Replay(1_000, SHAPE)
    dark, bright = torch.zeros(1_000, *SHAPE), torch.ones(1_000, *SHAPE)
    replay.exchange(dark, torch.zeros(1_000, dtype=torch.int64), batch(1_000))
    mixed, labels = replay.exchange(bright[:500], torch.ones(500, dtype=torch.int64), batch(500))
    assert labels is not None
    is_bright = mixed.flatten(1).amax(dim=1) == 1
    assert torch.equal(is_bright, labels == 1), "images keep their labels"
    # Half are fresh and so bright; of the drawn, half are: the buffer is half bright now.
    assert is_bright.float().mean().item() == pytest.approx(0.75, abs=0.06)


def test_a_replay_forgets_the_oldest_and_draws_only_what_it_has_seen() -> None:
    replay = Replay(10, SHAPE)
    grey = torch.full((4, *SHAPE), 0.2)
    mixed, _ = replay.exchange(grey, None, batch(4))
    torch.testing.assert_close(mixed, grey, atol=1 / 510, rtol=0)
    for level in (0.4, 0.6, 0.8):
        replay.exchange(torch.full((4, *SHAPE), level), None, batch(4))
    levels = (replay.images.flatten(1)[:, 0].float() / 255).tolist()
    assert sorted(round(level, 1) for level in levels) == [0.4] * 2 + [0.6] * 4 + [0.8] * 4


# Salimans et al. 2016, section 3.2, row by row
def test_minibatch_discrimination_is_the_papers_without_a_rows_closeness_to_itself() -> None:
    layer = MinibatchDiscrimination(3, num_kernels=4, kernel_size=2)
    features = torch.randn(5, 3, generator=Generator().manual_seed(0))
    rows, tensor = features.numpy(), layer.tensor.detach().numpy()
    matrices = np.einsum("nf,fbc->nbc", rows, tensor)
    expected = np.zeros((5, 4))
    for i in range(5):
        for j in range(5):
            if i != j:
                expected[i] += np.exp(-np.abs(matrices[i] - matrices[j]).sum(axis=1))
    outputs = layer(features).detach().numpy()
    np.testing.assert_allclose(outputs[:, :3], rows, atol=1e-6)
    np.testing.assert_allclose(outputs[:, 3:], expected, atol=1e-5)


def test_a_critic_that_sees_batch_mates_scores_nothing_by_itself() -> None:
    variant = gan(minibatch_discrimination=True)
    assert [graph.role for graph in variant.graph_modules()] == ["decoder"]
    assert "SCORE" not in variant.capabilities
    assert variant.anomaly_scores(batch()) is None
    assert variant.criticise(images(4), None)[0] != variant.criticise(images(1), None)[0]


def test_scores_are_the_critics_upside_down() -> None:
    variant = gan(conditional=True)
    rows = batch()
    scores = variant.anomaly_scores(rows)
    assert scores is not None
    torch.testing.assert_close(scores, -variant.criticise(rows.inputs, rows.labels))


def test_the_critics_accuracy_is_over_all_pairs() -> None:
    variant = gan()
    accuracy = variant.validation_metrics(batch(100))["critic_accuracy"].item()
    assert accuracy * 100 == pytest.approx(round(accuracy * 100)), "of ten images and ten samples"
    assert 0 <= accuracy <= 1


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [{}, {"conditional": True}, {"spectral_norm": True}, {"minibatch_discrimination": True}, {"replay_size": 10}],
    ids=str,
)
def test_graphs_compute_what_the_networks_do(options: dict[str, object]) -> None:
    for graph in gan(**options).eval().graph_modules():
        check_parity(graph, export_graph(graph), num_labels=NUM_LABELS)
