"""The dashboard: a page for each feed whose marts ask for it, and one for the health of all data."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import streamlit as st

from dashboard import health, page
from dashboard.columns import in_words
from dashboard.marts import open_marts
from granary import declared
from granary.declared import CORE, Mart
from granary.project import GranaryError

ICON = Path(__file__).with_name("icon.svg")  # a named icon would be fetched from the network


def main() -> None:
    """Show the page that is chosen."""
    st.set_page_config("Granary", page_icon=ICON, layout="wide")
    try:
        feeds = list(pages(declared.marts()))
    except GranaryError:  # the page itself says which file is wrong
        feeds = [CORE]
    st.navigation([link(feed) for feed in feeds]).run()


def link(feed: str) -> st.Page:
    """Return the entry of a page in the list of pages."""
    icon, path = (":material/health_and_safety:", "data-health") if feed == CORE else (":material/table_chart:", feed)
    return st.Page(functools.partial(show, feed), title=title(feed), icon=icon, url_path=path)


def title(feed: str) -> str:
    """Return the title of a feed's page."""
    return "Data health" if feed == CORE else in_words(feed)


def show(feed: str) -> None:
    """Show the page of a feed, or what keeps it from being shown."""
    st.title(title(feed))
    try:
        marts = declared.marts()
        shown = pages(marts)[feed]
        with open_marts() as built:
            if feed == CORE:
                health.show(built, shown, marts)
            else:
                for mart in shown:
                    page.show_mart(built, mart, marts)
    except GranaryError as error:
        page.show_problem("The warehouse can't be shown:", error)


def pages(marts: dict[str, Mart]) -> dict[str, list[Mart]]:
    """Return the marts of each page by feed: the feeds by name, then the core; and the marts by their order."""
    shown = sorted((mart for mart in marts.values() if mart.meta.get("dashboard")), key=order)
    feeds = [*sorted({mart.feed for mart in shown} - {CORE}), CORE]
    return {feed: [mart for mart in shown if mart.feed == feed] for feed in feeds}


def order(mart: Mart) -> float:
    """Return the place of a mart on its page; those without one come last."""
    settings = mart.meta["dashboard"]
    place = settings.get("order") if isinstance(settings, dict) else None
    return place if isinstance(place, int) else math.inf


if __name__ == "__main__":
    main()
