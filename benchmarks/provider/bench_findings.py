"""The benchmark's provider: one list of findings, declared as any provider is and found by its entry point."""

from pydantic import Field

from tieline.sdk import ApiKey, Cursor, Identity, Options, Provider, Vulnerability


class ScannerOptions(Options):
    """Where the page server is."""

    base_url: str = Field(title="Address", pattern=r"^https?://[^/\s]+$")


scanner: Provider[ScannerOptions] = Provider(
    slug="bench-findings",
    name="Benchmark findings",
    category="security",
    base_url="{base_url}",
    options=ScannerOptions,
    auth=ApiKey(header="X-Api-Key"),
    identity=Identity("/me", id="id", name="name"),
)

findings = scanner.listing(
    "findings",
    "/findings",
    items="items",
    pages=Cursor("cursor", at="next"),
    every="1d",
    into=Vulnerability.map(
        filter="payload.kind == 'vulnerability'",
        external_id="payload.id",
        title="payload.title",
        severity="payload.severity",
        status="payload.state == 'ignored' ? 'dismissed' : payload.state",
        cve="payload.cve.id",
        score="payload.cve.cvss.score",
        package="payload.package.name",
        fixed_version="payload.package.fixed_in",
        affects="payload.asset.name",
        found_at="payload.first_seen",
    ),
)
