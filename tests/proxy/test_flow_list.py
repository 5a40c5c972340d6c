"""How long the list of flows gets in mitmweb and mitmproxy: with mitmproxy's own view."""

from __future__ import annotations

from mitmproxy.addons.view import View
from mitmproxy.http import HTTPFlow
from mitmproxy.test import taddons

from sessionbridge.proxy.flow_list import FlowList
from tests.support.addon_fixtures import make_flow


def ended(view: View) -> HTTPFlow:
    flow = make_flow()
    flow.live = False
    view.add([flow])
    return flow


def test_the_newest_bridged_flows_stay() -> None:
    view, flows = View(), FlowList()
    with taddons.context(view):
        passing, *bridged = [ended(view) for _ in range(5)]
        for flow in bridged:
            flows.bridged(flow, view, 2)
        assert list(view) == [passing, *bridged[-2:]]


def test_all_of_them_stay_unless_told_otherwise() -> None:
    view, flows = View(), FlowList()
    with taddons.context(view):
        bridged = [ended(view) for _ in range(5)]
        for flow in bridged:
            flows.bridged(flow, view, None)
        assert list(view) == bridged


def test_one_that_is_under_way_stays_until_it_has_ended() -> None:
    view, flows = View(), FlowList()
    with taddons.context(view):
        first = ended(view)
        first.live = True
        flows.bridged(first, view, 0)
        assert list(view) == [first]
        first.live = False
        flows.bridged(ended(view), view, 0)
        assert list(view) == []


def test_one_that_never_ends_holds_up_no_other() -> None:
    view, flows = View(), FlowList()
    with taddons.context(view):
        first = ended(view)
        first.live = True
        flows.page(first, view)
        for _ in range(3):
            flows.page(ended(view), view)
        assert len(view) == 2 and first in view


def test_the_dashboard_leaves_one_flow_at_most() -> None:
    view, flows = View(), FlowList()
    with taddons.context(view):
        pages = [ended(view) for _ in range(4)]
        for flow in pages:
            flows.page(flow, view)
        assert list(view) == pages[-1:]


def test_without_a_list_nothing_is_held() -> None:
    flows = FlowList()
    flows.bridged(make_flow(), None, 1)
    flows.page(make_flow(), None)
    assert not flows._bridged and not flows._pages
