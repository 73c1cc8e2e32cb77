from pathlib import Path

import pytest
from latentry_trainer.cli import main

from tests.trainer.command import Command, Result


@pytest.fixture(scope="session")
def slice_path() -> Path:
    """3 000 real images of Fashion-MNIST."""
    return Path(__file__).parents[1] / "data" / "fashion-mnist-slice.npz"


@pytest.fixture
def latentry_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, in an empty folder, `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr("sys.argv", ["latentry-train", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, captured.out, captured.err)

    return run
