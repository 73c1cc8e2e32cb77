import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.cli import main
from latentry_trainer.experiments import EXPERIMENTS, choose_experiments, find_run
from latentry_trainer.presets import PRESETS, without_cpu
from latentry_trainer.report.grids import write_grid
from latentry_trainer.report.results import Result, write_results
from latentry_trainer.run_folder import Destination, start
from latentry_trainer.training.log import Metrics
from latentry_trainer.variants import build_variant

COMMAND = "latentry-train run-all stacked --results results.md"


def run_all(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["latentry-train", "run-all", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_what_is_done_is_skipped_and_the_page_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_all(tmp_path, monkeypatch, "pca-toy") == 0
    assert "joint 1/" in capsys.readouterr().out
    assert run_all(tmp_path, monkeypatch, "pca-toy", "--results", "docs/results.md") == 0
    again = capsys.readouterr().out
    assert "done    runs/pca-toy-001" in again
    assert "joint 1/" not in again
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["pca-toy-001"]
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| `pca-toy` | mse_over_pca | ≤ 1.01 |" in page
    assert "    latentry-train run-all pca-toy --results docs/results.md\n" in page


def test_a_run_that_was_begun_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = Destination(repository=tmp_path / "models", model_name="pca-toy")
    begun = start(PRESETS["pca-toy"].config, destination, tmp_path / "runs")
    assert run_all(tmp_path, monkeypatch, "pca-toy") == 0
    assert f"run     runs/{begun.name}" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [begun.name]


def test_an_unknown_preset_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_all(tmp_path, monkeypatch, "stakced") == 2
    assert "unknown preset stakced; did you mean stacked" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_preset_that_is_not_among_the_experiments_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_all(tmp_path, monkeypatch, "pca-quick", "--results", "results.md") == 2
    assert "run-all does not train pca-quick; expected some of stacked, " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_preset_with_a_target_is_an_experiment() -> None:
    as_they_are = {experiment.preset for experiment in EXPERIMENTS if not experiment.options}
    assert {name for name, preset in PRESETS.items() if preset.targets} <= as_they_are


def test_models_that_have_not_seen_a_class_have_names_of_their_own() -> None:
    names = [experiment.model_name for experiment in EXPERIMENTS if experiment.preset == without_cpu(experiment.preset)]
    assert len(set(names)) == len(names)
    assert {"stacked", "stacked-quick-without-3", "stylegan-quick-without-noise"} <= set(names)
    assert "stacked-quick" not in names


def test_every_experiment_changes_what_it_says_and_can_be_trained() -> None:
    configs = [experiment.config for experiment in EXPERIMENTS]
    assert all(config not in configs[:i] for i, config in enumerate(configs))
    for config in configs:
        variant = build_variant(config, (1, 28, 28), 10)
        variant.check_training(config.training, 55_000)


@pytest.mark.parametrize("has_cuda", [False, True])
def test_presets_for_a_gpu_are_trained_where_there_is_one_or_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_cuda: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    for_gpu = {name for name, preset in PRESETS.items() if preset.is_for_gpu}
    chosen = {experiment.preset for experiment in choose_experiments((), tmp_path)}
    assert for_gpu
    assert chosen & for_gpu == (for_gpu if has_cuda else set())
    assert chosen >= {"stacked", "stacked-quick"}
    assert [experiment.preset for experiment in choose_experiments(("stylegan",), tmp_path)] == ["stylegan"]


def test_a_run_of_another_configuration_is_not_taken(tmp_path: Path) -> None:
    config = PRESETS["stacked"].config
    other = replace(config, training=replace(config.training, seed=1))
    start(other, Destination(repository=tmp_path, model_name="stacked"), tmp_path)
    assert find_run(tmp_path, config) is None
    assert find_run(tmp_path, other) == tmp_path / "stacked-001"


def result(preset: str, validation: Mapping[str, float]) -> Result:
    return Result(
        config=PRESETS[preset].config,
        targets=PRESETS[preset].targets,
        evaluation={"validation": validation, "test": validation},
        metrics=[
            Metrics(images_seen=images_seen, stage="joint", epoch=1, split="validation", values={"bce": 0.3})
            for images_seen in (55_000, 110_000)
        ],
        images_seen=110_000,
        kept_images_seen=55_000,
        wall_time_s=10,
        device="cpu",
    )


def test_the_page_says_what_is_reached_and_what_is_not(tmp_path: Path) -> None:
    fcd = {"fcd": 12.5, "fcd_floor": 0.4, "fcd_ceiling": 640.0}
    reached = result("stacked", {"bce": 0.28, "rounded_accuracy": 0.9, **fcd})
    likely = result("vae", {"loss": 0.31, "bce": 0.29, "elbo_nats": -240.0})
    frozen = {"frozen": {"validation": {"accuracy": 0.75}, "test": {"accuracy": 0.74}}}
    write_results(tmp_path / "results.md", [reached, likely], frozen, command=COMMAND)
    page = (tmp_path / "results.md").read_text()
    assert f"    {COMMAND}\n" in page
    assert "| `stacked` | bce | ≤ 0.2845 | 0.2800 | 0.2800 | yes |" in page
    assert "| `stacked` | rounded_accuracy | ≥ 0.936 | 0.9000 | 0.9000 | **no** |" in page
    assert re.search(r"\| `stacked` \| 12.50 \|.*\| no \|\n\| \*training images\* \| 0.4000 ", page)
    assert "| `vae` | -240.00 |" in page
    assert "| frozen | 0.7500 | 0.7400 |" in page
    assert "| `stacked` | sgd, 32 | 110 000 | 10 s | 11.0 | cpu |" in page
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"results-curves.png", "results-samples.png"}


def samples(fcd: float, share: float, **others: float) -> dict[str, float]:
    return {"fcd": fcd, "fcd_floor": 0.4, "fcd_ceiling": 640.0, "smallest_class_share": share, **others}


def test_the_story_of_the_deck_stands_side_by_side(tmp_path: Path) -> None:
    write_grid(tmp_path / "samples-000000001.png", np.zeros((60, 1, 28, 28)), num_columns=10)
    results = [
        replace(result("wgan-gp", samples(20, 0.031)), samples=tmp_path / "samples-000000001.png"),
        result("stacked", samples(44, 0.02)),
        result("gan", samples(108, 0.0, class_entropy_nats=2.0)),
        result("cgan", samples(30, 0.09, label_accuracy=0.8)),
    ]
    write_results(tmp_path / "results.md", results, {}, command=COMMAND)
    page = (tmp_path / "results.md").read_text()
    story = page[page.index("## The deck's story") :]
    rows = re.findall(r"\| `(.+)` \| (.+?) \| ([\d.]+) \|.* \| 55 000 of 110 000 \|", story)
    assert rows == [
        ("gan", "the deck's, non-saturating loss", "0.0000"),
        ("wgan-gp", "Wasserstein loss, gradient penalty", "0.0310"),
        ("cgan", "labels for both networks", "0.0900"),
    ]
    assert "images/results-story.png" in story
    assert (tmp_path / "images" / "results-story.png").is_file()
    assert re.search(r"\| `cgan` \| 30.00 \|.* \| 0.0900 \| 0.8000 \| yes \|", page)
    assert re.search(r"\| `gan` \| 108.00 \|.* \| 0.0000 \|  \| no \|", page)


def test_runs_with_something_changed_stand_beside_the_whole_preset(tmp_path: Path) -> None:
    whole, changed = result("gan-quick", samples(10, 0.05)), result("gan-quick", samples(15, 0.05))
    results = [whole, replace(changed, change="without noise"), result("stacked", samples(44, 0.02))]
    write_results(tmp_path / "results.md", results, {}, command=COMMAND)
    page = (tmp_path / "results.md").read_text()
    techniques = page[page.index("## What each technique of StyleGAN brings") : page.index("## Time")]
    assert re.findall(r"\| (.+?) \| (\d+\.\d\d) \|", techniques) == [
        ("`gan-quick`", "10.00"),
        ("without noise", "15.00"),
    ]
    assert page.count("| 15.00 |") == 1
