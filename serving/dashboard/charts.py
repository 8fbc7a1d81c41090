"""The kinds of charts that a mart's YAML can ask for."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from dashboard.columns import label
from dashboard.sections import Section
from granary.declared import Column

HEIGHT = 280  # pixels
FORMS = {"date": ("T", "%Y-%m-%d"), "time": ("T", "%c"), "integer": ("Q", ",d"), "number": ("Q", ",.10~g")}  # by kind
BLUE, ORANGE, PALE = "#1f5a96", "#c2571a", "#b9cde2"
COLOURS = [BLUE, ORANGE, "#3d8b5a", "#c98b2b", "#7a5195", "#5b8fb9", "#a23b52", "#6b7280"]


def drawn(rows: pd.DataFrame, section: Section, measure: str) -> list[alt.Chart | alt.LayerChart]:
    """Return the charts of a section, which stand side by side."""
    rows = for_charts(rows, section)
    if section.chart.kind == "ranks":
        return [ranks(rows.head(section.chart.most), section)]
    return [over_time(rows, section, measure), *([changes(rows, section)] if section.chart.changes else [])]


def over_time(rows: pd.DataFrame, section: Section, measure: str) -> alt.Chart | alt.LayerChart:
    """Return bars or lines over dates: stacked by a colour, or with an average."""
    chart, bars = section.chart, section.chart.kind == "bars"
    colour, average = section.name_of(chart.color), chart.average
    shown = [section.column(name) for name in (chart.x, colour, measure, average) if name]
    names = sorted(rows[colour].dropna().unique()) if colour else []
    height = 300 + 20 * len(names) if colour else HEIGHT
    base = alt.Chart(rows, height=height).encode(x=dates(section.column(chart.x), bars=bars), tooltip=tooltips(shown))
    y = amounts(alt.Y, section.column(measure), zero=bars)
    marks = (base.mark_bar() if bars else base.mark_line(strokeWidth=1)).encode(y=y)
    if colour:
        scale = alt.Scale(domain=names, range=COLOURS)
        legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=250)
        return marks.encode(color=alt.Color(f"{colour}:N", scale=scale, legend=legend))
    if average:
        line = base.mark_line(strokeWidth=2).encode(y=f"{average}:Q")
        first, second = (PALE, BLUE) if bars else (BLUE, ORANGE)
        return layers((section.column(measure), marks, first), (section.column(average), line, second))
    return marks.encode(color=alt.value(BLUE))


def changes(rows: pd.DataFrame, section: Section) -> alt.Chart:
    """Return bars over dates: gains in one colour, losses in another."""
    day, change = section.column(section.chart.x), section.column(section.chart.changes)
    colour = alt.condition(alt.datum[change.name] < 0, alt.value(ORANGE), alt.value(BLUE))
    bars = alt.Chart(rows, height=HEIGHT).mark_bar().encode(x=dates(day, bars=True), y=amounts(alt.Y, change))
    return bars.encode(color=colour, tooltip=tooltips([day, change]))


def ranks(rows: pd.DataFrame, section: Section) -> alt.Chart | alt.LayerChart:
    """Return one horizontal bar per row, with a part of it drawn over it."""
    whole, part, name = section.column(section.chart.x), section.chart.within, section.name_of(section.chart.y)
    shown = [section.column(each) for each in (name, whole.name, part) if each]
    y = alt.Y(f"{name}:N", sort=None, title=None, axis=alt.Axis(labelLimit=180))
    bars = alt.Chart(rows, height=80 + 26 * len(rows)).mark_bar().encode(y=y, tooltip=tooltips(shown))
    wholes = bars.encode(x=amounts(alt.X, whole))
    if not part:
        return wholes.encode(color=alt.value(BLUE))
    return layers((whole, wholes, PALE), (section.column(part), bars.encode(x=f"{part}:Q"), BLUE))


def layers(*marks: tuple[Column, alt.Chart, str]) -> alt.LayerChart:
    """Return charts on top of each other, with a legend of what each of them shows in which colour."""
    scale = alt.Scale(domain=[label(column) for column, _, _ in marks], range=[colour for _, _, colour in marks])
    colour = alt.Color("shown:N", scale=scale, legend=alt.Legend(orient="top", title=None))
    named = [chart.transform_calculate(shown=json.dumps(label(column))) for column, chart, _ in marks]
    return alt.layer(*(chart.encode(color=colour) for chart in named))


def for_charts(rows: pd.DataFrame, section: Section) -> pd.DataFrame:
    """Return rows as charts need them: dates as times, numbers as floats, and a name once per id."""
    ready = rows.copy()
    for name in rows.columns:
        if (holds := section.column(name).kind) in ("date", "time"):
            ready[name] = pd.to_datetime(rows[name])
        elif holds in ("integer", "number"):
            ready[name] = rows[name].astype(float)
    for id_, name in section.names.items():
        ready[name.shown] = distinct_names(rows[id_], rows[name.shown])
    return ready


def distinct_names(ids: Iterable[Any], names: Iterable[Any]) -> list[Any]:
    """Return the names, with the id where another id has the same name."""
    pairs = list(zip(ids, names, strict=True))
    shared = collections.Counter(name for _, name in set(pairs))
    return [f"{name} ({id_})" if shared[name] > 1 else name for id_, name in pairs]


def dates(column: Column, *, bars: bool) -> alt.X:
    """Return the axis of dates: weeks one beside the other, or days with the year below where it begins."""
    if bars and column.name.endswith("_week"):
        axis = alt.Axis(format="%d %b %Y", labelAngle=0, labelOverlap=True)
        return alt.X(f"yearmonthdate({column.name}):O", title=label(column), axis=axis)
    text = "timeFormat(datum.value, '%d %b') + (datum.index == 0 ? '|' + timeFormat(datum.value, '%Y') : '')"
    axis = alt.Axis(labelExpr=f"split({text}, '|')", tickCount=8, labelOverlap=True, grid=False)
    return alt.X(f"{column.name}:T", title=label(column), axis=axis)


def amounts(channel: type[alt.X | alt.Y], column: Column, **scale: Any) -> alt.X | alt.Y:
    """Return the axis of a measure; counts have no fractions."""
    axis = alt.Axis(tickCount=6, tickMinStep=1 if column.kind == "integer" else 0)
    return channel(f"{column.name}:Q", title=label(column), axis=axis, scale=alt.Scale(**scale))


def tooltips(shown: list[Column]) -> list[alt.Tooltip]:
    """Return what is shown beside the pointer."""
    forms = ((column, *FORMS.get(column.kind, ("N", ""))) for column in shown)
    return [alt.Tooltip(f"{column.name}:{type_}", title=label(column), format=form) for column, type_, form in forms]
