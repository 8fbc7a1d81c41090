"""The sample data of courses: it has every mess that it claims to have, and its stories end as told."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone

import pytest

from generate_data import FEEDS, planted_rows
from sample_data import courses
from sample_files import (
    DATA,
    EMAIL,
    SENTINELS,
    Deliveries,
    Rules,
    check_files,
    column,
    contents,
    generate,
    is_date,
    is_day,
    is_time,
    label,
    read_feed,
    repeated_rows,
)

pytestmark = pytest.mark.fast

BOOLEANS = {"true", "t", "yes", "y", "1", "false", "f", "no", "n", "0"}


def is_sound(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name in ("isGovEmployee", "deleted"):
        return text.lower() in BOOLEANS
    if name == "signupDate":
        return is_date(text)
    if name.endswith(("_at", "_timestamp", "updatedAt")):
        return is_time(text)
    if name == "email":
        return bool(EMAIL.fullmatch(text))
    return name not in ("event_type", "level", "state", "status") or label(text) != ""


RULES = Rules(
    "courses",
    {
        "users": {"id", "deleted"},
        "courses": {"course_id"},
        "enrolments": {"enrolment_id", "user_id", "course_id", "enrolled_at"},
        "events": {"id", "user_id", "course_id", "event_type", "event_timestamp"},
    },
    is_sound,
    {"isGovEmployee": "false", "deleted": "false", "status": "not_stated"},
)


@pytest.fixture(scope="module")
def committed() -> Deliveries:
    """The committed data of the feed."""
    return read_feed(DATA, "courses")


def test_every_kind_of_rejection_is_planted_and_nothing_else_is_rejected(committed):
    kinds = {
        "value email", "value signupDate", "value email, state", "value isGovEmployee", "value updatedAt",
        "value level", "value course_created_at", "value status",
        "row course_id, event_type", "row event_type, event_timestamp",
    }  # fmt: skip
    RULES.check_planted(committed, lines=3, kinds=kinds | RULES.required_kinds())


@pytest.mark.parametrize(
    ("entity", "fates"),
    [
        ("users", ["row id", "row deleted", "value state", "value isGovEmployee"]),
        ("enrolments", ["row user_id", "row enrolled_at", "value status"]),
        ("events", ["row id", "row event_type", "row event_timestamp"]),
    ],
)
def test_rows_are_spoiled_above_scale_1(entity, fates, tmp_path):
    RULES.check_spoiled(tmp_path, entity, fates)


def test_every_spelling_is_planted():
    values = {value for row in planted_rows("courses") for value in row.values}
    assert {value.lower() for value in values} >= BOOLEANS
    assert {"TRUE", "FALSE", "maybe", "perhaps", "Texas", "x", "expert", "paused", "canceled"} <= values
    assert {"2026-02-30", "03/02/2026", "?!", "beamed_up", "Video Play", "QUIZ_SUBMIT"} <= values
    assert {"video:", "video", "intro", " Video : 14 ", "video:abc", "page:7"} <= values


def test_files_come_in_every_format_and_with_every_quirk():
    check_files(
        "courses",
        {".csv", ".json", ".jsonl", ".csv.gz"},
        ("events/batch_001.csv", b"id,user_id,"),
        ("users/batch_003.csv", b"updatedAt,deleted,id,"),
    )


@pytest.mark.parametrize("entity", ["users", "courses", "enrolments", "events"])
def test_there_are_duplicates_within_a_batch_and_across_batches(entity, committed):
    assert repeated_rows(committed, entity) == [["initial", "initial", "batch_001"]]


def test_the_committed_data_is_small():
    assert sum(map(len, contents(DATA, "courses").values())) < 200_000


def test_learners_grow_with_the_scale_and_courses_slowly(tmp_path):
    deliveries = read_feed(generate(tmp_path, "courses", "--scale", "16"), "courses")
    grown = {
        entity: len({key for key in column(deliveries, entity, columns[0]) if key[2:].isdecimal()})
        for entity, columns in FEEDS["courses"].columns.items()
    }
    assert 16 * 140 <= grown["users"] < 16 * 140 + 100
    assert 16 * 280 < grown["enrolments"] < 16 * 360
    assert 16 * 1500 < grown["events"] < 16 * 1900
    assert 15 + 3 <= grown["courses"] < 15 + 3 + 20
    assert {text.strip()[:7] for text in column(deliveries, "events", "event_timestamp") if is_day(text[:10])} == {
        "2025-12",
        "2026-01",
        "2026-02",
    }


@pytest.fixture
def sound(committed) -> dict[str, list[dict]]:
    """The rows of courses that staging keeps, trimmed, by entity, in the order of delivery."""
    found = {entity: [] for entity in FEEDS["courses"].columns}
    for (entity, batch), rows in committed.items():
        for _, row in rows:
            if not RULES.judge(entity, row).startswith(("row", "line")):
                found[entity].append({"batch": batch, **{name: text.strip() for name, text in row.items()}})
    return found


@pytest.fixture
def latest(sound) -> dict[str, dict[str, dict]]:
    """What the warehouse must believe, by entity and key: of users, the latest update; of all else, the last row."""

    def updated(row: dict) -> datetime:
        text = row["updatedAt"]
        is_told = text not in SENTINELS and is_time(text)
        at = datetime.fromisoformat(text.replace("Z", "+00:00") if is_told else "0001-01-01")
        return at if at.tzinfo else at.replace(tzinfo=timezone.utc)

    users = sorted(sound["users"], key=updated)  # rows that are equal stay in the order of delivery
    keys = {entity: columns[0] for entity, columns in FEEDS["courses"].columns.items()}
    return {entity: {row[keys[entity]]: row for row in rows} for entity, rows in {**sound, "users": users}.items()}


def deleted(latest) -> set[str]:
    return {key for key, row in latest["users"].items() if row["deleted"].lower() in {"true", "t", "yes", "y", "1"}}


def test_the_latest_update_of_a_user_wins_whatever_the_order_of_arrival(latest):
    family_names = {key: latest["users"][key]["fullName"].split()[1] for key in (f"u_{n:03d}" for n in range(15, 24))}
    assert family_names == {
        "u_015": "Vos",  # older, delivered later
        "u_016": "Ruiz",  # newer
        "u_017": "Quist",  # equal, a batch later
        "u_018": "Cole",  # without a time, delivered later
        "u_019": "Moss",  # both without a time
        "u_020": "Park",  # older, a line later
        "u_021": "Gray",  # equal, a line later
        "u_022": "Sato",  # older by its offset
        "u_023": "Diaz",  # its time is unreadable
    }
    assert {f"u_{n:03d}" for n in (11, 12, 25, 27)} == {key for key in deleted(latest) if key < "u_101"}


def test_some_users_change_and_some_are_deleted_in_later_batches(sound, latest):
    rows = Counter(row["id"] for row in sound["users"] if row["id"] > "u_100")
    changed = [key for key, count in rows.items() if count > 1]
    left = {key for key in deleted(latest) if key > "u_100"}
    assert 10 < len(changed) < 40
    assert 4 < len(left) < 15
    assert left < set(changed)


def test_references_of_learners_are_sound_but_for_the_planted_ones(sound, latest):
    for entity in ("enrolments", "events"):
        assert {row["user_id"] for row in sound[entity]} - set(latest["users"]) == {"u_000"}
        assert {row["course_id"] for row in sound[entity]} - set(latest["courses"]) == {"k_00"}


def test_some_learners_come_before_their_user_or_course(sound):
    def first(entity: str, name: str, key: str) -> str:
        return min(row["batch"].replace("initial", "") for row in sound[entity] if row[name] == key)

    assert first("enrolments", "user_id", "u_030") < first("users", "id", "u_030")
    assert first("events", "user_id", "u_030") < first("users", "id", "u_030")
    assert first("enrolments", "course_id", "k_12") < first("courses", "course_id", "k_12")
    assert first("events", "course_id", "k_13") < first("courses", "course_id", "k_13")
    assert first("events", "id", "v_00048") < first("enrolments", "enrolment_id", "n_0034")


def test_some_users_are_enrolled_more_than_once_in_a_course(latest):
    seen = {(row["user_id"], row["course_id"], label(row["event_type"])) for row in latest["events"].values()}
    statuses = {}
    for row in latest["enrolments"].values():
        statuses.setdefault((row["user_id"], row["course_id"]), []).append(label(row["status"]))
    again = {key: found for key, found in statuses.items() if len(found) > 1}
    assert {key[0]: found for key, found in again.items() if key[1] == "k_03"} == {
        "u_002": ["completed", "active"],
        "u_003": ["completed", "completed", "active"],
        "u_004": ["cancelled", "active"],
        "u_005": ["cancelled", "cancelled"],
        "u_006": ["active", "active"],
    }
    assert {(user, "k_03", kind) for user in ("u_002", "u_003") for kind in ("quiz_submit", "video_complete")} <= seen
    regular = [found for key, found in statuses.items() if key[0] > "u_100"]
    assert 0.03 * 140 < sum(len(found) > 1 for found in regular) < 0.1 * 140
    counts = Counter(status for found in regular for status in found)
    assert 0.05 < counts["cancelled"] / counts.total() < 0.12
    assert 280 < counts.total() < 360


def test_most_events_are_of_learners_in_their_courses(latest):
    enrolled = {(row["user_id"], row["course_id"]) for row in latest["enrolments"].values()}
    events = [(row["user_id"], row["course_id"]) for key, row in latest["events"].items() if key > "v_00100"]
    assert 1500 < len(events) < 1900
    assert 5 < sum(event not in enrolled for event in events) < 0.05 * len(events)
    assert len({user for user, _ in enrolled if user > "u_100"} - {user for user, _ in events}) > 2
    assert {label(row["event_type"]) for row in latest["events"].values()} == {
        "video_play", "video_complete", "video_pause", "quiz_start", "quiz_submit", "page_view", "forum_post",
        "download", "certificate_view", "beamed_up",
    }  # fmt: skip


def test_three_courses_have_nobody_who_stays(latest):
    learners = {key: [] for key in latest["courses"]}
    for row in latest["enrolments"].values():
        learners.setdefault(row["course_id"], []).append((label(row["status"]), row["user_id"]))
    assert learners[courses.NEVER_CHOSEN] == []
    assert {status for status, _ in learners[courses.CALLED_OFF]} == {"cancelled"}
    assert {user for _, user in learners[courses.ABANDONED]} <= deleted(latest)
    assert len(learners[courses.ABANDONED]) > 2
    assert all(len(set(found)) > 5 for key, found in learners.items() if "k_20" < key < "k_32" or key == "k_35")


def test_one_session_is_of_two_users_and_some_events_are_of_none(latest):
    users = {}
    for row in latest["events"].values():
        users.setdefault(row["session_id"], set()).add(row["user_id"])
    assert [key for key, found in users.items() if len(found) > 1 and key not in SENTINELS] == ["s_00020"]
    assert len(users[""]) > 10
