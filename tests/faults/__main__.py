"""`python -m tests.faults`: all faults of the world, those that take long too; what else is given goes to pytest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main([str(Path(__file__).parent), "-m", "slow or not slow", "-v", *sys.argv[1:]]))
