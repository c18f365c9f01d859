"""dlt tuned: pages as Arrow tables of typed columns, loaded as Parquet through ADBC, replaced by key with delete and insert."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator
from peers.dlt_merge import mapped
from rig.child import compete

_COLUMNS = (
    "external_id",
    "title",
    "severity",
    "status",
    "cve",
    "package",
    "fixed_version",
    "affects",
    "found_at",
    "raw",
)
_SCHEMA = pa.schema([*((name, pa.string()) for name in _COLUMNS), ("score", pa.float64())])


def main() -> None:
    """Sync whenever asked to, always by the same pipeline."""
    url, pages = sys.argv[1:]
    credentials = url.replace("tieline@/", "tieline:none@localhost/")
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.postgres(credentials), dataset_name="bench", pipelines_dir="pipelines"
    )

    async def run(_: str) -> dict[str, Any]:
        began = time.perf_counter()
        pipeline.run(resource(pages), loader_file_format="parquet").raise_on_failed_jobs()
        return {"seconds": time.perf_counter() - began}

    asyncio.run(compete(run))


def resource(pages: str) -> Any:
    """The list of findings, a table a page."""

    @dlt.resource(name="findings", primary_key="external_id", write_disposition="merge")
    def findings() -> Iterator[Any]:
        paginator = JSONResponseCursorPaginator(cursor_path="next", cursor_param="cursor")
        for page in RESTClient(pages, paginator=paginator, data_selector="items").paginate("findings"):
            yield pa.Table.from_pylist([mapped(one) for one in page], schema=_SCHEMA)

    return findings


if __name__ == "__main__":
    main()
