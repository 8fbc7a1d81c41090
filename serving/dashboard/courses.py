"""Courses: who learns, and who only enrols."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import queries, shared
from dashboard.queries import Marts

BARS = 15


def show(marts: Marts) -> None:
    """Show the page."""
    st.caption("Engagement by course, over all time. Active learners watched a video or took a quiz.")
    categories = marts.select(queries.CATEGORIES)["category_name"].tolist()
    if marts.select(queries.ENGAGEMENT, categories=[]).empty:
        shared.show_empty("courses", "bin/ingest courses")
        return
    chosen = st.multiselect("Categories", categories, key="courses_categories", placeholder="All")
    courses = marts.select(queries.ENGAGEMENT, categories=chosen)
    st.subheader(f"The {min(BARS, len(courses))} courses with the most learners")
    largest = courses.head(BARS)
    largest = largest.assign(course_title=shared.own_names(largest, "course_id", "course_title"))
    shared.draw(learners(largest), height=80 + 26 * min(BARS, len(courses)))
    st.subheader("Engagement by course")
    shared.show_table(courses, "course_engagement")


def learners(courses: pd.DataFrame) -> alt.LayerChart:
    """Return bars of learners, with the active ones before them."""
    base = alt.Chart(shared.for_chart(courses)).encode(
        y=alt.Y("course_title:N", sort=None, title=None, axis=alt.Axis(labelLimit=180)),
        tooltip=shared.tooltips("course_title", "learners", "active_learners", "engagement_rate"),
    )
    names = [shared.label("learners"), shared.label("active_learners")]
    scale = alt.Scale(domain=names, range=[shared.PALE, shared.BLUE])
    colour = alt.Color("what:N", scale=scale, legend=alt.Legend(orient="top", title=None))
    count = alt.Axis(tickMinStep=1, tickCount=8, format="d")
    return alt.layer(
        *(
            base.mark_bar()
            .transform_calculate(what=f"'{name}'")
            .encode(x=alt.X(f"{column}:Q", title="learners", axis=count), color=colour)
            for column, name in zip(("learners", "active_learners"), names, strict=True)
        )
    )
