"""The courses feed, from sample data to marts: numbers computed again in Python, and what the legacy query says."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import DBT, NO_LIMITS, Database

LEGACY = Path(__file__).with_name("legacy_course_engagement.sql").read_text()
# The tables that the legacy query knows, with its names.
LEGACY_TABLES = """
    create schema legacy;
    create view legacy.users as
        select user_id as id, is_deleted as deleted from intermediate.int_courses__users;
    create view legacy.courses as
        select course_id, course_title as title from intermediate.int_courses__courses;
    create view legacy.enrolments as
        select user_id, course_id, enrolment_status as status from intermediate.int_courses__enrolments;
    create view legacy.events as
        select course_event_id as id, user_id, course_id, event_type, occurred_at as event_timestamp, session_id
        from intermediate.int_courses__events;
"""
METRICS = [
    "learners",
    "active_learners",
    "engagement_rate",
    "total_quizzes_completed",
    "total_videos_completed",
    "total_events",
    "session_count",
    "first_activity",
    "last_activity",
]
ENROLLED = {"active", "completed", "not_stated"}  # of the statuses in the sample; others are cancelled, or unmapped
ENGAGING = {"video_play", "video_pause", "video_complete", "quiz_start", "quiz_submit"}


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    """The sample data, built."""
    return build(new_database(), "courses")


def build(database: Database, *arguments: str | Path) -> Database:
    for command in (
        ("bin/ingest", *arguments),
        (
            *DBT,
            "build",
            *NO_LIMITS,
            "--select",
            "group:courses",
            "tag:ledger",
            "--exclude-resource-type",
            "unit_test",
        ),
    ):
        done = database.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    database.query(LEGACY_TABLES)
    return database


def deliver(data: Path, tables: dict[str, list[list]]) -> None:
    """Write the tables, each with its header, where bin/ingest finds them."""
    for entity, rows in tables.items():
        path = data / "initial" / "courses" / f"{entity}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def legacy(warehouse: Database) -> dict[str, dict[str, Any]]:
    columns = ", ".join(["course_id", *METRICS])
    rows = warehouse.query(f"select {columns} from ({LEGACY}) as legacy")
    return {course: dict(zip(METRICS, values, strict=True)) for course, *values in rows}


def engagement(warehouse: Database) -> dict[str, dict[str, Any]]:
    rows = warehouse.query(f"select {', '.join(['course_id', *METRICS])} from marts.course_engagement")
    return {course: dict(zip(METRICS, values, strict=True)) for course, *values in rows}


def staged(warehouse: Database, entity: str, columns: str) -> list[tuple]:
    """What was delivered and can be used, in the order of delivery."""
    return warehouse.query(f"select {columns} from staging.stg_courses__{entity} order by _batch_id, _row_id")


class Platform:
    """Users, courses, enrolments and events as they are now, from all that was delivered, without SQL."""

    def __init__(self, warehouse: Database, is_enrolled: Callable[[str | None], bool] = ENROLLED.__contains__):
        users: dict[str, tuple] = {}
        for user, updated_at, is_deleted in staged(warehouse, "users", "user_id, user_updated_at, is_deleted"):
            known = users.get(user)
            if known is None or known[0] is None or (updated_at is not None and updated_at >= known[0]):
                users[user] = updated_at, is_deleted
        self.users = {user for user, (_, is_deleted) in users.items() if not is_deleted}
        self.courses = {course for (course,) in staged(warehouse, "courses", "course_id")}
        columns = "enrolment_id, user_id, course_id, enrolment_status"
        enrolments = {key: values for key, *values in staged(warehouse, "enrolments", columns)}
        columns = "course_event_id, user_id, course_id, event_type, session_id, occurred_at"
        self.events = {key: values for key, *values in staged(warehouse, "events", columns)}.values()
        self.all_courses = self.courses | {course for _, course, _ in enrolments.values()}
        self.all_courses |= {course for _, course, *_ in self.events}
        # How often each user is enrolled in a course.
        self.enrolled = Counter((user, course) for user, course, status in enrolments.values() if is_enrolled(status))

    def learners(self, course: str) -> set[str]:
        return {user for user, of in self.enrolled if of == course} & self.users

    def metrics(self, course: str) -> dict[str, Any]:
        learners = self.learners(course)
        events = [event for event in self.events if event[1] == course and event[0] in learners]
        active = {user for user, _, event_type, *_ in events if event_type in ENGAGING}
        rate = Decimal(len(active)) / len(learners) if learners else None
        return {
            "learners": len(learners),
            "active_learners": len(active),
            "engagement_rate": rate if rate is None else rate.quantize(Decimal("0.0001"), ROUND_HALF_UP),
            "total_quizzes_completed": sum(event[2] == "quiz_submit" for event in events),
            "total_videos_completed": sum(event[2] == "video_complete" for event in events),
            "total_events": len(events),
            "session_count": len({event[3] for event in events} - {None}),
            "first_activity": min((event[4] for event in events), default=None),
            "last_activity": max((event[4] for event in events), default=None),
        }

    def counted_again(self, course: str, event_type: str | None = None) -> int:
        """How many events too many the legacy query counts: each of them once more per further enrolment."""
        learners = self.learners(course)
        return sum(
            self.enrolled[user, course] - 1
            for user, of, actual_type, *_ in self.events
            if of == course and user in learners and event_type in (None, actual_type)
        )


def test_courses_are_those_of_the_delivered_rows_computed_again(warehouse: Database) -> None:
    platform, actual = Platform(warehouse), engagement(warehouse)
    assert actual == {course: platform.metrics(course) for course in platform.all_courses}
    assert sum(course["total_events"] for course in actual.values()) > 1_400


def test_the_legacy_query_differs_just_as_explained(warehouse: Database) -> None:
    ours, theirs = engagement(warehouse), legacy(warehouse)

    # It knows one spelling of one status, so that who is `canceled`, `paused` or `??` passes for a learner.
    platform = Platform(warehouse, lambda status: status != "cancelled")
    seen = {course: platform.metrics(course) for course in platform.all_courses}
    assert {course for course in ours if seen[course] != ours[course]} == {"k_04"}
    assert seen["k_04"]["learners"] == ours["k_04"]["learners"] + 3

    # Courses without a learner, and one that was not delivered, are missing.
    missing = ours.keys() - theirs.keys()
    assert missing == {course for course in ours if not platform.learners(course) or course not in platform.courses}
    assert {"k_32", "k_33", "k_34", "k_00"} <= missing
    assert not theirs.keys() - ours.keys()

    # Who is enrolled in a course more than once has their events counted as often: in three columns, and in no other.
    fanned_out = set()
    for course, values in theirs.items():
        more = {
            "total_quizzes_completed": platform.counted_again(course, "quiz_submit"),
            "total_videos_completed": platform.counted_again(course, "video_complete"),
            "total_events": platform.counted_again(course),
        }
        assert values == {name: value + more[name] if name in more else value for name, value in seen[course].items()}
        fanned_out |= {course} if more["total_events"] else set()
    assert "k_03" in fanned_out
    assert 3 <= len(fanned_out) < len(theirs)


def test_the_legacy_query_agrees_where_nothing_triggers_its_defects(
    new_database: Callable[[], Database], tmp_path: Path
) -> None:
    dice = random.Random(7)
    users, courses = [f"u{number}" for number in range(60)], [f"k{number}" for number in range(12)]
    types = [*sorted(ENGAGING), "page_view", "download"]
    enrolled = [(user, course) for user in users for course in dice.sample(courses, 3)]  # each of them once
    tables = {
        "users": [
            ["id", "fullName", "email", "signupDate", "state", "isGovEmployee", "updatedAt", "deleted"],
            *([user, user, "", "2026-01-01", "ny", "", "2026-01-01", dice.random() < 0.1] for user in users),
        ],
        "courses": [
            ["course_id", "title", "category_name", "level", "publisher", "course_created_at"],
            *([course, f"Course {course}", "", "", "", "2026-01-01"] for course in courses),
        ],
        "enrolments": [
            ["enrolment_id", "user_id", "course_id", "enrolled_at", "status"],
            *(
                [f"n{number}", user, course, "2026-01-02", "cancelled" if dice.random() < 0.1 else "active"]
                for number, (user, course) in enumerate(enrolled)
            ),
        ],
        "events": [
            ["id", "user_id", "course_id", "event_type", "event_timestamp", "session_id", "metadata"],
            *(
                [
                    f"v{number}",
                    *(dice.choice(enrolled) if dice.random() < 0.9 else (dice.choice(users), dice.choice(courses))),
                    dice.choice(types),
                    f"2026-01-{3 + dice.randrange(25):02d}T{dice.randrange(24):02d}:00:00Z",
                    f"s{dice.randrange(300)}",
                    "",
                ]
                for number in range(2_000)
            ),
        ],
    }
    deliver(tmp_path, tables)
    warehouse = build(new_database(), "--data-dir", tmp_path)
    ours = engagement(warehouse)
    assert legacy(warehouse) == ours
    assert ours.keys() == set(courses)
    assert all(values["total_events"] > 50 for values in ours.values())


@pytest.mark.parametrize(
    ("user_id", "full_name"),
    [
        ("u_015", "Vos"),  # an older state, delivered later
        ("u_016", "Ruiz"),  # a newer one
        ("u_017", "Quist"),  # an equal one, a batch later
        ("u_018", "Cole"),  # one without a time, delivered later
        ("u_022", "Sato"),  # an older one, by its offset
    ],
)
def test_the_latest_state_of_a_user_wins(warehouse: Database, user_id: str, full_name: str) -> None:
    ((actual,),) = warehouse.query("select full_name from marts.dim_learner where user_id = %s", [user_id])
    assert actual.split()[1] == full_name


def test_a_deleted_user_can_be_restored(warehouse: Database) -> None:
    ids = ("u_025", "u_026", "u_027", "u_028")
    rows = warehouse.query("select user_id, is_deleted from marts.dim_learner where user_id in %s order by 1", [ids])
    assert [is_deleted for _, is_deleted in rows] == [True, False, True, False]


# -- Lists that people maintain ----------------------------------------------------------------------------------------

STATUSES = {  # of one user each, and whether they are a learner
    "Active": True,
    "COMPLETED": True,
    "": True,
    "cancelled": False,
    "canceled": False,
    "Withdrawn": False,
    "dropped": False,
    "Expired": False,
    "Passed to the Moon": False,  # which no list knows
    "?!": False,
}


@pytest.fixture(scope="module")
def platform(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A course with a user per status, each of whom has started a video, and one of whom was beamed up."""
    users = [f"u{number}" for number in range(len(STATUSES))]
    enrolments = zip(users, STATUSES, strict=True)
    tables = {
        "users": [
            ["id", "fullName", "email", "signupDate", "state", "isGovEmployee", "updatedAt", "deleted"],
            *([user, user, "", "", "", "", "2026-01-01", ""] for user in users),
        ],
        "courses": [
            ["course_id", "title", "category_name", "level", "publisher", "course_created_at"],
            ["k1", "A course", "", "Expert Level", "", "2026-01-01"],
        ],
        "enrolments": [
            ["enrolment_id", "user_id", "course_id", "enrolled_at", "status"],
            *([f"n{user}", user, "k1", "2026-01-02", status] for user, status in enrolments),
        ],
        "events": [
            ["id", "user_id", "course_id", "event_type", "event_timestamp", "session_id", "metadata"],
            *([f"v{user}", user, "k1", "video_start", "2026-01-03", "", ""] for user in users),
            *([f"w{number}", "u0", "k1", "beamed_up", "2026-01-03", "", ""] for number in range(3)),
        ],
    }
    deliver(data := tmp_path_factory.mktemp("data"), tables)
    return build(new_database(), "--data-dir", data)


def test_only_a_status_that_is_known_makes_a_learner(platform: Database) -> None:
    learners = sum(STATUSES.values())
    counts = "select learners, active_learners, engagement_rate, total_events from marts.course_engagement"
    assert platform.query(counts) == [(learners, learners, 1, learners + 3)]
    unmapped = "select enrolment_status, enrolment_state from marts.dim_enrolment_status where not is_mapped order by 1"
    assert platform.query(unmapped) == [("passed_to_the_moon", "unmapped"), ("unmapped", "unmapped")]
    assert platform.query("select course_level from marts.dim_course") == [("expert_level",)]


def test_what_no_list_knows_warns_with_its_count(platform: Database) -> None:
    done = platform.run("bin/dbt", "--bar", "test", "--select", "test_name:is_mapped,group:courses")
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line.split(" ", 2)[2] for line in done.stdout.splitlines() if "Got" in line]
    assert sorted(warnings) == [
        "Got 2 results, configured to warn if != 0",  # enrolments with two statuses
        "Got 3 results, configured to warn if != 0",  # events of one type
    ]


def test_a_changed_list_needs_no_full_refresh(platform: Database, new_database: Callable[..., Database]) -> None:
    changed = new_database(platform)
    changed.query("insert into staging.enrolment_statuses values ('passed_to_the_moon', 'active', true)")
    changed.query("delete from staging.enrolment_statuses where enrolment_status = 'completed'")
    done = changed.run(*DBT, "run", "--select", "group:courses")
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = changed.query(
        "select enrolments.enrolment_status from marts.fct_enrolments as enrolments"
        " inner join marts.dim_enrolment_status as statuses using (enrolment_status) where is_enrolled order by 1"
    )
    assert statuses == [("active",), ("not_stated",), ("passed_to_the_moon",)]
    assert changed.query("select learners from marts.course_engagement") == [(3,)]
