import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from latentry_trainer.training.checkpoint import load_checkpoint, save_checkpoint
from safetensors.torch import save_file

STATE: dict[str, Any] = {
    "weights": {"a.b": torch.arange(6.0).reshape(2, 3), "scalar": torch.tensor(3)},
    "optimizers": {
        "one": {"state": {0: {"step": torch.tensor(5.0)}, 1: {}}, "param_groups": [{"params": [0, 1], "lr": 0.1}]},
    },
    "position": {"epoch": 2, "wall_time_s": 1.5, "done": False, "note": None},
}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state["weights"]["a.b"], STATE["weights"]["a.b"])
    assert state["weights"]["scalar"].item() == 3
    assert state["optimizers"]["one"]["state"][0]["step"].item() == 5
    assert state["optimizers"]["one"]["state"][1] == {}
    assert state["optimizers"]["one"]["param_groups"] == [{"params": [0, 1], "lr": 0.1}]
    assert state["position"] == STATE["position"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["truncated", "empty", "other", "bit"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    bit = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"truncated": content[:-8], "empty": b"", "other": b"x" * len(content), "bit": bit}[damage])
    with pytest.raises(ValueError, match="is damaged or not a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "other.safetensors")


SAVE_LARGE_WITH_LITTLE_ROOM = """
import resource, sys, torch
from pathlib import Path
from latentry_trainer.training.checkpoint import save_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a full disk: the write stops in the middle
try:
    save_checkpoint(Path(sys.argv[1]), {"weights": torch.zeros(1_000_000)})
except OSError:
    sys.exit(7)
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    result = subprocess.run([sys.executable, "-c", SAVE_LARGE_WITH_LITTLE_ROOM, str(path)], check=False)
    assert result.returncode == 7
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


SAVE_FOR_EVER = """
import sys, torch
from pathlib import Path
from latentry_trainer.training.checkpoint import save_checkpoint
number = 0
while True:
    save_checkpoint(Path(sys.argv[1]), {"weights": torch.full((2_000_000,), float(number)), "number": number})
    print(number, flush=True)
    number += 1
"""


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for _ in range(5):
            process.stdout.readline()
        process.kill()  # most likely while it writes
    state = load_checkpoint(path)
    assert state["number"] >= 4
    assert (state["weights"] == state["number"]).all()
