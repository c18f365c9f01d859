"""A connection with a run, in an organization of its own."""

from __future__ import annotations

import pytest
from tests.stages.steps import Step, make_step

from tieline.store.db import Db
from tieline.store.organizations import Organization


@pytest.fixture
async def step(db: Db, organization: Organization) -> Step:
    return await make_step(db, organization)
