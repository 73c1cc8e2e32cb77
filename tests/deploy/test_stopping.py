"""Who stops the server waits for longer than it may take to end."""

import re
from pathlib import Path

import pytest
from latentry_server.settings import Settings
from latentry_server.workers import supervisor

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "period"),
    [
        ("docker-compose.yml", r"stop_grace_period: (\d+)s"),
        ("deploy/kubernetes/server.yaml", r"terminationGracePeriodSeconds: (\d+)"),
    ],
)
def test_the_grace_period_is_longer_than_the_longest_drain(file: str, period: str) -> None:
    (grace_s,) = re.findall(period, (ROOT / file).read_text())
    settings = Settings()
    assert int(grace_s) > settings.drain_timeout_s + settings.drain_refuse_s + supervisor._END_TIMEOUT_S
