"""The dashboard: five pages that show the marts. bin/dashboard serves it."""

from __future__ import annotations

import functools
from pathlib import Path

import streamlit as st

from dashboard import courses, health, market, shop, tickets
from dashboard.queries import open_marts
from granary.project import GranaryError

ICON = Path(__file__).with_name("icon.svg")  # a named icon would be fetched from the network
PAGES = {
    "tickets": ("Tickets", ":material/confirmation_number:", tickets.show),
    "market": ("Market", ":material/show_chart:", market.show),
    "courses": ("Courses", ":material/school:", courses.show),
    "shop": ("Shop", ":material/storefront:", shop.show),
    "health": ("Data health", ":material/health_and_safety:", health.show),
}


def main() -> None:
    """Show the page that is chosen, or what keeps it from being shown."""
    st.set_page_config("Granary", page_icon=ICON, layout="wide")
    page = st.navigation(
        [
            st.Page(functools.partial(show, name), title=title, icon=icon, url_path=name, default=name == "tickets")
            for name, (title, icon, _) in PAGES.items()
        ]
    )
    page.run()


def show(name: str) -> None:
    """Show one page; what the user can put right is said in words."""
    title, _, show_rows = PAGES[name]
    st.title(title)
    try:
        with open_marts() as marts:
            show_rows(marts)
    except GranaryError as error:
        st.error("The warehouse can't be shown:", icon=":material/error:")
        st.code(str(error), language=None, wrap_lines=True)  # as it stands, and its commands can be copied


if __name__ == "__main__":
    main()
