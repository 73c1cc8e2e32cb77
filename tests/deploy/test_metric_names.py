"""The metrics that the dashboard and the alerts ask for are metrics that the server has."""

import re
from pathlib import Path

import pytest
from latentry_server.metrics import Metrics, SupervisorMetrics
from prometheus_client import CollectorRegistry

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("file", ["grafana/dashboards/latentry.json", "prometheus/alerts.yml"])
def test_metrics_exist(file: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    SupervisorMetrics(registry)
    # Labelled metrics have no samples yet: the names follow from the families'.
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    known = {family.name + suffix for family in registry.collect() for suffix in suffixes[family.type]}

    used = set(re.findall(r"\b(?:grpc_server|latentry)_\w+", (DEPLOY / file).read_text()))

    assert used
    assert used <= known
