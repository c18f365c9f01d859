"""What is given to operators for other programs, shown to those programs where they are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool, which comes with Prometheus (Debian: prometheus), is not installed"
)


def read(file: str) -> Any:
    return yaml.safe_load((DEPLOY / "prometheus" / file).read_text())


def test_each_alert_is_tried_where_it_must_be_said_and_where_it_must_not() -> None:
    alerts = {rule["alert"] for group in read("alerts.yml")["groups"] for rule in group["rules"]}
    tried = [one for group in read("alerts.test.yml")["tests"] for one in group.get("alert_rule_test", [])]

    assert len(alerts) > 10
    assert {one["alertname"] for one in tried if one["exp_alerts"]} == alerts
    assert {one["alertname"] for one in tried if not one["exp_alerts"]} == alerts


@with_promtool
def test_prometheus_can_read_each_query_of_the_dashboard(tmp_path: Path) -> None:
    board = json.loads((DEPLOY / "grafana/tieline.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    filled = [one.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$provider", ".*") for one in asked]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert len(rules) > 20
    assert not any("$" in query for query in filled)
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "queries.yml"))


@with_promtool
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"), ("test", "rules", "alerts.test.yml")]
)
def test_prometheus_says_the_alerts_as_they_are_meant(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)


def promtool(*arguments: str) -> None:
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
