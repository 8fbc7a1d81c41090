"""Shows a section of a page: its filters, its chart, its table."""

from __future__ import annotations

import datetime
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, columns
from dashboard.marts import Marts
from dashboard.sections import Filter, Section, as_list
from granary.declared import CORE, Column, Mart
from granary.project import GranaryError
from granary.reports.export import FORMULA

WEEKS = 8
MOST_ROWS = 1000  # of a table
MOST_POINTS = 20_000  # rows of a chart
MOST_CHARTS = 12  # where each value of a column has one


def show_mart(marts: Marts, mart: Mart, declared: Mapping[str, Mart], **fixed: list[str]) -> None:
    """Show the section of a mart, or what keeps it from being shown; `fixed` columns have one of some values."""
    try:
        show_section(marts, Section(mart, declared), fixed)
    except GranaryError as error:
        show_problem(f"{mart.name} can't be shown (meta.dashboard in {mart.path.name}):", error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # an unforeseen shape
        logging.getLogger(__name__).exception("%s can't be shown", mart.name)
        problem = GranaryError(f"not a valid declaration: {error!r}; the dashboard's log has the details")
        show_problem(f"{mart.name} can't be shown (meta.dashboard in {mart.path.name}):", problem)


def show_problem(heading: str, error: GranaryError) -> None:
    """Show what keeps something from being shown, with commands that can be copied."""
    st.error(plain(heading), icon=":material/error:")
    st.code(str(error), language=None, wrap_lines=True)


def show_section(marts: Marts, section: Section, fixed: Mapping[str, Any]) -> None:
    """Show a section."""
    st.subheader(plain(section.title))
    if section.about:
        st.caption(section.about)
    conditions = {**fixed, **choose_rows(marts, section)}
    limit = choose(section, "How many", section.limits) or (MOST_POINTS if section.chart else MOST_ROWS + 1)
    rows = marts.select(*section.rows(conditions, limit))
    if rows.empty and marts.select(*section.rows(fixed, 1)).empty:
        ingest = "bin/ingest" if section.mart.feed == CORE else f"bin/ingest {section.mart.feed}"
        st.info(f"There are no rows yet. Run `{ingest}`, then `bin/dbt build`.")
    elif rows.empty:
        st.info("No rows match these filters.")
    else:
        if section.chart:
            show_charts(rows, section)
        show_table(rows, section.table_columns, section.mart.name)


def show_charts(rows: pd.DataFrame, section: Section) -> None:
    """Show the chart of a section, or one for each value of a column."""
    chart = section.chart
    measure = choose(section, "Chart", as_list(chart.y), lambda name: columns.label(section.column(name)))
    parts = itertools.islice(rows.groupby(chart.each, sort=False), MOST_CHARTS) if chart.each else [("", rows)]
    for id_, part in parts:
        if id_:
            st.markdown(f"#### {plain(part[section.name_of(chart.each)].iat[0])}")
        drawn = charts.drawn(part, section, measure)
        for slot, each in zip(st.columns(len(drawn)), drawn, strict=True):
            slot.altair_chart(each, width="stretch")
    most = chart.most if chart.kind == "ranks" else MOST_POINTS - 1
    if len(rows) > most:
        st.caption(f"The chart shows the first {most:,} rows.")


def show_table(rows: pd.DataFrame, shown: list[Column], name: str) -> None:
    """Show some columns of rows as a table, with a button for the same rows as CSV."""
    configs = {column.name: columns.config(column) for column in shown}
    table = rows.head(MOST_ROWS)[list(configs)]
    st.dataframe(table, hide_index=True, column_config=configs, placeholder="")
    if len(rows) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} rows; `bin/report {name}` writes all of them to a file.")
    st.download_button("Download CSV", as_csv(table), f"{name}.csv", "text/csv", key=f"{name}_csv", on_click="ignore")


def as_csv(rows: pd.DataFrame) -> bytes:
    """Return rows as CSV for spreadsheets, under the marts' names of the columns: no text is a formula."""
    # With this end of lines, text with a carriage return is quoted, too.
    return rows.map(harmless).to_csv(index=False, lineterminator="\r\n").encode()


def harmless(value: Any) -> str:
    """Return a value as `bin/report --format excel` writes it."""
    text = as_text(value)
    return f"'{text}" if isinstance(value, str) and re.match(FORMULA, text) else text


def as_text(value: Any) -> str:
    """Return a value as bin/report writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def plain(text: str) -> str:
    """Return delivered text so that a heading shows it as it is: Streamlit would read it as Markdown."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


# -- Choices -----------------------------------------------------------------------------------------------------------


def choose_rows(marts: Marts, section: Section) -> dict[str, Any]:
    """Let the user filter the rows; return the conditions, by column."""
    are_dates = [section.column(each.column).kind in ("date", "time") for each in section.filters]
    widths = [width for is_date in are_dates for width in ((1, 1) if is_date else (2,))]
    slots = iter(st.columns(widths) if widths else [])
    chosen = {
        each.column: (choose_dates if is_date else choose_values)(marts, section, each, slots)
        for each, is_date in zip(section.filters, are_dates, strict=True)
    }
    return {column: wanted for column, wanted in chosen.items() if wanted is not None}


def choose_dates(marts: Marts, section: Section, choice: Filter, slots: Iterator[Any]) -> tuple[Any, Any] | None:
    """Let the user choose the first and the last day; at first, the last weeks of the data.

    They end with the newest delivery: a single date far ahead must not hide all others.
    """
    newest_delivery = marts.newest_delivery(section.mart.feed)
    first, last, end = marts.select(section.bounds(choice.column), newest_delivery).iloc[0]
    if first is None:
        return None
    start = end - min(end - first, datetime.timedelta(weeks=WEEKS) - datetime.timedelta(days=1))
    key, limits = f"{section.mart.name}_{choice.column}", {"min_value": first, "max_value": last}
    start = next(slots).date_input("From", start, key=f"{key}_from", format=columns.DATE, **limits)
    end = next(slots).date_input("To", end, key=f"{key}_to", format=columns.DATE, **limits)
    if start > end:
        st.warning(f"{start} is after {end}: choose an earlier first day.")
    return start, end


def choose_values(marts: Marts, section: Section, choice: Filter, slots: Iterator[Any]) -> list[str] | None:
    """Let the user choose values by their names."""
    found = marts.select(section.options(choice), MOST_ROWS)
    ids = found.iloc[:, 0].tolist()
    names = dict(zip(ids, charts.distinct_names(ids, found.iloc[:, 1]), strict=True))
    question = columns.label(section.column(choice.column)).removesuffix(" id")
    chosen = next(slots).multiselect(
        question[:1].upper() + question[1:],
        ids,
        default=ids[: choice.default][: choice.at_most or None],
        format_func=lambda id_: names.get(id_, id_),
        max_selections=choice.at_most or None,
        placeholder="Choose" if choice.default else "All",
        key=f"{section.mart.name}_{choice.column}",
    )
    return chosen if chosen or choice.default else None


def choose(section: Section, question: str, options: list[Any], named: Callable[[Any], str] = str) -> Any:
    """Let the user choose one of several options; a single one needs no question. Returns None without options."""
    if len(options) < 2:
        return options[0] if options else None
    key = f"{section.mart.name}_{question}"
    return st.segmented_control(question, options, default=options[0], required=True, format_func=named, key=key)
