"""dlt as its guide shows it: a declared REST source, mapped record by record, with the merge disposition."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source
from rig.child import compete


def main() -> None:
    """Sync whenever asked to, always by the same pipeline."""
    url, pages = sys.argv[1:]
    credentials = url.replace("tieline@/", "tieline:none@localhost/")
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.postgres(credentials), dataset_name="bench", pipelines_dir="pipelines"
    )

    async def run(_: str) -> dict[str, Any]:
        began = time.perf_counter()
        pipeline.run(source(pages)).raise_on_failed_jobs()
        return {"seconds": time.perf_counter() - began}

    asyncio.run(compete(run))


def source(pages: str) -> Any:
    """The list of findings, with their ten columns and the record itself."""
    return rest_api_source(
        {
            "client": {
                "base_url": pages,
                "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"},
            },
            "resources": [
                {
                    "name": "findings",
                    "primary_key": "external_id",
                    "write_disposition": "merge",
                    "columns": {"raw": {"data_type": "json"}},
                    "endpoint": {"path": "findings", "data_selector": "items"},
                    "processing_steps": [{"map": mapped}],
                }
            ],
        }
    )


def mapped(record: dict[str, Any]) -> dict[str, Any]:
    """A row of ten mapped columns and the record itself."""
    return {
        "external_id": record["id"],
        "title": record["title"],
        "severity": record["severity"],
        "status": "dismissed" if record["state"] == "ignored" else record["state"],
        "cve": record["cve"]["id"],
        "score": record["cve"]["cvss"]["score"],
        "package": record["package"]["name"],
        "fixed_version": record["package"]["fixed_in"],
        "affects": record["asset"]["name"],
        "found_at": record["first_seen"],
        "raw": json.dumps(record),
    }


if __name__ == "__main__":
    main()
