"""What is given to operators for other programs, shown to those programs where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[1] / "deploy/prometheus"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool, which comes with Prometheus (Debian: prometheus), is not installed"
)


def read(file: str) -> Any:
    return yaml.safe_load((PROMETHEUS / file).read_text())


def test_each_alert_is_tried_where_it_must_be_said_and_where_it_must_not() -> None:
    alerts = {rule["alert"] for group in read("alerts.yml")["groups"] for rule in group["rules"]}
    tried = [one for group in read("alerts.test.yml")["tests"] for one in group.get("alert_rule_test", [])]

    assert len(alerts) > 10
    assert {one["alertname"] for one in tried if one["exp_alerts"]} == alerts
    assert {one["alertname"] for one in tried if not one["exp_alerts"]} == alerts


@with_promtool
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_prometheus_says_the_alerts_as_they_are_meant(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
