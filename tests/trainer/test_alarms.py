from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from math import log
from pathlib import Path

import pytest
from latentry_trainer.training.alarms import find_alarms
from latentry_trainer.training.log import Metrics, RunLog, read_metrics
from rich.console import Console

HEALTHY = {"fcd": 12.0, "class_entropy_nats": 2.25, "smallest_class_share": 0.05, "critic_accuracy": 0.9}
COLLAPSED = {**HEALTHY, "class_entropy_nats": 0.7, "smallest_class_share": 0.0}


@pytest.mark.parametrize(
    ("figures", "kinds"),
    [
        ({}, []),
        ({"bce": 0.28}, []),
        (HEALTHY, []),
        ({**HEALTHY, "class_entropy_nats": log(5) + 0.01}, []),
        ({**HEALTHY, "class_entropy_nats": log(5) - 0.01}, ["mode collapse"]),
        (COLLAPSED, ["mode collapse"]),
        ({**HEALTHY, "smallest_class_share": 0.0}, ["missing class"]),
        ({**HEALTHY, "smallest_class_share": 0.002}, []),
        ({**HEALTHY, "critic_accuracy": 0.998}, []),
        ({**HEALTHY, "critic_accuracy": 1.0}, ["critic ahead"]),
        ({**HEALTHY, "critic_accuracy": 1.0, "critic_loss": 0.0}, ["critic ahead"]),
        ({**HEALTHY, "critic_accuracy": 1.0, "critic_loss": -2.6}, []),  # a Wasserstein distance
        ({**HEALTHY, "critic_accuracy": 0.5}, []),
        ({**HEALTHY, "critic_accuracy": 0.0}, ["critic astray"]),
        ({**COLLAPSED, "critic_accuracy": 1.0}, ["mode collapse", "critic ahead"]),
    ],
)
def test_alarms_are_raised_by_what_is_wrong_alone(figures: Mapping[str, float], kinds: list[str]) -> None:
    assert [alarm.kind for alarm in find_alarms(figures)] == kinds


def test_an_alarm_says_the_figure_and_what_to_try() -> None:
    (collapse,) = find_alarms(COLLAPSED)
    assert "entropy is 0.70 nats, that of 2.0 classes, of ln 10 = 2.30" in collapse.message
    assert "try a critic that sees whole batches (gan-minibatch)" in collapse.message
    (ahead,) = find_alarms({"critic_accuracy": 0.9996})
    assert "in 99.96 % of pairs" in ahead.message
    assert "no harm while fcd falls" in ahead.message


def write_epochs(log: RunLog, *epochs: Mapping[str, float], critic_loss: float = 0.5) -> None:
    for epoch, figures in enumerate(epochs, start=1):
        losses = Metrics(
            images_seen=100 * epoch, stage="joint", epoch=epoch, split="train", values={"critic_loss": critic_loss}
        )
        log.write(losses)
        log.write(replace(losses, split="validation", values=figures))
        log.end_epoch("joint", epoch, len(epochs))


def test_the_log_raises_an_alarm_once_until_it_is_over(tmp_path: Path) -> None:
    output = StringIO()
    with RunLog(tmp_path, Console(file=output), "gan", 600, 0) as run_log:
        write_epochs(run_log, HEALTHY, COLLAPSED, COLLAPSED, HEALTHY, COLLAPSED)
    alarms = [line for line in output.getvalue().splitlines() if "alarm" in line]
    assert [line.split(": samples")[0] for line in alarms] == [
        "joint 2 | alarm: mode collapse",
        "joint 4 | no more alarm: mode collapse",
        "joint 5 | alarm: mode collapse",
    ]
    assert "\x1b" not in output.getvalue()
    assert len(output.getvalue().splitlines()) == 3 + 5
    assert [line.values for line in read_metrics(tmp_path)][3] == COLLAPSED


@pytest.mark.parametrize(("critic_loss", "num_alarms"), [(0.01, 1), (-2.6, 0)])
def test_the_log_knows_a_wasserstein_critic_by_its_loss(tmp_path: Path, critic_loss: float, num_alarms: int) -> None:
    output = StringIO()
    with RunLog(tmp_path, Console(file=output), "gan", 600, 0) as run_log:
        write_epochs(run_log, {"critic_accuracy": 1.0}, {"critic_accuracy": 1.0}, critic_loss=critic_loss)
    assert output.getvalue().count("alarm: critic ahead") == num_alarms


def test_on_a_terminal_an_alarm_stands_above_the_bar(tmp_path: Path) -> None:
    output = StringIO()
    with RunLog(tmp_path, Console(file=output, force_terminal=True, width=120), "gan", 600, 0) as run_log:
        write_epochs(run_log, COLLAPSED, COLLAPSED)
    assert output.getvalue().count("joint 1 | alarm: mode collapse: samples fall into few classes") == 1
    assert output.getvalue().rindex("33%") > output.getvalue().index("alarm")
