"""What a run says while it trains: metrics.jsonl, TensorBoard events, and a progress bar or plain lines."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from latentry_trainer.training.alarms import find_alarms

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """One line of metrics.jsonl."""

    images_seen: int
    """Where the run was."""
    stage: str
    """The stage's name."""
    epoch: int
    """Epoch within the stage, from 1."""
    split: Literal["train", "validation"]
    """`train`: means over the images since the line before; `validation`: the whole split, after an epoch."""
    values: Mapping[str, float]
    """Figures by name. `train`: `<phase>_loss` and `images_per_s`."""


def read_metrics(run_folder: Path) -> Iterator[Metrics]:
    """The lines of a run's metrics.jsonl; a last line that was cut off by a kill is left out.

    Raises:
        ValueError: Another line is damaged.
    """
    path = run_folder / METRICS_FILE
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if line.endswith("\n"):
            try:
                yield Metrics(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number} is not a line of metrics: {error}") from error


class Log(Protocol):
    """Where a run's metrics go."""

    def write(self, metrics: Metrics) -> None:
        """Logs one line."""

    def end_epoch(self, stage: str, epoch: int, num_epochs: int) -> None:
        """Is told that an epoch is over."""


class NoLog:
    """Drops all metrics: for the processes beside the first."""

    def write(self, metrics: Metrics) -> None:
        """Drops them."""

    def end_epoch(self, stage: str, epoch: int, num_epochs: int) -> None:
        """Says nothing."""


class RunLog:
    """Writes metrics to all three places, and raises alarms where they tell of something wrong. A context manager.

    Args:
        run_folder: Where metrics.jsonl and TensorBoard's events are.
        console: Where progress is shown: a bar on a terminal, a line an epoch elsewhere.
        title: The run, in a word.
        num_images: Images that the whole run shows.
        images_seen: Where the run goes on from; what was logged after that is dropped.
    """

    def __init__(self, run_folder: Path, console: Console, title: str, num_images: int, images_seen: int) -> None:
        self._console = console
        self._keep_until(run_folder, images_seen)
        self._metrics = (run_folder / METRICS_FILE).open("a", buffering=1)
        self._events = SummaryWriter(str(run_folder / TENSORBOARD_FOLDER), purge_step=images_seen + 1)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=num_images, completed=images_seen, status="")
        self._latest: dict[str, str] = {}
        self._losses: Mapping[str, float] = {}
        self._alarms: frozenset[str] = frozenset()  # the kinds that are raised

    @staticmethod
    def _keep_until(run_folder: Path, images_seen: int) -> None:
        """Drops the lines after a position: a resumed run writes them again."""
        path = run_folder / METRICS_FILE
        if path.exists():
            kept = [metrics for metrics in read_metrics(run_folder) if metrics.images_seen <= images_seen]
            beside = path.with_suffix(".partial")
            beside.write_text("".join(_line(metrics) for metrics in kept))
            beside.replace(path)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._metrics.close()
        self._events.close()

    def write(self, metrics: Metrics) -> None:
        """Logs one line; says which alarms its figures raise that the last ones did not, and which are over."""
        self._metrics.write(_line(metrics))
        if metrics.split == "train":
            self._losses = metrics.values
        else:
            self._warn(metrics)
        for name, value in metrics.values.items():
            self._events.add_scalar(f"{metrics.split}/{name}", value, metrics.images_seen)
        self._latest[metrics.split] = _words(metrics.values)
        self._progress.update(self._task, completed=metrics.images_seen, status=self._latest["train"])

    def end_epoch(self, stage: str, epoch: int, num_epochs: int) -> None:
        """Says in a line how an epoch went, where there is no bar."""
        if not self._console.is_terminal:
            figures = " | ".join(f"{split}: {words}" for split, words in self._latest.items())
            self._console.print(f"{stage} {epoch}/{num_epochs} | {figures}", highlight=False, soft_wrap=True)

    def _warn(self, metrics: Metrics) -> None:
        """On a terminal above the bar."""
        alarms = {alarm.kind: alarm.message for alarm in find_alarms({**self._losses, **metrics.values})}
        news = [f"alarm: {kind}: {message}" for kind, message in alarms.items() if kind not in self._alarms]
        news += [f"no more alarm: {kind}" for kind in sorted(self._alarms.difference(alarms))]
        for words in news:
            self._console.print(
                f"{metrics.stage} {metrics.epoch} | {words}", style="yellow", highlight=False, soft_wrap=True
            )
        self._alarms = frozenset(alarms)


def _line(metrics: Metrics) -> str:
    return json.dumps(asdict(metrics)) + "\n"


def _words(values: Mapping[str, float]) -> str:
    """`autoencoder_loss 0.2871, images/s 31 000`."""
    return ", ".join(
        f"{value:,.0f} images/s".replace(",", " ") if name == "images_per_s" else f"{name} {value:.4f}"
        for name, value in values.items()
    )
