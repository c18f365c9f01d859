"""The documentation page: the OpenAPI document as one page of plain HTML, which needs nothing from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border-bottom: 1px solid var(--line); }
summary { padding: .5rem 0; cursor: pointer; }
summary code { font-weight: 600; }
.method { display: inline-block; width: 4.5rem; font-weight: 600; }
.quiet { color: var(--quiet); }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
pre { overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .4rem; font-size: .85rem; }
"""


def render_docs(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    about = "".join(f"<p>{escape(part)}</p>" for part in info["description"].split("\n\n"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(info["title"])} API <span class="quiet">{escape(info["version"])}</span></h1>{about}'
        f'<p>As OpenAPI: <a href="openapi.json">openapi.json</a></p>{"".join(_sections(document))}</body></html>'
    )


def _sections(document: dict[str, Any]) -> Iterator[str]:
    """A section for each noun, in the order of the document."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_route(document, method, path, operation))
    for tag, routes in by_tag.items():
        yield f'<h2 id="{escape(tag)}">{escape(tag.capitalize().replace("-", " "))}</h2>{"".join(routes)}'


def _route(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    about = escape(operation.get("description", ""))
    title, _, more = about.partition("\n\n")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method.upper()}</span>'
        f'<code>{escape(path)}</code><br><span class="quiet">{title}</span></summary>'
        f"<p>{more}</p>{_parameters(operation)}{_body(operation)}{_responses(document, operation)}</details>"
    )


def _parameters(operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td class=quiet>{escape(one['in'])}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    return f"<h3>Parameters</h3><table>{rows}</table>" if rows else ""


def _body(operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return f"<h3>Body</h3>{_code(schema)}" if schema.get("properties") else ""


def _responses(document: dict[str, Any], operation: dict[str, Any]) -> str:
    rows, shown = [], ""
    for status, response in sorted(operation["responses"].items()):
        rows.append(f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td></tr>")
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        shown = shown or _code(_example(document, schema))
    return f"<h3>Answers</h3>{shown}<table>{''.join(rows)}</table>"


def _example(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """What an answer looks like, put together from the examples of its fields."""
    if "$ref" in schema:
        return _example(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if schema.get("examples"):
        return schema["examples"][0]
    if "anyOf" in schema:
        return _example(document, schema["anyOf"][0])
    if schema.get("type") == "array":
        return [_example(document, schema["items"])]
    if "properties" in schema:
        return {name: _example(document, one) for name, one in schema["properties"].items()}
    return schema.get("const", schema.get("enum", [None])[0])


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
