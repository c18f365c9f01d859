"""Paginators read every page once, can be gone on with from any cursor, and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.errors import Forbidden, RateLimited, Unauthorised, Unexpected
from tieline.sdk.answers import dig
from tieline.sdk.graphql import GraphQL
from tieline.sdk.pages import walk
from tieline.sdk.paginators import (
    AwsToken,
    Cursor,
    LinkHeader,
    NextLink,
    Offset,
    PageNumber,
    PageToken,
    Paginator,
    SinglePage,
)

ITEMS = [{"id": n} for n in range(1, 8)]
QUERY = "query($size: Int, $after: String) { organization { members(first: $size, after: $after) { nodes { id } } } }"


def cut(start: int, size: int) -> tuple[list[Any], int | None]:
    """The items from an offset, and the offset of what follows."""
    return ITEMS[start : start + size], start + size if start + size < len(ITEMS) else None


def asked(request: Any, name: str, default: str = "0") -> int:
    return int(parse_qs(request.query).get(name, [default])[0])


def served(reply: Callable[[Any], bytes]) -> Any:
    """A server of the list: `reply` makes the answer to each request."""

    async def serve(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(request))

    return serve


async def read(http: Any, paginator: Paginator, **how: Any) -> list[Any]:
    return [page async for page in walk(http, "/list", paginator=paginator, **how)]


def by_link(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "o"), asked(request, "per_page"))
    host = request.headers["host"]
    last = '<http://other.example/a,b>; rel="last"'
    if following is None:
        return bench.answer(items, link=last)
    return bench.answer(
        items, link=f'{last}, <http://{host}/list?per_page=3&o={following}>; rel="x next"; title="a, b"'
    )


def by_relative_link(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "o"), 3)
    flag = "false" if following is None else "true"
    return bench.answer(items, link=f'<?o={following or 99}>; rel=next; results="{flag}"; cursor="0:100:0"')


def by_cursor(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "after"), 3)
    return bench.answer({"data": items, "paging": {"next": following and str(following)}})


def by_last_item(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "starting_after"), 3)
    return bench.answer({"data": items, "has_more": following is not None})


def by_token(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "pageToken"), asked(request, "maxResults"))
    return bench.answer({"data": items} | ({"nextPageToken": str(following)} if following else {}))


def by_number(bench: Any, request: Any) -> bytes:
    items, _ = cut((asked(request, "page") - 1) * 3, asked(request, "per_page"))
    return bench.answer({"data": items})


def by_capped_number(bench: Any, request: Any) -> bytes:
    items, following = cut((asked(request, "page") - 1) * 2, 2)
    return bench.answer({"data": items, "info": {"pages": 4, "more": following is not None}})


def by_offset(bench: Any, request: Any) -> bytes:
    items, _ = cut(asked(request, "offset"), asked(request, "limit"))
    return bench.answer({"data": items})


def by_capped_offset(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "offset"), 2)
    return bench.answer({"data": items, "total": len(ITEMS), "more": following is not None})


def by_next_link(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "$skip"), 3)
    link = {"@odata.nextLink": f"http://{request.headers['host']}/list?$skip={following}"} if following else {}
    return bench.answer({"data": items} | link)


def by_aws_token(bench: Any, request: Any) -> bytes:
    items, following = cut(asked(request, "Marker"), 3)
    more = {"IsTruncated": following is not None, "Marker": str(following or "stale")}
    return bench.answer({"data": items, "Out": more})


def by_graphql(bench: Any, request: Any) -> bytes:
    variables = request.json["variables"]
    items, following = cut(int(variables["after"] or 0), variables["size"])
    info = {"hasNextPage": following is not None, "endCursor": str(following or 9)}
    return bench.answer({"data": {"organization": {"members": {"nodes": items, "pageInfo": info}}}})


GRAPHQL = GraphQL(QUERY, "organization.members", {"login": "acme"}, size_variable="size", size=3)
WAYS = [
    (LinkHeader(size=3), by_link, None),
    (LinkHeader(size_param=None), by_relative_link, None),
    (Cursor("after", at="paging.next"), by_cursor, "data"),
    (Cursor("starting_after", last="id", more="has_more"), by_last_item, "data"),
    (PageToken(size_param="maxResults", size=3), by_token, "data"),
    (PageNumber(size=3), by_number, "data"),
    (PageNumber(size=100, pages="info.pages"), by_capped_number, "data"),
    (PageNumber(size=100, more="info.more"), by_capped_number, "data"),
    (Offset(limit=3), by_offset, "data"),
    (Offset(limit=100, total="total"), by_capped_offset, "data"),
    (Offset(limit=100, more="more"), by_capped_offset, "data"),
    (NextLink(), by_next_link, "data"),
    (AwsToken("Marker", at="Out.Marker", more="Out.IsTruncated"), by_aws_token, "data"),
    (GRAPHQL, by_graphql, None),
]
IDS = [f"{type(way[0]).__name__}-{way[1].__name__}-{n}" for n, way in enumerate(WAYS)]


@pytest.mark.parametrize(("paginator", "reply", "items"), WAYS, ids=IDS)
async def test_every_item_is_read_once_and_in_order(
    bench: Any, acme: Any, paginator: Any, reply: Any, items: Any
) -> None:
    acme.will(served(lambda request: reply(bench, request)))
    pages = await read(bench.client(acme.url), paginator, items=items)
    assert [item for page in pages for item in page.items] == ITEMS
    assert [page.next is None for page in pages] == [False] * (len(pages) - 1) + [True]
    assert len(acme.received) == len(pages) > 2


@pytest.mark.parametrize(("paginator", "reply", "items"), WAYS, ids=IDS)
async def test_a_reading_goes_on_from_any_stored_cursor(
    bench: Any, acme: Any, paginator: Any, reply: Any, items: Any
) -> None:
    acme.will(served(lambda request: reply(bench, request)))
    http = bench.client(acme.url)
    pages = await read(http, paginator, items=items)
    for n, page in enumerate(pages[:-1]):
        stored = orjson.loads(orjson.dumps(page.next))
        assert await read(http, paginator, items=items, start=stored) == pages[n + 1 :]


@pytest.mark.parametrize(("paginator", "reply", "items"), WAYS, ids=IDS)
async def test_items_that_are_left_unread_are_the_same_and_lead_the_same_way(
    bench: Any, acme: Any, paginator: Any, reply: Any, items: Any
) -> None:
    acme.will(served(lambda request: reply(bench, request)))
    http = bench.client(acme.url)
    pages = await read(http, paginator, items=items)
    unread = await read(http, paginator, items=items, unread=True)
    assert [(len(page.items), page.next) for page in unread] == [(len(page.items), page.next) for page in pages]
    found = [item for page in unread for item in page.items]
    if paginator is not GRAPHQL:  # which looks for errors
        found = [orjson.loads(item) for item in found if isinstance(item, bytes)]
    assert found == ITEMS


async def test_the_callers_parameters_go_with_every_page_but_not_with_a_link(bench: Any, acme: Any) -> None:
    acme.will(served(lambda request: by_cursor(bench, request)))
    await read(bench.client(acme.url), Cursor("after", at="paging.next"), items="data", params={"active": True})
    assert [parse_qs(r.query).get("active") for r in acme.received] == [["true"]] * 3
    acme.received.clear()
    acme.will(served(lambda request: by_next_link(bench, request)))
    await read(bench.client(acme.url), NextLink(), items="data", params={"$top": 3})
    assert [r.query for r in acme.received] == ["%24top=3", "$skip=3", "$skip=6"]


async def test_a_listing_by_post_carries_the_cursor_in_its_body_and_is_tried_again(bench: Any, acme: Any) -> None:
    acme.will(
        bench.answer({}, 502),
        bench.answer({"results": [1], "next_cursor": "c1"}),
        bench.answer({"results": [2], "next_cursor": None}),
    )
    how = Cursor("start_cursor", at="next_cursor", size_param="page_size", size=50)
    pages = await read(bench.client(acme.url), how, items="results", json={"filter": "x"})
    assert [page.items for page in pages] == [[1], [2]]
    assert [received.method for received in acme.received] == ["POST"] * 3
    assert acme.received[1].json == {"filter": "x", "page_size": 50}
    assert acme.received[2].json == {"filter": "x", "page_size": 50, "start_cursor": "c1"}


# --- endless and broken lists


@pytest.mark.parametrize(
    ("paginator", "body", "headers"),
    [
        (Cursor("after", at="next"), {"data": [1], "next": "same"}, {}),
        (PageToken(), {"data": [1], "nextPageToken": "same"}, {}),
        (NextLink(at="next"), {"data": [1], "next": "/list?p=2"}, {}),
        (LinkHeader(), {"data": [1]}, {"link": '</list?p=2>; rel="next"'}),
        (Offset(more="more"), {"data": [], "more": True}, {}),
        (AwsToken(), {"data": [1], "NextToken": {"an": ["object"]}}, {}),
    ],
)
async def test_a_repeated_cursor_ends_the_run(bench: Any, acme: Any, paginator: Any, body: Any, headers: Any) -> None:
    acme.will(bench.answer(body, **headers))
    with pytest.raises(Unexpected, match=r"^Acme repeated its cursor for GET /list"):
        await read(bench.client(acme.url), paginator, items="data")
    assert len(acme.received) <= 2


async def test_a_cycle_of_cursors_is_noticed(bench: Any, acme: Any) -> None:
    letters = "abcdefgh"

    def reply(request: Any) -> bytes:
        here = parse_qs(request.query).get("after", ["h"])[0]
        return bench.answer({"data": [1], "after": letters[(letters.index(here) + 1) % len(letters)]})

    acme.will(served(reply))
    with pytest.raises(Unexpected, match="repeated its cursor"):
        await read(bench.client(acme.url), Cursor("after"), items="data")
    assert len(acme.received) == 9


async def test_a_run_that_went_on_from_a_cursor_notices_it_again(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"data": [1], "after": "x"}))
    with pytest.raises(Unexpected, match="repeated its cursor"):
        await read(bench.client(acme.url), Cursor("after"), items="data", start="x")
    assert len(acme.received) == 1


@pytest.mark.parametrize(
    "link", ["https://evil.example/list", "//evil.example/list", "http://127.0.0.1:1/list", "http://[::1"]
)
@pytest.mark.parametrize("way", ["header", "body"])
async def test_a_next_link_to_another_host_is_refused_before_the_page_is_taken(
    bench: Any, acme: Any, link: str, way: str
) -> None:
    acme.will(bench.answer({"data": [1], "next": link}, link=f'<{link}>; rel="next"'))
    paginator = LinkHeader() if way == "header" else NextLink(at="next")
    with pytest.raises(Unexpected, match=r"^Acme's next link"):
        await read(bench.client(acme.url), paginator, items="data")
    assert len(acme.received) == 1


async def test_a_stored_link_to_another_host_is_refused(bench: Any, acme: Any) -> None:
    with pytest.raises(Unexpected, match="leaves its host"):
        await read(bench.client(acme.url), NextLink(), items="data", start="https://evil.example/list")


async def test_a_secret_that_a_next_link_echoes_does_not_get_into_the_cursor(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"data": [1], "next": "/list?access_token=canary-1&p=2"}), bench.answer({"data": []}))
    pages = await read(bench.client(acme.url, secrets=["canary-1"]), NextLink(at="next"), items="data")
    assert pages[0].next == acme.url + "/list?p=2"


@pytest.mark.parametrize("body", [{"data": {"a": 1}}, {"data": "x"}, {"data": None}, {}, {"error": "no"}, [], None, 7])
async def test_items_that_are_no_list_are_an_error_not_an_empty_page(bench: Any, acme: Any, body: Any) -> None:
    acme.will(bench.answer(body))
    with pytest.raises(Unexpected, match=r"^Acme answered no list at 'data'") as caught:
        await read(bench.client(acme.url), SinglePage(), items="data")
    assert caught.value.details["exchange"]["status"] == 200


async def test_a_whole_body_that_is_no_list_is_an_error(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"error": "no"}))
    with pytest.raises(Unexpected, match="something else than a list"):
        await read(bench.client(acme.url), SinglePage())


@pytest.mark.parametrize(("body", "items"), [({}, []), ({"data": None}, []), ({"data": [1]}, [1])])
async def test_a_list_may_be_absent_where_the_provider_leaves_out_empty_ones(
    bench: Any, acme: Any, body: Any, items: Any
) -> None:
    acme.will(bench.answer(body))
    assert [page.items for page in await read(bench.client(acme.url), SinglePage(), items="data?")] == [items]


@pytest.mark.parametrize(
    ("paginator", "body"),
    [
        (Cursor("after", more="more"), {"data": [1], "more": True}),
        (Cursor("after", last="id", more="more"), {"data": [], "more": True}),
        (PageNumber(pages="pages"), {"data": [1], "pages": "many"}),
        (Offset(total="total"), {"data": [1]}),
        (NextLink(at="next"), {"data": [1], "next": 7}),
    ],
)
async def test_a_list_whose_continuation_is_unclear_is_not_taken_for_complete(
    bench: Any, acme: Any, paginator: Any, body: Any
) -> None:
    acme.will(bench.answer(body))
    with pytest.raises(Unexpected, match=r"^Acme "):
        await read(bench.client(acme.url), paginator, items="data")


async def test_a_missing_list_is_what_the_caller_says(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 404))
    http = bench.client(acme.url)
    assert [page.items for page in await read(http, PageNumber(), missing=())] == [[]]
    with pytest.raises(LookupError):
        await read(http, PageNumber(), missing=LookupError())
    with pytest.raises(Unexpected):
        await read(http, PageNumber())


async def test_a_list_that_vanishes_halfway_is_not_complete(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"data": [1], "after": "x"}), bench.answer({}, 404))
    with pytest.raises(Unexpected, match="has nothing at"):
        await read(bench.client(acme.url), Cursor("after"), items="data", missing=())


# --- GraphQL


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "RATE_LIMITED"}, RateLimited),
        ({"extensions": {"code": "RATELIMITED", "type": "ratelimited"}}, RateLimited),
        ({"extensions": {"code": "THROTTLED"}}, RateLimited),
        ({"type": "FORBIDDEN"}, Forbidden),
        ({"type": "INSUFFICIENT_SCOPES"}, Forbidden),
        ({"extensions": {"code": "AUTHENTICATION_ERROR", "type": "authentication error"}}, Unauthorised),
        ({"extensions": {"code": "UNAUTHENTICATED"}}, Unauthorised),
        ({"type": "NOT_FOUND"}, Unexpected),
        ({"message": "rate limit exceeded, or so a person wrote"}, Unexpected),
        ("text", Unexpected),
    ],
)
async def test_a_graphql_error_is_raised_even_beside_data(bench: Any, acme: Any, error: Any, kind: Any) -> None:
    data = {"organization": {"members": {"nodes": [1], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}
    acme.will(bench.answer({"data": data, "errors": [error]}, retry_after="90"))
    with pytest.raises(kind) as caught:
        await read(bench.client(acme.url), GRAPHQL)
    assert type(caught.value) is kind
    if kind is RateLimited:
        assert (caught.value.until - bench.now).total_seconds() == 90


@pytest.mark.parametrize("info", [None, {}, {"hasNextPage": "yes"}, {"hasNextPage": True, "endCursor": None}])
async def test_a_graphql_page_without_page_info_is_not_the_last(bench: Any, acme: Any, info: Any) -> None:
    acme.will(bench.answer({"data": {"organization": {"members": {"nodes": [1], "pageInfo": info}}}}))
    with pytest.raises(Unexpected):
        await read(bench.client(acme.url), GRAPHQL)


# --- the dotted names


def test_a_dotted_name_finds_keys_within_and_keys_with_dots() -> None:
    assert dig({"a": {"b": 1}}, "a.b") == 1
    assert dig({"@odata.nextLink": "x"}, "@odata.nextLink") == "x"
    assert dig({"a": {"b.c": 2}}, "a.b.c") == 2
    assert dig({"a": [1]}, "a.b") is None
    assert dig(None, "a") is None


@given(st.text(max_size=80))
def test_any_link_header_gives_a_link_or_none(text: str) -> None:
    from datetime import UTC, datetime

    from tieline.sdk.answers import Answer, Asked

    answer = Answer(Asked("Acme", "GET", "/"), 200, {"link": text}, b"", datetime(2026, 1, 1, tzinfo=UTC))
    found = LinkHeader().next(None, answer, [])
    assert found is None or f"<{found}>" in text


def test_a_hostile_link_header_is_read_in_linear_time() -> None:
    from datetime import UTC, datetime

    from tieline.sdk.answers import Answer, Asked

    for text in (
        "<" * 100_000,
        "<a>" + "; " * 50_000,
        "<a>;" + " " * 100_000,
        "<a>" + ";a=" * 30_000,
        '<a>;a="' * 15_000,
    ):
        answer = Answer(Asked("Acme", "GET", "/"), 200, {"link": text}, b"", datetime(2026, 1, 1, tzinfo=UTC))
        assert LinkHeader().next(None, answer, []) is None
