"""Create, list and revoke the tokens of the API.

    bin/api-token create --name NAME --rate 60/minute --feeds FEED,FEED
    bin/api-token list
    bin/api-token revoke NAME

A rate is a number of requests per second, minute, hour or day. Without --feeds, a token may read the feeds that there
are now; every token may read the marts of the group core.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import re
import secrets
import sys
from typing import Any

import psycopg2
import psycopg2.errors

from granary import declared
from granary.project import GranaryError, load_env, run_main
from granary.server.connection import connect
from granary.server.roles import create_roles
from granary.text import print_table

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
LARGEST_RATE = 1_000_000


def main() -> int:
    """Run the command that the arguments name."""
    options = parse_arguments()
    load_env()
    ensure_roles()
    try:
        with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
            options.run(cursor, options)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise GranaryError(f"{str(error).strip()}: set PGUSER to the user who ran bin/warehouse roles") from None
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/api-token", description=__doc__, formatter_class=as_written)
    commands = parser.add_subparsers(required=True, metavar="create | list | revoke")
    create = commands.add_parser("create", help="create a token and print it, this once: only its hash is stored")
    create.add_argument("--name", required=True, help="its user: letters and digits, with - _ . between them")
    create.add_argument("--rate", default="60/minute", help="requests per time (default: 60/minute)")
    create.add_argument("--feeds", help="feeds that it may read, separated by commas (default: all there are now)")
    create.set_defaults(run=create_token)
    listing = commands.add_parser("list", help="list the tokens: what they may read, their rates, their last use")
    listing.set_defaults(run=list_tokens)
    revoke = commands.add_parser("revoke", help="end a token; its next request is refused")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=revoke_token)
    return parser.parse_args()


def create_token(cursor: Any, options: argparse.Namespace) -> None:
    """Create a token and print it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", options.name):
        raise GranaryError(f"invalid --name {options.name!r}: use 1 to 63 letters and digits, with - _ . between them")
    requests, seconds = read_rate(options.rate)
    token = f"granary_{secrets.token_urlsafe(32)}"
    values = [options.name, hashlib.sha256(token.encode()).digest(), read_feeds(options.feeds), requests, seconds]
    insert = "insert into api.tokens (name, token_hash, feeds, rate_requests, rate_seconds) values (%s, %s, %s, %s, %s)"
    try:
        cursor.execute(insert, values)
    except psycopg2.errors.UniqueViolation:
        raise GranaryError(
            f"the name {options.name} is taken, maybe by a revoked token (bin/api-token list): choose another one"
        ) from None
    print(token)
    print("The token is shown only this once. Send it as:  Authorization: Bearer <token>", file=sys.stderr)


def read_rate(text: str) -> tuple[int, int]:
    """Return (requests, seconds) of a rate such as 60/minute."""
    found = re.fullmatch(rf"([0-9]{{1,7}})/({'|'.join(SECONDS)})", text)
    if found and 1 <= int(found[1]) <= LARGEST_RATE:
        return int(found[1]), SECONDS[found[2]]
    raise GranaryError(f"invalid --rate {text}: write it like 60/minute (per second, minute, hour or day)")


def read_feeds(text: str | None) -> list[str]:
    """Return the feeds of a list with commas; without one, all of them. The group of a mart counts as a feed, too."""
    known = sorted({*declared.feeds(), *(mart.feed for mart in declared.marts().values())} - {declared.CORE})
    given = sorted({name.strip() for name in text.split(",")}) if text is not None else known
    if unknown := [name for name in given if name not in known]:
        choices = f"choose from {', '.join(known)}" if known else "this project has no feeds"
        raise GranaryError(f"invalid --feeds: unknown feed {', '.join(map(repr, unknown))}: {choices}")
    return given


def list_tokens(cursor: Any, _: argparse.Namespace) -> None:
    """Print the tokens."""
    cursor.execute(
        """
        select tokens.name, tokens.feeds, tokens.rate_requests, tokens.rate_seconds, tokens.created_at,
            requests.window_start, tokens.revoked_at
        from api.tokens
        left join api.requests on tokens.name = requests.name
        order by tokens.name
        """
    )
    units = {seconds: unit for unit, seconds in SECONDS.items()}
    rows = [
        [name, ", ".join(feeds), f"{requests}/{units.get(seconds, f'{seconds} s')}", *map(minute, times)]
        for name, feeds, requests, seconds, *times in cursor
    ]
    if rows:
        print_table(["name", "feeds", "rate", "created", "last used", "revoked"], rows)
    else:
        print("There are no tokens yet: bin/api-token create --name NAME")


def ensure_roles() -> None:
    """Create the roles and the schema api unless this database has them."""
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        # Ask the catalog, which everyone may read: to_regprocedure() needs rights on the schema.
        cursor.execute("select from pg_proc where proname = 'admit' and pronamespace = to_regnamespace('api')")
        exists = cursor.rowcount
    if not exists:
        create_roles()


def minute(time: datetime.datetime | None) -> str:
    """Return a time to the minute."""
    return f"{time:%Y-%m-%d %H:%M}" if time else "-"


def revoke_token(cursor: Any, options: argparse.Namespace) -> None:
    """End a token."""
    cursor.execute("update api.tokens set revoked_at = now() where name = %s and revoked_at is null", [options.name])
    if not cursor.rowcount:
        raise GranaryError(f"no valid token is called {options.name}: bin/api-token list shows all of them")
    print(f"revoked   {options.name}")


if __name__ == "__main__":
    run_main(main)
