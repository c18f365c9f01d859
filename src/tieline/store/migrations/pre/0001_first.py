"""All tables, roles and row-level security of the first release."""

from functools import partial
from pathlib import Path
from typing import Any

from alembic import op

revision = "0001"
down_revision = None
branch_labels = ("pre",)

SCRIPTS = (
    "0001_roles.sql",
    "0001_tables.sql",
    "0001_queue.sql",
    "0001_security.sql",
    "0001_tallies.sql",
    "0001_counts.sql",
    "0001_run_tallies.sql",
    "0001_backup.sql",
)


def upgrade() -> None:
    """Run the scripts in one transaction."""
    connection: Any = op.get_bind().connection.dbapi_connection
    for name in SCRIPTS:
        script = (Path(__file__).parent / name).read_text(encoding="utf-8")
        connection.run_async(partial(_execute, script))


async def _execute(script: str, driver: Any) -> None:
    await driver.execute(script)
