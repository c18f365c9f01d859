"""What Tieline knows of providers, checks and frameworks: found, validated and frozen at start."""

from tieline.catalog.compile import Catalog, CompiledOperation, compile_catalog, compile_operation
from tieline.catalog.find import load_catalog
from tieline.catalog.frameworks import Control, Framework, find_control, load_frameworks

__all__ = [
    "Catalog", "CompiledOperation", "Control", "Framework", "compile_catalog", "compile_operation", "find_control",
    "load_catalog", "load_frameworks",
]  # fmt: skip
