import subprocess
import sys
from pathlib import Path

import pytest
import torch
from latentry_trainer.parallel import ALONE, World
from latentry_trainer.training.log import read_metrics
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import Batch
from torch import Generator, Tensor

from tests.trainer.command import Command

TORCHRUN = Path(sys.executable).with_name("torchrun")
LATENTRY_TRAIN = Path(sys.executable).with_name("latentry-train")

# Two processes add gradients up in another order than one does. By plain SGD: other optimisers divide small gradients
# by their own size, and make much of their last bits.
TOLERANCE = 1e-5
OPTIMIZER = ("--training.optimizer.name=sgd", "--training.optimizer.learning_rate=0.02")


def run(folder: Path, num_processes: int, *arguments: str) -> None:
    launcher = [str(TORCHRUN), "--standalone", f"--nproc-per-node={num_processes}", "--no-python"]
    command = [*(launcher if num_processes > 1 else []), str(LATENTRY_TRAIN), "run", *arguments]
    subprocess.run([*command, "--runs", str(folder), "--repository", str(folder)], check=True, cwd=folder, timeout=240)


PENALTIES = ["--model.r1_penalty=0.3", "--model.gradient_penalty=1", "--model.penalty_parts=8"]


# Noise in the objective, two phases and a penalty on a part of each batch, a statistic of the whole batch; the last
# batch has 57 of the 2 400 images, one less for the second process.
@pytest.mark.parametrize("preset", ["vae-quick", "gan", "sparse-kl-quick"])
def test_two_processes_train_as_one_does(tmp_path: Path, slice_path: Path, preset: str) -> None:
    options = [
        "--data.name=npz",
        f"--data.path={slice_path}",
        "--training.num_epochs=1",
        "--training.batch_size=71",
        *OPTIMIZER,
        *(PENALTIES if preset == "gan" else []),
    ]
    for num_processes in (1, 2):
        folder = tmp_path / str(num_processes)
        folder.mkdir()
        run(folder, num_processes, preset, *options)
    one, two = (load_trained(tmp_path / folder / f"{preset}-001") for folder in ("1", "2"))
    assert one.position.images_seen == two.position.images_seen
    weights = two.variant.state_dict()
    for name, weight in one.variant.named_parameters():
        torch.testing.assert_close(weights[name], weight, atol=TOLERANCE, rtol=TOLERANCE)
    for mine, theirs in zip(*(read_metrics(tmp_path / folder / f"{preset}-001") for folder in ("1", "2")), strict=True):
        expected = {name: value for name, value in mine.values.items() if name != "images_per_s"}
        got = {name: value for name, value in theirs.values.items() if name != "images_per_s"}
        assert got == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)
    assert len(list((tmp_path / "2").glob("*/*/manifest.json"))) == 1, "the first process publishes, the others do not"


def test_every_row_belongs_to_one_process() -> None:
    rows = torch.arange(7)
    parts: list[Tensor] = [World(rank=rank, size=3).own(rows) for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == rows.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("num_parts", [1, 8])
def test_the_first_part_of_a_batch_is_the_same_for_all(num_parts: int) -> None:
    inputs, labels = torch.rand(71, 4), torch.arange(71)
    worlds = [World(rank=rank, size=3) for rank in range(3)]
    parts = [
        Batch(inputs=w.own(inputs), labels=w.own(labels), generator=Generator(), num_rows=71, world=w).first_part(
            num_parts
        )
        for w in worlds
    ]
    whole = Batch(inputs=inputs, labels=labels, generator=Generator()).first_part(num_parts)
    seen = torch.cat([part.labels for part in parts if part.labels is not None])
    assert sorted(seen.tolist()) == whole.labels.tolist() == list(range(-(-71 // num_parts)))  # type: ignore[union-attr]
    torch.testing.assert_close(whole.mean(whole.inputs), inputs[: len(seen)].mean(dim=0))
    assert sum(part.share for part in parts) == pytest.approx(1)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--training.batch_size: with 32, the last of 65 images are a batch of 1"):
        World(rank=0, size=2).check_batches(65, 32)
    World(rank=0, size=2).check_batches(64, 32)
    ALONE.check_batches(65, 32)


@pytest.mark.parametrize("command", ["run-all", "pretrain-classifier"])
def test_commands_that_processes_cannot_share_are_refused(
    latentry_train: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = latentry_train(command)
    assert result.status == 2
    assert f"{command} is for one process, and torchrun started 2; expected run or resume" in result.err
    assert not Path("runs").exists()
