"""The courses feed: a learning platform tells who enrolled in which course, and what they did there.

Who is who: numbers up to 100 are planted (courses: up to 20), regular rows count from 101 (courses: from 21), and
number zero never arrives (`u_000` is a user and `k_00` a course that no file has). Headers are written as the platform
writes them, some of them in camelCase.

A learner is the same wherever a row tells of them: users, enrolments and events each ask `learner_at` who they are.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from typing import NamedTuple

from sample_data.chance import ODD_SPELLINGS, Dice, dice_for, pick, spelled_label, spelled_time
from sample_data.feed import Feed
from sample_data.weeks import (
    FIRST_DAY,
    FIRST_NUMBER,
    WEEK_SECONDS,
    WEEKS,
    known_until,
    numbers_of,
    time_at,
    under_earlier_key,
)

# ----------------------------------------------------------------------------------------------------------------------
# What is written by hand
# ----------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "users": ("id", "fullName", "email", "signupDate", "state", "isGovEmployee", "updatedAt", "deleted"),
    "courses": ("course_id", "title", "category_name", "level", "publisher", "course_created_at"),
    "enrolments": ("enrolment_id", "user_id", "course_id", "enrolled_at", "status"),
    "events": ("id", "user_id", "course_id", "event_type", "event_timestamp", "session_id", "metadata"),
}

# Where each delivery lands, in which format, and what is odd about the file itself. Nothing is recorded of courses in
# batch_002.
FILES = (
    # entity, batch, extension, quirk
    ("users", "initial", ".csv", ""),
    ("courses", "initial", ".csv", ""),
    ("enrolments", "initial", ".csv", ""),
    ("events", "initial", ".csv", ""),
    ("users", "batch_001", ".csv", ""),
    ("courses", "batch_001", ".csv", ""),
    ("enrolments", "batch_001", ".csv", ""),
    ("events", "batch_001", ".csv", "bom+crlf"),  # as a spreadsheet saves it
    ("users", "batch_002", ".jsonl", ""),
    ("enrolments", "batch_002", ".csv", ""),
    ("events", "batch_002", ".csv.gz", ""),
    ("users", "batch_003", ".csv", "reordered"),  # columns are found by name, never by position
    ("courses", "batch_003", ".json", ""),
    ("enrolments", "batch_003", ".jsonl", ""),
    ("events", "batch_003", ".csv", ""),
)
REORDERED_USERS = ("updatedAt", "deleted", "id", "fullName", "email", "state", "isGovEmployee", "signupDate")


class Course(NamedTuple):
    course_id: str
    title: str
    category: str
    level: str
    publisher: str
    created_at: str
    popularity: int  # how many of the enrolments it draws, against the others
    batch: str = "initial"  # the delivery that brings the course


COURSES = (
    Course("k_21", "Bread, Buns & Bagels", "Baking", "beginner", "Crumb & Daughters", "2024-03-04T09:00:00Z", 6),
    Course("k_22", 'Reading "Hamlet" Slowly', "Literature", "intermediate", "Quillmark", "2024-04-15T09:00:00Z", 3),
    Course("k_23", "Crème Brûlée from Scratch", "Baking", "advanced", "Crumb & Daughters", "2024-06-03T08:30:00Z", 3),
    Course("k_24", "Spreadsheets without Tears", "Office", "beginner", "Tabula House", "2024-06-17T10:00:00Z", 7),
    Course("k_25", "SQL for Gardeners", "Data", "beginner", "Tabula House", "2024-09-02T10:00:00Z", 6),
    Course("k_26", "Statistics by Dice", "Data", "intermediate", "Tabula House", "2024-10-07T10:00:00Z", 5),
    Course("k_27", "Forecasting for the Cautious", "Data", "advanced", "Tabula House", "2025-01-13T10:00:00Z", 3),
    Course("k_28", "First Aid at Work", "Safety", "beginner", "Steady Hands", "2025-02-10T07:45:00Z", 6),
    Course("k_29", "Plain Letters", "Office", "intermediate", "Quillmark", "2025-03-03T09:15:00Z", 4),
    Course("k_30", "Small Talk in Portuguese", "Languages", "beginner", "Quillmark", "2025-05-05T09:00:00Z", 4),
    Course("k_31", "Lockpicking for Locksmiths", "", "advanced", "Steady Hands", "2025-08-18T12:00:00Z", 2),
    Course("k_32", "A History of the Paperclip", "Office", "beginner", "Quillmark", "2025-09-01T09:00:00Z", 0),
    Course("k_33", "Public Speaking, Live", "Languages", "intermediate", "Quillmark", "2025-09-22T09:00:00Z", 2),
    Course("k_34", "Beekeeping on Balconies", "Garden", "beginner", "Steady Hands", "2025-10-06T06:00:00Z", 0),
    # A new course: people enrol from 2026-01-19 on.
    Course("k_35", "Maps and Compasses", "Garden", "beginner", "Steady Hands", "2026-01-19T06:00:00Z", 5, "batch_001"),
)
# Courses with a story. Nobody enrols in the first. All who enrol in the second cancel. In the third, all who enrol are
# deleted later.
NEVER_CHOSEN, CALLED_OFF, ABANDONED = "k_32", "k_33", "k_34"

# The planted rows. One line each: entity, batch, |the values in the order of COLUMNS|, and why it is there.
# feed.py explains the [brackets]; they name columns as the header does.
PLANTED = """
# Whitespace around values
users      initial   | u_001| Mara Lind |mara@example.org |2025-03-01 | tx| no |2025-12-01T09:00:00Z |no|  spaces
courses    initial   | k_01|Bread, "Rolls" & Crème | Baking|beginner | Crumb Press|2025-02-01T09:00:00Z |  spaces
courses    initial   |k_02|Rye|Baking|beginner|Crumb Press|2025-02-01|  clean; planted rows need it
courses    initial   |k_03|Sourdough|Baking|intermediate|Crumb Press|2025-02-01|  clean; planted rows need it
courses    initial   |k_04|Spelt|Baking|intermediate|Crumb Press|2025-02-01|  clean; planted rows need it
enrolments initial   |  n_0001| u_001|k_01\t|\t2025-12-02T09:00:00Z | Active |  spaces and tabs
events     initial   |v_00001 | u_001|k_01 | video_play|2025-12-02T09:05:00Z | s_00001| Video : 14 |  inside, too

# Booleans, in any case: true, t, yes, y, 1 and false, f, no, n, 0; nothing means false
users      initial   |u_002|Tom Berg|tom@example.org|2025-03-02|NY|TRUE|2025-12-01|FALSE|  in capitals
users      initial   |u_003|Ines Holm|ines@example.org|2025-03-03|CA|true|2025-12-01|false|  small letters
users      initial   |u_004|Otto Falk|otto@example.org|2025-03-04|WA|1|2025-12-01|0|  digits
users      initial   |u_005|Eva Diaz|eva@example.org|2025-03-05|OR|yes|2025-12-01|No|  words
users      initial   |u_006|Ole Gray|ole@example.org|2025-03-06|TX|t|2025-12-01|f|  letters
users      initial   |u_007|Lena Moss|lena@example.org|2025-03-07|TX|Y|2025-12-01|N|  capital letters
users      initial   |u_008|Ravi Nash|ravi@example.org|2025-03-08|TX||2025-12-01||  empty: false and false
users      initial   |u_009|Sol Park|sol@example.org|2025-03-09|TX|N/A|2025-12-01|-|  sentinels: false and false
users      batch_002 |u_010|Uma Sato|uma@example.org|2025-03-10|TX||2026-01-26T09:00:00Z||  JSON nulls: false and false
users      initial   |u_011|Vera Lund|vera@example.org|2025-03-11|TX|0|2025-12-01|Yes|  deleted from the first
users      initial   |u_012|Wim Jung|wim@example.org|2025-03-12|TX|F|2025-12-01|1|  deleted from the first

# Casing and punctuation of labels
courses    initial   |k_05|Hems|Sewing|Beginner|Crumb Press|2025-02-02|  title case
courses    initial   |k_06|Seams|Sewing| INTERMEDIATE.|Crumb Press|2025-02-02|  capitals and a dot
enrolments initial   |n_0002|u_002|k_01|2025-12-02T10:00:00Z|COMPLETED|  capitals
enrolments initial   |n_0003|u_003|k_01|2025-12-02T11:00:00Z|Cancelled|  title case
enrolments initial   |n_0004|u_004|k_01|2025-12-02T12:00:00Z|active!|  a trailing mark
events     initial   |v_00002|u_002|k_01|Video Play|2025-12-02T10:05:00Z|s_00002|video:1|  title case
events     initial   |v_00003|u_002|k_01|VIDEO_PAUSE|2025-12-02T10:06:00Z|s_00002|video:1|  capitals
events     initial   |v_00004|u_002|k_01|video-complete|2025-12-02T10:20:00Z|s_00002|video:1|  a dash
events     initial   |v_00005|u_002|k_01|QUIZ_SUBMIT|2025-12-02T10:30:00Z|s_00002|quiz:3|  capitals
events     initial   |v_00006|u_002|k_01|Certificate View!|2025-12-02T10:31:00Z|s_00002||  a trailing mark

# An event type that no mapping knows
events     initial   |v_00007|u_002|k_01|beamed_up|2025-12-02T10:32:00Z|s_00002|deck:5|
events     batch_002 |v_00008|u_002|k_01|Beamed Up|2026-01-27T10:32:00Z||deck:6|  in title case

# What an event was done to: kept as text, whatever it is
events     initial   |v_00009|u_003|k_01|video_play|2025-12-03T09:00:00Z|s_00003|video:|  no number
events     initial   |v_00010|u_003|k_01|video_play|2025-12-03T09:01:00Z|s_00003|video|  no colon
events     initial   |v_00011|u_003|k_01|video_play|2025-12-03T09:02:00Z|s_00003|intro|  no kind
events     initial   |v_00012|u_003|k_01|video_play|2025-12-03T09:03:00Z|s_00003|video:abc|  letters for a number
events     initial   |v_00013|u_003|k_01|video_play|2025-12-03T09:04:00Z|s_00003||  empty
events     initial   |v_00014|u_003|k_01|page_view|2025-12-03T09:05:00Z|s_00003|page:7|  as it should be

# Sentinels: N/A, NULL, None, null, - and empty are null
users      initial   |u_013|N/A|null|-|None||NULL|null|  all but the key
courses    initial   |k_07|Knots||beginner|Steady Hands|2025-02-03|  no category
courses    initial   |k_08|Notes|N/A|-|null|None|  only a title
enrolments initial   |n_0005|u_005|k_01|2025-12-02T13:00:00Z|NULL|  no status
events     initial   |v_00015|u_005|k_01|page_view|2025-12-02T13:05:00Z|None|-|  no session, about nothing

# Timestamps: ISO 8601, everything into UTC
enrolments initial   |n_0006|u_006|k_01|2025-12-08|active|  a date: midnight
events     initial   |v_00016|u_006|k_01|page_view|2025-12-08T10:00|s_00004|page:1|  no seconds, no zone
events     initial   |v_00017|u_006|k_01|page_view|2025-12-08 10:00:00.123Z|s_00004|page:2|  a space and a fraction
events     initial   |v_00018|u_006|k_01|page_view|2026-01-11T23:30:00-05:00|s_00005|page:3|  Monday 04:30 UTC
events     initial   |v_00019|u_006|k_01|page_view|2026-01-12T00:30:00+02:00|s_00006|page:4|  Sunday 22:30 UTC
events     initial   |v_00020|u_006|k_01|page_view|2025-12-09|s_00007|page:5|  a date: midnight

# Duplicates within a batch and across batches
users      initial   |u_014|Dag Kaya|dag@example.org|2025-03-14|CO||2025-12-01|no|
users      initial   |u_014|Dag Kaya|dag@example.org|2025-03-14|CO||2025-12-01|no|  twice in the batch
users      batch_001 |u_014|Dag Kaya|dag@example.org|2025-03-14|CO||2025-12-01|no|  and again a batch later
courses    initial   |k_09|Splices|Sailing|advanced|Steady Hands|2025-02-04|
courses    initial   |k_09|Splices|Sailing|advanced|Steady Hands|2025-02-04|  twice in the batch
courses    batch_001 |k_09|Splices|Sailing|advanced|Steady Hands|2025-02-04|  and again a batch later
enrolments initial   |n_0007|u_014|k_09|2025-12-15T10:00:00Z|active|
enrolments initial   |n_0007|u_014|k_09|2025-12-15T10:00:00Z|active|  twice in the batch
enrolments batch_001 |n_0007|u_014|k_09|2025-12-15T10:00:00Z|active|  and again a batch later
events     initial   |v_00021|u_014|k_09|quiz_submit|2025-12-15T10:30:00Z|s_00008|quiz:1|
events     initial   |v_00021|u_014|k_09|quiz_submit|2025-12-15T10:30:00Z|s_00008|quiz:1|  twice in the batch
events     batch_001 |v_00021|u_014|k_09|quiz_submit|2025-12-15T10:30:00Z|s_00008|quiz:1|  and again a batch later

# Users: the latest updatedAt wins, in whatever order rows arrive; none counts as the oldest
users      initial   |u_015|Nia Vos|nia@example.org|2025-04-01|ME||2026-01-05T09:00:00Z||  stays,
users      batch_001 |u_015|Nia Berg|nia@example.org|2025-04-01|VT||2025-12-20T09:00:00Z||  older, delivered later
users      initial   |u_016|Lea Ito|lea@example.org|2025-04-02|ME||2026-01-05T09:00:00Z||  goes,
users      batch_002 |u_016|Lea Ruiz|lea@example.org|2025-04-02|VT||2026-01-27T09:00:00Z||  newer
users      initial   |u_017|Kai Abe|kai@example.org|2025-04-03|ME||2026-01-05T09:00:00Z||  goes,
users      batch_001 |u_017|Kai Quist|kai@example.org|2025-04-03|VT||2026-01-05T09:00:00Z||  equal: the later batch wins
users      initial   |u_018|Jun Cole|jun@example.org|2025-04-04|ME||2025-12-10T09:00:00Z||  stays,
users      batch_001 |u_018|Jun Endo|jun@example.org|2025-04-04|VT||||  without a time, delivered later
users      initial   |u_019|Hana Lund|hana@example.org|2025-04-05|ME||||  goes,
users      batch_002 |u_019|Hana Moss|hana@example.org|2025-04-05|VT||||  both without a time: the later batch wins
users      initial   |u_020|Gus Park|gus@example.org|2025-04-06|ME||2026-01-06T09:00:00Z||  stays,
users      initial   |u_020|Gus Nash|gus@example.org|2025-04-06|VT||2026-01-05T09:00:00Z||  older, a line later
users      initial   |u_021|Fay Holm|fay@example.org|2025-04-07|ME||2026-01-05T09:00:00Z||  goes,
users      batch_001 |u_021|Fay Gray|fay@example.org|2025-04-07|VT||2026-01-05T09:00:00Z||  equal: the later batch wins
users      initial   |u_022|Eli Sato|eli@example.org|2025-04-08|ME||2026-01-05T09:00:00Z||  stays,
users      batch_001 |u_022|Eli Jung|eli@example.org|2025-04-08|VT||2026-01-05T10:00:00+02:00||  08:00 UTC: older
users      initial   |u_023|Cleo Diaz|cleo@example.org|2025-04-09|ME||2026-01-05T09:00:00Z||  stays,
users      batch_001 |u_023|Cleo Falk|cleo@example.org|2025-04-09|VT||last week||  [value updatedAt] so the oldest
users      initial   |u_024|Ben Kaya|ben@example.org|2025-04-10|ME|yes|2026-01-05T09:00:00Z||  goes,
users      batch_003 |u_024|Ben Kaya|||||2026-02-03T09:00:00Z||  newer, with less in it: what it lacks is null

# Deleted users
users      initial   |u_025|Ada Moss|ada@example.org|2025-05-01|GA||2025-12-01T09:00:00Z|no|
users      batch_001 |u_025|Ada Moss|ada@example.org|2025-05-01|GA||2026-01-20T09:00:00Z|yes|  deleted
enrolments initial   |n_0008|u_025|k_02|2025-12-16T10:00:00Z|active|  of a deleted user
enrolments initial   |n_0009|u_025|k_09|2025-12-16T11:00:00Z|completed|  of a deleted user
events     initial   |v_00022|u_025|k_02|video_complete|2025-12-16T10:30:00Z|s_00009|video:2|  of a deleted user
events     batch_001 |v_00023|u_025|k_02|quiz_submit|2026-01-19T10:30:00Z|s_00010|quiz:2|  of a deleted user
enrolments initial   |n_0010|u_011|k_02|2025-12-16T12:00:00Z|active|  of a user deleted from the first
users      initial   |u_026|Max Vos|max@example.org|2025-05-02|GA||2025-12-01T09:00:00Z|no|
users      batch_001 |u_026|Max Vos|max@example.org|2025-05-02|GA||2026-01-20T09:00:00Z|yes|  deleted,
users      batch_003 |u_026|Max Vos|max@example.org|2025-05-02|GA||2026-02-03T09:00:00Z|no|  and restored
enrolments initial   |n_0011|u_026|k_02|2025-12-17T10:00:00Z|active|  of a restored user
users      initial   |u_027|Oli Endo|oli@example.org|2025-05-03|GA||2026-01-10T09:00:00Z|yes|  stays deleted,
users      batch_001 |u_027|Oli Endo|oli@example.org|2025-05-03|GA||2026-01-02T09:00:00Z|no|  older, delivered later
enrolments initial   |n_0012|u_027|k_02|2025-12-17T11:00:00Z|active|  of a user who stays deleted
users      initial   |u_028|Pia Cole|pia@example.org|2025-05-04|GA||2025-12-01T09:00:00Z|no|  stays,
users      batch_002 |u_028|Pia Cole|pia@example.org|2025-05-04|GA||2026-01-27T09:00:00Z|perhaps|  [row deleted] a word

# Several enrolments of one user in one course: neither the learner nor their events count twice
enrolments initial   |n_0013|u_002|k_03|2025-12-03T10:00:00Z|completed|  the first of two,
enrolments initial   |n_0014|u_002|k_03|2026-01-07T10:00:00Z|active|  the second
events     initial   |v_00024|u_002|k_03|video_complete|2025-12-03T10:30:00Z|s_00011|video:3|  after the first
events     initial   |v_00025|u_002|k_03|quiz_submit|2025-12-03T10:40:00Z|s_00011|quiz:3|
events     initial   |v_00026|u_002|k_03|video_complete|2026-01-07T10:30:00Z|s_00012|video:4|  after both
events     batch_001 |v_00027|u_002|k_03|quiz_submit|2026-01-21T10:40:00Z|s_00013|quiz:4|
enrolments initial   |n_0015|u_003|k_03|2025-12-04T10:00:00Z|completed|  the first of three,
enrolments initial   |n_0016|u_003|k_03|2026-01-08T10:00:00Z|completed|  the second,
enrolments batch_001 |n_0017|u_003|k_03|2026-01-22T10:00:00Z|active|  the third, a batch later
events     initial   |v_00028|u_003|k_03|video_complete|2025-12-04T10:30:00Z|s_00014|video:3|
events     batch_001 |v_00029|u_003|k_03|quiz_submit|2026-01-22T10:40:00Z|s_00015|quiz:3|
events     batch_003 |v_00030|u_003|k_03|quiz_submit|2026-02-03T10:40:00Z|s_00016|quiz:3|  the same quiz again
enrolments initial   |n_0018|u_004|k_03|2025-12-05T10:00:00Z|cancelled|  cancelled,
enrolments initial   |n_0019|u_004|k_03|2026-01-09T10:00:00Z|active|  and enrolled again
events     initial   |v_00031|u_004|k_03|video_complete|2026-01-09T10:30:00Z|s_00017|video:3|
enrolments initial   |n_0020|u_005|k_03|2025-12-06T10:00:00Z|cancelled|  cancelled,
enrolments batch_001 |n_0021|u_005|k_03|2026-01-23T10:00:00Z|cancelled|  and cancelled again
enrolments initial   |n_0022|u_006|k_03|2025-12-07T10:00:00Z|active|  two,
enrolments initial   |n_0023|u_006|k_03|2025-12-07T10:00:00Z|active|  at the same moment

# Events of people who are not enrolled, or not any more
events     initial   |v_00032|u_007|k_03|page_view|2025-12-10T10:00:00Z|s_00018|page:1|  never enrolled
enrolments initial   |n_0024|u_008|k_03|2025-12-10T11:00:00Z|cancelled|  cancelled,
events     batch_001 |v_00033|u_008|k_03|video_play|2026-01-21T11:00:00Z|s_00019|video:1|  and still looking

# Sessions
events     initial   |v_00034|u_002|k_03|page_view|2025-12-11T10:00:00Z|s_00020|page:1|  one id,
events     initial   |v_00035|u_003|k_03|page_view|2025-12-11T10:01:00Z|s_00020|page:2|  two users: two sessions
events     initial   |v_00036|u_002|k_03|page_view|2025-12-12T10:00:00Z|s_00021|page:1|  one session,
events     initial   |v_00037|u_002|k_01|page_view|2025-12-12T10:01:00Z|s_00021|page:2|  two courses
events     initial   |v_00038|u_002|k_03|download|2025-12-13T10:00:00Z|||  no session
events     initial   |v_00039|u_002|k_03|forum_post|2025-12-13T10:00:00Z|||  no session, at the same moment

# Corrections: the latest batch wins
courses    initial   |k_10|Compas Basics|Sailing|beginner|Steady Hands|2025-02-05|
courses    batch_003 |k_10|Compass Basics|Sailing|beginner|Steady Hands|2025-02-05|  another title
courses    initial   |k_11|Tides|Sailing|beginner|Steady Hands|2025-02-05|
courses    batch_001 |k_11|Tides|Science|advanced|Quillmark|2025-02-05|  another category, level and publisher
enrolments initial   |n_0025|u_006|k_10|2025-12-18T10:00:00Z|active|
enrolments batch_002 |n_0025|u_006|k_10|2025-12-18T10:00:00Z|cancelled|  cancelled
enrolments initial   |n_0026|u_007|k_10|2025-12-18T11:00:00Z|active|
enrolments batch_001 |n_0026|u_007|k_11|2025-12-18T11:00:00Z|active|  in another course
enrolments initial   |n_0027|u_007|k_10|2025-12-18T12:00:00Z|active|
enrolments batch_003 |n_0027|u_008|k_10|2025-12-18T12:00:00Z|completed|  of another user
enrolments initial   |n_0028|u_009|k_10|2025-12-18T13:00:00Z|cancelled|
enrolments batch_001 |n_0028|u_009|k_10|2025-12-18T13:00:00Z|active|  active after all
enrolments initial   |n_0029|u_010|k_10|2025-12-18T14:00:00Z|active|
enrolments batch_002 |n_0029|u_010|k_10|someday|cancelled|  [row enrolled_at] so it stays active
events     initial   |v_00040|u_006|k_10|video_complete|2025-12-18T10:30:00Z|s_00022|video:1|
events     batch_002 |v_00040|u_006|k_11|video_complete|2025-12-18T10:30:00Z|s_00022|video:1|  in another course
events     initial   |v_00041|u_007|k_10|page_view|2025-12-18T11:30:00Z|s_00023|quiz:1|
events     batch_001 |v_00041|u_007|k_10|quiz_submit|2025-12-30T11:30:00Z|s_00023|quiz:1|  another type and week
events     initial   |v_00042|u_007|k_10|quiz_submit|2025-12-18T12:30:00Z|s_00024|quiz:2|
events     batch_003 |v_00042|u_008|k_10|quiz_submit|2025-12-18T12:30:00Z|s_00024|quiz:2|  of another user
events     initial   |v_00043|u_009|k_10|page_view|2025-12-18T13:30:00Z|s_00025|page:1|
events     batch_001 |v_00043|u_009|k_10|page_view|2025-12-18T13:30:00Z|s_00025|page:9|  of another page
users      initial   |u_029|Tara Ruiz|tara(at)example.org|2025-05-05|AZ||2025-12-01|no|  [value email] no @
users      batch_001 |u_029|Tara Ruiz|tara@example.org|2025-05-05|AZ||2026-01-20|no|  its typo is mended

# Late rows: they belong to weeks that earlier batches had
enrolments batch_003 |n_0030|u_009|k_03|2025-12-08T10:00:00Z|active|  eight weeks late
events     batch_003 |v_00044|u_009|k_03|quiz_submit|2025-12-10T10:00:00Z|s_00026|quiz:1|  eight weeks late
events     batch_002 |v_00045|u_002|k_03|video_complete|2026-01-21T10:39:00Z|s_00013|video:5|  of a session a batch ago

# Rows that arrive before what they point at
enrolments initial   |n_0031|u_030|k_03|2026-01-14T10:00:00Z|active|  user comes in batch_002
events     initial   |v_00046|u_030|k_03|quiz_submit|2026-01-14T10:30:00Z|s_00027|quiz:1|  user comes in batch_002
users      batch_002 |u_030|Late Lena|late@example.org|2026-01-14|NM|yes|2026-01-14T09:00:00Z||  who both wait for
enrolments initial   |n_0032|u_002|k_12|2026-01-15T10:00:00Z|active|  course comes in batch_001
courses    batch_001 |k_12|Stars|Science|beginner|Quillmark|2026-01-12|  which n_0032 waits for
events     batch_001 |v_00047|u_003|k_13|page_view|2026-01-22T12:00:00Z|s_00028|page:1|  course comes in batch_003
enrolments batch_001 |n_0033|u_003|k_13|2026-01-22T11:55:00Z|active|  course comes in batch_003
courses    batch_003 |k_13|Moons|Science|beginner|Quillmark|2026-01-20|  which both wait for
events     batch_001 |v_00048|u_005|k_04|video_play|2026-01-25T23:59:00Z|s_00029|video:1|  enrolment comes in batch_002
enrolments batch_002 |n_0034|u_005|k_04|2026-01-25T23:58:00Z|active|  which v_00048 waits for

# Rows whose other half never arrives
enrolments initial   |n_0035|u_000|k_03|2026-01-13T10:00:00Z|active|  its user never arrives
enrolments initial   |n_0036|u_001|k_00|2026-01-13T11:00:00Z|active|  its course never arrives
enrolments batch_003 |n_0037|u_000|k_00|2026-02-03T10:00:00Z|completed|  neither arrives
events     initial   |v_00049|u_000|k_03|quiz_submit|2026-01-13T10:30:00Z|s_00030|quiz:1|  its user never arrives
events     initial   |v_00050|u_001|k_00|video_complete|2026-01-13T11:30:00Z|s_00031|video:1|  its course never arrives

# Optional values that don't parse: the row stays, without them
users      initial   |u_031|Ivo Cole|nobody@|2025-06-01|AZ||2025-12-01||  [value email] no domain
users      initial   |u_032|Una Abe|una@example.org|2026-02-30|AZ||2025-12-01||  [value signupDate] no such day
users      initial   |u_033|Ria Cole|ria@example.org|03/02/2026|AZ||2025-12-01||  [value signupDate] March or February?
users      batch_002 |u_034|Udo Berg|udo@example.org|04.06.2025|AZ||2025-12-01||  [value signupDate] the day first
users      initial   |u_035|Zoë Nash|zoe@example.org|2025-06-05|AZ|maybe|2025-12-01||  [value isGovEmployee] who knows
users      batch_003 |u_036|Jo Kaya|jo@example.org|2025-06-06|AZ||2026-02-30||  [value updatedAt] no such day
courses    initial   |k_14|Soups|Baking|!!!|Crumb Press|2025-02-06|  [value level] only punctuation
courses    initial   |k_15|Stews|Baking|beginner|Crumb Press|spring|  [value course_created_at] a word
enrolments initial   |n_0038|u_007|k_04|2025-12-19T11:00:00Z|??|  [value status] only punctuation

# Odd values that may be true: kept as they are, and a test warns
users      initial   |u_037|Al Park|al@example.org|2025-06-07|Texas||2025-12-01||  not two letters
users      initial   |u_038|Bo Gray|bo@example.org|2025-06-08|x||2025-12-01||  a single letter
users      batch_001 |u_039|Cy Ito|cy@|2025-06-09|?!||2025-12-01||  [value email, state] two that are unreadable
courses    initial   |k_16|Pies|Baking|expert|Crumb Press|2025-02-06|  none of the three levels
courses    batch_003 |k_17|Tarts|Baking|Level 1|Crumb Press|May|  [value course_created_at] none either, and a bad time
enrolments initial   |n_0039|u_006|k_04|2025-12-19T12:00:00Z|paused|  does not count as enrolled
enrolments initial   |n_0046|u_009|k_04|2025-12-19T13:00:00Z|active|  goes,
enrolments batch_003 |n_0046|u_009|k_04|2025-12-19T13:00:00Z|canceled|  with one l: cancelled all the same

# Required values that are missing
users      initial   ||Nobody|nobody@example.org|2025-06-10|AZ||2025-12-01||  [row id] empty
users      batch_002 |N/A|Nobody|nobody@example.org|2025-06-10|AZ||2025-12-01||  [row id] a sentinel
courses    initial   |-|The Lost Course|Baking|beginner|Crumb Press|2025-02-07|  [row course_id] a sentinel
enrolments initial   ||u_007|k_02|2025-12-20T10:00:00Z|active|  [row enrolment_id] empty
enrolments initial   |n_0040|N/A|k_02|2025-12-20T10:01:00Z|active|  [row user_id] a sentinel
enrolments initial   |n_0041|u_007|null|2025-12-20T10:02:00Z|active|  [row course_id] a sentinel
enrolments batch_003 |n_0042|u_007|k_02||active|  [row enrolled_at] a JSON null
events     initial   |None|u_007|k_02|page_view|2025-12-20T10:00:00Z|s_00032|page:1|  [row id] a sentinel
events     initial   |v_00051||k_02|page_view|2025-12-20T10:01:00Z|s_00032|page:1|  [row user_id] empty
events     batch_003 |v_00052|u_007||page_view|2026-02-03T10:02:00Z|s_00033|page:1|  [row course_id] empty
events     initial   |v_00053|u_007|k_02||2025-12-20T10:03:00Z|s_00032|page:1|  [row event_type] empty
events     initial   |v_00054|u_007|k_02|page_view|NULL|s_00032|page:1|  [row event_timestamp] a sentinel
events     initial   |v_00055|u_007||-|2025-12-20T10:04:00Z|s_00032|page:1|  [row course_id, event_type] two at once

# Required values that don't parse
enrolments initial   |n_0043|u_007|k_02|2026-02-30|active|  [row enrolled_at] no such day
events     initial   |v_00056|u_007|k_02|page_view|yesterday|s_00032|page:1|  [row event_timestamp] a word
events     batch_001 |v_00057|u_007|k_02|page_view|03/02/2026|s_00034|page:1|  [row event_timestamp] March or February?
events     initial   |v_00058|u_007|k_02|?!|2025-12-20T10:06:00Z|s_00032|page:1|  [row event_type] only punctuation
events     initial   |v_00059|u_007|k_02|?!|2026-02-30|s_00032|page:1|  [row event_type, event_timestamp] two at once

# Rejected once, repaired later
users      initial   |u_040|Di Holm|di@example.org|2025-06-11|AZ||2025-12-01|perhaps|  [row deleted] who knows
users      batch_001 |u_040|Di Holm|di@example.org|2025-06-11|AZ||2025-12-01|no|  repaired
enrolments initial   |n_0044|u_040|k_02|soon|active|  [row enrolled_at] a word
enrolments batch_001 |n_0044|u_040|k_02|2025-12-21T10:00:00Z|active|  repaired
events     initial   |v_00060|u_040|k_02|quiz_submit|soon|s_00035|quiz:1|  [row event_timestamp] a word
events     batch_002 |v_00060|u_040|k_02|quiz_submit|2025-12-21T10:30:00Z|s_00035|quiz:1|  repaired
courses    initial   |k_18|Cakes|Baking|???|Crumb Press|2025-02-08|  [value level] who knows
courses    batch_001 |k_18|Cakes|Baking|advanced|Crumb Press|2025-02-08|  repaired

# Lines that can't be rows
enrolments batch_001 |n_0045,u_007,k_02|  [line] two values short
events     batch_001 |v_00061,u_007,k_02,page_view,2026-01-24T10:00:00Z,s_00036,page:1,mobile|  [line] one too many
enrolments batch_003 |{"enrolment_id": "n_0047", "user_id": "u_0|  [line] JSON cut off in the middle
"""

# How regular rows are spoiled above scale 1: (column, what stands in it). Duplicates and corrections come on top.
SPOILED = {
    "users": (
        ("id", ""), ("email", "not an email"), ("signupDate", "2026-02-30"), ("state", "?!"),
        ("isGovEmployee", "maybe"), ("updatedAt", ""), ("updatedAt", "yesterday"), ("deleted", "perhaps"),
    ),
    "enrolments": (
        ("enrolment_id", "-"), ("user_id", "N/A"), ("user_id", "u_000"), ("course_id", "k_00"),
        ("enrolled_at", "2026-02-30"), ("status", "??"), ("status", ""),
    ),
    "events": (
        ("id", ""), ("user_id", "u_000"), ("course_id", "None"), ("event_type", "?!"), ("event_type", "beamed_up"),
        ("event_timestamp", "03/02/2026"), ("session_id", "NULL"), ("metadata", "video:abc"),
    ),
}  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------------
# Regular rows, by rule
# ----------------------------------------------------------------------------------------------------------------------

# How much there is at scale 1. All of it grows with the scale; the ten weeks stay the same.
USERS_BY_BATCH = {"initial": 98, "batch_001": 14, "batch_002": 14, "batch_003": 14}
VISITS_A_WEEK = 90  # some of which come to nothing, where the user has no course yet
MOST_ENROLMENTS = 6  # of a user
MOST_EVENTS = 8  # of a visit
END = 10 * WEEK_SECONDS

GIVEN_NAMES = "Ada Ben Cleo Dag Eli Fay Gus Hana Ivo Jun Kai Lea Max Nia Oli Pia Ravi Sol Tara Uma Vera Wim Zoë"
FAMILY_NAMES = "Abe Berg Cole Diaz Endo Falk Gray Holm Ito Jung Kaya Lund Moss Nash Park Quist Ruiz Sato Vos"
STATES = "AZ CA CO FL GA IL ME MN NM NY OR TX VT WA"
TITLES = "Practical Curious Patient Everyday Unhurried Modern Forgotten Careful Portable Honest"
SUBJECTS = "Carpentry Astronomy Bookkeeping Gardening Chemistry Drawing Rhetoric Geometry Weaving Navigation"
LEVELS = ("beginner", "intermediate", "advanced")
COURSES_OF_A_USER = (0, 1, 1, 2, 2, 2, 3, 3, 4, 5)
# What people do in a visit, and what it is done to.
VISITS = (
    ("page_view", "video_play", "video_complete"),
    ("video_play", "video_pause", "video_play", "video_complete", "quiz_start", "quiz_submit"),
    ("page_view", "video_play", "video_complete", "quiz_start", "quiz_submit", "forum_post"),
    ("page_view", "download"),
    ("page_view", "forum_post"),
    ("video_play", "video_pause"),
    ("quiz_start", "quiz_submit"),
)
THINGS = {"page_view": "page", "download": "page", "video_play": "video", "video_pause": "video",
          "video_complete": "video", "quiz_start": "quiz", "quiz_submit": "quiz"}  # fmt: skip


class Enrolment(NamedTuple):
    number: int
    course_id: str
    at: int  # seconds since FIRST_DAY
    outcome: str  # what becomes of it; until then, it is active
    ends: int  # when that is, in seconds since FIRST_DAY


class Learner(NamedTuple):
    """What is true of a regular user, whichever rows tell of it."""

    number: int
    signup_day: int  # since FIRST_DAY; before it, for most
    change: str  # of their row, in a batch after their first: a column, or nothing
    changed_at: int  # when, in seconds since FIRST_DAY
    enrolments: list[Enrolment]  # in the order of time

    @property
    def leaves_at(self) -> int:
        """When the user is deleted, or the end of the ten weeks."""
        return self.changed_at if self.change == "deleted" else END


Offers = list[list[str]]  # of each week, the courses to choose from, each as often as it is popular


def user_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The users who are new, then those whose row has changed."""
    offers, new = offers_by_week(scale), numbers_of(USERS_BY_BATCH, batch, scale)
    for number in new:
        yield user_row(learner_at(number, scale, seed, offers), seed, is_changed=False)
    for number in range(FIRST_NUMBER, new.start):
        learner = learner_at(number, scale, seed, offers)
        if learner.change and learner.changed_at // WEEK_SECONDS in WEEKS[batch]:
            yield user_row(learner, seed, is_changed=True)


def user_row(learner: Learner, seed: int, is_changed: bool) -> tuple:
    dice = dice_for("courses", seed, "user", learner.number)
    given, family, other_family = (pick(names.split(), dice) for names in (GIVEN_NAMES, FAMILY_NAMES, FAMILY_NAMES))
    state, other_state = pick(STATES.split(), dice), pick(STATES.split(), dice)
    email = f"{given}.{family}.{learner.number}@example.org".lower().replace("ë", "e")
    if dice() < 0.05:
        email = pick((email.upper(), f" {email} ", ""), dice)
    day = date_of(learner.signup_day)
    updated_at = spelled_time(day, int(dice() * 86400), dice)
    if dice() < 0.05:
        state = pick((state.lower(), f" {state} ", ""), dice)
    change = learner.change if is_changed else ""
    return (
        f"u_{learner.number:03d}",
        f"{given} {other_family if change == 'fullName' else family}",
        email,
        day,
        other_state if change == "state" else state,
        spelled_flag(dice() < 0.2, dice),
        time_at(learner.changed_at, dice) if is_changed else updated_at,
        spelled_flag(change == "deleted", dice),
    )


def course_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    for course in all_courses(scale):
        if course.batch == batch:
            yield course[:6]


def enrolment_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """User by user: those who enrol, and once more, in the batch in which it happens, those that end."""
    offers, weeks = offers_by_week(scale), WEEKS[batch]
    for number in range(FIRST_NUMBER, FIRST_NUMBER + known_until(USERS_BY_BATCH, batch) * scale):
        for enrolment in learner_at(number, scale, seed, offers).enrolments:
            is_over = enrolment.ends < weeks.stop * WEEK_SECONDS
            if enrolment.at // WEEK_SECONDS in weeks or enrolment.ends // WEEK_SECONDS in weeks:
                dice = dice_for("courses", seed, "enrolment", enrolment.number)  # the same spellings in both rows
                yield (
                    f"n_{enrolment.number:04d}",
                    f"u_{number:03d}",
                    enrolment.course_id,
                    time_at(enrolment.at, dice),
                    spelled_label(enrolment.outcome if is_over else "active", dice),
                )


def event_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """Visit by visit: a user does a few things in one of their courses."""
    dice = dice_for("courses", seed, "events", batch)
    offers, users = offers_by_week(scale), known_until(USERS_BY_BATCH, batch) * scale
    count = VISITS_A_WEEK * scale
    for week in WEEKS[batch]:
        for visit in range(week * count, (week + 1) * count):
            # The week's last hour is left out, so that visits end in their week.
            at = week * WEEK_SECONDS + int((visit % count + dice()) / count * (WEEK_SECONDS - 3600))
            learner = learner_at(FIRST_NUMBER + int(dice() * users), scale, seed, offers)
            if learner.signup_day * 86400 <= at < learner.leaves_at:
                course, steps = visited(learner, at, offers[week], dice)
                session = f"s_{FIRST_NUMBER + visit:05d}" if dice() < 0.95 else ""
                lesson = 1 + int(dice() * 24)
                for place, event_type in enumerate(steps):
                    number = FIRST_NUMBER + MOST_EVENTS * visit + place
                    yield (
                        f"v_{number:05d}",
                        f"u_{learner.number:03d}",
                        course,
                        spelled_label(event_type, dice),
                        time_at(at, dice),
                        session,
                        spelled_thing(event_type, lesson, dice),
                    )
                    at += 20 + int(dice() * 400)


def visited(learner: Learner, at: int, offer: list[str], dice: Dice) -> tuple[str, tuple]:
    """A course and what is done in it: most often one that the user takes, now and then one that they left, or another.

    A user without a course does nothing.
    """
    begun = [enrolment for enrolment in learner.enrolments if enrolment.at <= at]
    over = [enrolment for enrolment in begun if enrolment.outcome == "cancelled" and enrolment.ends <= at]
    steps = pick(VISITS, dice)
    if dice() < 0.04:
        return (pick(over, dice).course_id if over else pick(offer, dice)), steps[:2]
    taken = [enrolment for enrolment in begun if enrolment not in over]
    if not taken:
        return "", ()
    enrolment = pick(taken, dice)
    is_completed = enrolment.outcome == "completed" and enrolment.ends <= at
    return enrolment.course_id, (*steps, "certificate_view") if is_completed and dice() < 0.3 else steps


def learner_at(number: int, scale: int, seed: int, offers: Offers) -> Learner:
    """The user with this number: the same in every call."""
    dice = dice_for("courses", seed, "learner", number)
    first = next(batch for batch in WEEKS if number in numbers_of(USERS_BY_BATCH, batch, scale))
    later = list(WEEKS)[list(WEEKS).index(first) + 1 :]
    # The first users came in the eleven months before, or in the first six weeks; others on a workday of their week.
    signup_day = int(dice() * 376) - 334 if first == "initial" else 7 * WEEKS[first].start + int(dice() * 5)
    change, changed_at, kind = "", END, dice()
    if later and kind < 0.24:
        change = "deleted" if kind < 0.08 else "state" if kind < 0.16 else "fullName"
        changed_at = int((WEEKS[pick(later, dice)].start + dice()) * WEEK_SECONDS)
    start = max(0, signup_day * 86400)
    stop = changed_at if change == "deleted" else END
    count = pick(COURSES_OF_A_USER, dice)
    has_repeated = count > 0 and dice() < 0.08
    enrolments, courses = [], []
    for at in sorted(int(start + dice() * (stop - start)) for _ in range(count + has_repeated)):
        course = courses[0] if len(courses) == count else pick(offers[at // WEEK_SECONDS], dice)
        if change == "deleted" and not courses:
            course = ABANDONED
        while len(courses) < count and course in courses:
            course = pick(offers[at // WEEK_SECONDS], dice)
        kind, place = dice(), MOST_ENROLMENTS * (number - FIRST_NUMBER) + len(courses)
        outcome, ends = "active", at + int(dice() * 28 * 86400)
        if kind < 0.05 or course == CALLED_OFF:
            outcome, ends = "cancelled", min(at + (ends - at) // 4, stop - 1)
        elif kind < 0.4 and ends < stop:
            outcome = "completed"
        else:
            ends = at
        enrolments.append(Enrolment(FIRST_NUMBER + place, course, at, outcome, ends))
        courses.append(course)
    return Learner(number, signup_day, change, changed_at, enrolments)


def offers_by_week(scale: int) -> Offers:
    courses = all_courses(scale)
    return [
        [course.course_id for course in courses if WEEKS[course.batch].start <= week for _ in range(course.popularity)]
        for week in range(10)
    ]


def all_courses(scale: int) -> list[Course]:
    """Those written by hand, and made-up ones above scale 3: courses grow with the square root of the scale."""
    courses, titles, subjects = list(COURSES), TITLES.split(), SUBJECTS.split()
    for place in range(math.isqrt(scale) - 1):
        title = f"{titles[place % 10]} {subjects[place // 10 % 10]}"
        if place >= 100:  # all pairs of words are used
            title = f"{title} {place // 100 + 1}"
        course_id, created_at = f"k_{21 + len(courses):02d}", f"{date_of(-40 - place % 300)}T09:00:00Z"
        courses.append(Course(course_id, title, "General", LEVELS[place % 3], "Quillmark", created_at, 3))
    return courses


def date_of(day: int) -> str:
    """The date so many days after FIRST_DAY, or before it."""
    return (FIRST_DAY + datetime.timedelta(days=day)).isoformat()


def spelled_flag(is_true: bool, dice: Dice) -> str:
    if dice() >= ODD_SPELLINGS:
        return "true" if is_true else "false"
    return pick(("TRUE", "yes", "1", " True ") if is_true else ("FALSE", "No", "0", ""), dice)


def spelled_thing(event_type: str, lesson: int, dice: Dice) -> str:
    """What an event was done to, as kind and number; for some types, nothing."""
    if event_type not in THINGS:
        return ""
    thing = f"{THINGS[event_type]}:{lesson}"
    return thing if dice() >= ODD_SPELLINGS / 2 else pick((f" {thing} ", thing.title(), ""), dice)


# The stories that regular rows tell at every scale.
#
# Nobody enrols in NEVER_CHOSEN.
# All who enrol in CALLED_OFF cancel.
# All who enrol in ABANDONED are deleted later.

FEED = Feed(
    name="courses",
    grows="users, enrolments and events (140, 320 and 1,700 at scale 1); courses with the square root of it",
    columns=COLUMNS,
    files=FILES,
    reordered={"users": REORDERED_USERS},
    numbers=(),
    planted=PLANTED,
    rows={"users": user_rows, "courses": course_rows, "enrolments": enrolment_rows, "events": event_rows},
    spoiled=SPOILED,
    corrected=under_earlier_key,
)
