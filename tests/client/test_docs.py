"""The Python examples of the guide and the README, run as they are printed but for the address."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import COMMANDS
from tests.server import bundles

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "client.md", ROOT / "docs" / "serving.md", ROOT / "client" / "README.md", ROOT / "README.md")
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_example(block: str, server_address: str, tmp_path: Path) -> None:
    images = bundles.images(100)
    np.save(tmp_path / "images.npy", images)
    Image.fromarray((images[0, 0] * 255).astype(np.uint8)).save(tmp_path / "boot.png")
    code = block.replace("localhost:50051", server_address).replace("127.0.0.1:50051", server_address)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_examples_are_found() -> None:
    assert len(BLOCKS) == sum(page.read_text("utf-8").count("```python") for page in PAGES) >= 12


def test_every_command_is_in_the_guide() -> None:
    helped = subprocess.run([COMMANDS / "latentry", "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^│ ([a-z][a-z-]+) ", helped, re.MULTILINE)
    assert len(commands) == 12
    guide = PAGES[0].read_text("utf-8")
    assert [command for command in commands if f"\n    latentry {command}" not in guide] == []
