"""Security Hub's findings (the AWS Security Finding Format): CVEs are vulnerabilities, all others alerts."""

from __future__ import annotations

from typing import Any

from tieline.providers.aws.client import AwsClient, Fetch
from tieline.sdk import Alert, Record, Vulnerability

# Parts of the expressions over a finding.
OPEN = "payload.Workflow.Status in ['NEW', 'NOTIFIED']"
CLOSED = "payload.RecordState == 'ARCHIVED' || payload.Workflow.Status == 'RESOLVED'"
SEVERITY = "payload.Severity.Label == 'INFORMATIONAL' ? 'info' : payload.Severity.Label.lowerAscii()"
WEAKNESS = "payload.Vulnerabilities[0]"
PACKAGES = f"{WEAKNESS}.VulnerablePackages"
CVSS = f"{WEAKNESS}.Cvss"
CVSS_3 = f"{CVSS}.filter(score, score.Version.startsWith('3'))"

MAPPINGS = (
    Alert.map(
        external_id="payload.Id",
        title="payload.Title",
        description="payload.Description",
        severity=SEVERITY,
        status=f"{CLOSED} ? 'resolved' : {OPEN} ? 'open' : 'dismissed'",
        category="size(payload.Types) > 0 ? payload.Types[0] : null",
        resource="payload.Resources[0].Id",
        recommendation="payload.Remediation.Recommendation.Text",
        url="payload.Remediation.Recommendation.Url",
        first_seen_at="payload.FirstObservedAt",
        last_seen_at="payload.LastObservedAt",
        drop=("ProcessedAt",),
        variant="alert",
    ),
    Vulnerability.map(
        external_id="payload.Id",
        title="payload.Title",
        description="payload.Description",
        severity=SEVERITY,
        status=f"{CLOSED} ? 'fixed' : {OPEN} ? 'open' : 'dismissed'",
        cve=f"{WEAKNESS}.Id",
        score=f"size({CVSS_3}) > 0 ? {CVSS_3}[0].BaseScore : size({CVSS}) > 0 ? {CVSS}[0].BaseScore : null",
        package=f"size({PACKAGES}) > 0 ? {PACKAGES}[0].Name : null",
        fixed_version=f"size({PACKAGES}) > 0 ? {PACKAGES}[0].FixedInVersion : null",
        fix_available=f"{WEAKNESS}.FixAvailable == 'YES'",
        affects="payload.Resources[0].Id",
        url=f"size({WEAKNESS}.ReferenceUrls) > 0 ? {WEAKNESS}.ReferenceUrls[0] : null",
        found_at="payload.FirstObservedAt",
        drop=("ProcessedAt",),
        variant="vulnerability",
    ),
)


def open_findings(client: AwsClient, *, size: int) -> Fetch:
    """The findings that are not archived, page by page."""
    filters = {"RecordState": [{"Value": "ACTIVE", "Comparison": "EQUALS"}]}
    asked = {"Filters": filters, "MaxResults": size}
    return client.pages("securityhub:GetFindings", "Findings", by="NextToken", params=asked)


def finding_record(finding: dict[str, Any]) -> Record:
    """A finding with its variant."""
    is_cve = any(type.endswith("/Vulnerabilities/CVE") for type in finding.get("Types", ()))
    return Record(finding, "vulnerability" if is_cve else "alert")
