"""What the suite says of a provider holds within the platform: the same entities, and a second run that writes nothing.

The suite belongs to the SDK, which knows nothing of stages and tables; so its other half is here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.test_providers import FOLDERS, subject_in
from tests.stages.steps import make_step

from tieline.catalog import compile_operation, load_catalog
from tieline.catalog.grade import digest_of, grade_of
from tieline.ids import to_uuid
from tieline.sdk.testing import Subject
from tieline.sdk.testing.reading import row_of
from tieline.stages.transform import Transformed, transform
from tieline.store.db import Db
from tieline.store.organizations import Organization


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
async def test_a_second_run_writes_nothing(db: Db, organization: Organization, folder: Path) -> None:
    step = await make_step(db, organization)
    subject = subject_in(folder)
    connection = to_uuid(step.connection.id, "conn")
    written = 0
    for operation in subject.provider.operations:
        reading = await subject.whole("case", operation)
        again = await subject.connected["case"].read(operation)
        first, second = (_transformed(subject, operation.id, one.yielded, connection) for one in (reading, again))
        rows = sorted(
            (row_of(one.entity) for one in first.candidates.values()), key=lambda row: (row["kind"], row["external_id"])
        )
        assert rows == reading.rows
        assert first.refusals == []
        compared, _ = await step.store(first)
        assert len(compared.to_write) == len(first.candidates)
        compared, _ = await step.later(hours=1).store(second)
        assert compared.to_write == []
        written += len(first.candidates)
    assert written


def _transformed(subject: Subject, operation_id: str, records: list[object], connection: object) -> Transformed:
    catalog, provider = load_catalog(), subject.provider
    compiled = compile_operation(catalog, provider.slug, catalog.operation(provider.slug, operation_id))
    case = subject.fixtures.cases["case"]
    options = provider.options(**{name: value for name, value in case.options.items() if value != "{replay}"})
    return transform(records, compiled, connection=connection, options=options.model_dump(mode="json"))  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_provider_that_ships_is_graded(folder: Path) -> None:
    """Its proof belongs to its files as they stand: `tieline provider check <slug> --prove` renews it."""
    provider = subject_in(folder).provider
    grade = grade_of(provider, [one for one in load_catalog().checks if one.provider is None], folder)
    assert grade.name is not None, f"tieline provider check {provider.slug} --prove; now {digest_of(folder)}"
