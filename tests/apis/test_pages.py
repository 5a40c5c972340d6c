"""Pages of a list, as a query asks for them."""

from __future__ import annotations

import pytest

from sessionbridge.apis.openai_responses.pages import page
from sessionbridge.errors import BadRequest, ItemNotFound

ITEMS = [{"id": f"i{number}"} for number in range(300)]


@pytest.mark.parametrize(("limit", "count"), [(None, 20), ("1", 1), ("100", 100), ("0007", 7)])
def test_a_page_has_as_many_as_are_wanted(limit: str | None, count: int) -> None:
    found = page(ITEMS, {} if limit is None else {"limit": limit})
    assert len(found["data"]) == count and found["has_more"]
    assert (found["first_id"], found["last_id"]) == ("i299", f"i{300 - count}")


@pytest.mark.parametrize(
    "limit", ["0", "101", "00019999", "1" + "0" * 5000, "0" * 5000, "+5", " 5", "1.0", "٣", ""]
)
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(BadRequest) as error:
        page(ITEMS, {"limit": limit})
    assert error.value.param == "limit"


def test_a_page_begins_after_an_item() -> None:
    found = page(ITEMS, {"order": "asc", "after": "i297"})
    assert [item["id"] for item in found["data"]] == ["i298", "i299"]
    assert not found["has_more"]
    with pytest.raises(ItemNotFound) as error:
        page(ITEMS, {"after": "none"})
    assert error.value.param == "after"
