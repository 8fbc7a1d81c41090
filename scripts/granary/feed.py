"""Make a feed from files, check files, list the feeds, take feeds out, or write the registry of feeds.

  bin/feed new FEED TABLE FILE ...   write the source, the models, a mart and its docs for files like these
  bin/feed check FILE ...     how files would load and be read, without loading them
  bin/feed list               the feeds, with what is loaded of each
  bin/feed remove FEED ...    take feeds out of the tree and, with --drop-data, out of the database
  bin/feed sync               write the registry (dbt/dbt_project.yml, `vars: feeds:`) from the declared sources

Each of them has a --help.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import shutil
import subprocess
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from granary import declared, feed_check, project, rules
from granary.feed_data import cursor_in, drop, feeds_in_database, loads, print_data
from granary.new_feed import proposal
from granary.project import GranaryError, replacing
from granary.text import counted, print_table, printable

MODELS = ("dbt/models/marts/{}", "dbt/models/intermediate/{}", "dbt/models/staging/{}")
PARTS = (  # of a feed. Its staging, which declares it, goes last: a removal that was interrupted can be repeated
    "data/initial/{}",
    "data/incremental/{}",
    "docs/feeds/{}.md",
    "scripts/granary/feeds/{}",
    "tests/feeds/{}",
    "jobs/{}",
    "benchmarks/generator/sample_data/{}.py",
    "dbt/tests/{}",
    "dbt/macros/{}",
    "dbt/seeds/{}",
    *MODELS,
)
KINDS = ("initial", "incremental")  # of landing files
PROJECT_FILE = "dbt/dbt_project.yml"
REGISTRY = re.compile(r"^  feeds:.*\n(?:\n* {4}.*\n)*", re.MULTILINE)  # with what is indented below it
PLANTED = "data/planted.csv"  # what is wrong with the sample data of all feeds
LANDING = re.compile("^(?:initial|incremental)/([^/]+)/", re.MULTILINE)  # how its lines begin
REMOVE = """
Delete the folders and files of feeds, and their lines in the registry and in data/planted.csv. Refused while anything
that stays refers to a model, seed, macro or source of theirs, and where git could not bring a deleted file back.

The database stays as it is, unless you add --drop-data. That drops the raw tables of the feeds and what was built from
them (in the schemas of GRANARY_SCHEMA_PREFIX), and deletes their rows of the ledger, so that their files would load
again. It works after the files are gone, too: git remembers the names of models.
"""


def main() -> int | None:
    """Do what the command line says."""
    options = parse_arguments()
    project.load_env()
    return options.command(options)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/feed", description=__doc__, formatter_class=as_written)
    commands = parser.add_subparsers(metavar="new | check | list | remove | sync", required=True)
    making = commands.add_parser("new", description=proposal.__doc__, formatter_class=as_written)
    making.set_defaults(command=new)
    making.add_argument("feed", metavar="FEED", help="the name of the feed, such as bar")
    making.add_argument("entity", metavar="TABLE", help="what a row is about, such as sales")
    making.add_argument(
        "files", nargs="+", metavar="FILE", help="some of its files; they are copied to the data folder"
    )
    making.add_argument("--key", metavar="COLUMN[,COLUMN]", help="what identifies a row (none: nothing does)")
    answers = {
        "action": "append",
        "default": [],
        "type": setting,
        "dest": "answers",
        "metavar": "[COLUMN.]SETTING=VALUE",
    }
    making.add_argument("--set", **answers, help="answer a question: --set sold_on.format=D/M/YYYY --set currency=EUR")
    checking = commands.add_parser("check", description=feed_check.__doc__, formatter_class=as_written)
    checking.set_defaults(command=feed_check.check)
    checking.add_argument("files", nargs="+", metavar="FILE", help="a file, below the data folder or elsewhere")
    checking.add_argument("--feed", metavar="FEED", help="the feed of files that are elsewhere")
    checking.add_argument("--table", metavar="TABLE", help="the table of files that are elsewhere")
    listing = commands.add_parser("list", description="List the feeds, with what is loaded of each.")
    listing.set_defaults(command=list_feeds)
    removal = commands.add_parser("remove", description=REMOVE, formatter_class=as_written)
    removal.set_defaults(command=remove)
    removal.add_argument("feeds", nargs="+", metavar="FEED", help="a feed, or what spans feeds, of bin/feed list")
    removal.add_argument("--dry-run", action="store_true", help="say what would be removed, and change nothing")
    removal.add_argument("--yes", action="store_true", help="don't ask")
    removal.add_argument("--force", action="store_true", help="delete files, too, that git could not bring back")
    removal.add_argument("--drop-data", action="store_true", help="drop what the feeds have in the database, too")
    sync = commands.add_parser("sync", description="Write the registry of feeds from the declared sources.")
    sync.set_defaults(command=sync_registry)
    sync.add_argument("--check", action="store_true", help="write nothing; fail if the registry is out of date")
    return parser.parse_args()


def setting(text: str) -> tuple[str, str]:
    """Return the name and the value of a setting on the command line."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text}: write it as SETTING=VALUE")
    return name, value


def new(options: argparse.Namespace) -> None:
    """Make a feed, and write the registry."""
    proposal.new(options)
    sync_registry(argparse.Namespace(check=False, feed=options.feed))


# -- list --------------------------------------------------------------------------------------------------------------


def list_feeds(_: argparse.Namespace) -> None:
    """Print the feeds: without what is loaded, where the server can't be reached."""
    entities, problems = declared.declarations()
    tables = Counter(feed for feed, _ in entities)
    marts = Counter(mart.feed for mart in declared.marts().values())
    with contextlib.ExitStack() as stack:
        cursor = cursor_in(stack, required=False)
        loaded = loads(cursor) if cursor else {}
        forgotten = sorted(set(feeds_in_database(cursor)) - tables.keys() - problems.keys()) if cursor else []
    if tables:
        names = [*sorted(tables), *declared.spanning_groups()]
        rows = [[name, tables[name] or None, marts[name], *loaded.get(name, (None, None))] for name in names]
        print_table(["feed", "tables", "marts", "rows loaded", "last load (UTC)"], rows)
    elif not problems:
        print(declared.NO_FEEDS)
    for feed, problem in problems.items():
        print(f"\n{feed} can't be used: {problem}")
    for feed in map(printable, forgotten):
        print(f"\n{feed} is not in the tree, but in the database. To drop it:  bin/feed remove {feed} --drop-data")


# -- remove ------------------------------------------------------------------------------------------------------------


def remove(options: argparse.Namespace) -> int:
    """Take feeds out of the tree, and out of the database where asked to. Return 1 if the user says no."""
    feeds, in_tree = list(dict.fromkeys(options.feeds)), declared.units()
    with contextlib.ExitStack() as stack:
        cursor = cursor_in(stack, required=options.drop_data)
        check_names(feeds, in_tree, feeds_in_database(cursor) if cursor else [], options.drop_data)
        paths = [path for feed in feeds if feed in in_tree for path in parts(feed)]
        check_references(feeds, paths, in_tree)
        changed = [*paths, *planted_for(feeds)]
        loss = what_git_lacks(changed)
        if loss and not options.force:
            raise GranaryError(f"{loss}\nCommit them, or keep a copy and repeat with --force.")
        names = names_built(feeds)
        data = project.data_folder()
        delivered = [*folders_of_brands(data, feeds), *(data / kind / feed for feed in feeds for kind in KINDS)]
        for path in paths:
            print(f"{relative(path):<45} {counted(len(files_of(path)), 'file')}")
        if loss:
            print(loss)
        has_data = not cursor or print_data(cursor, feeds, names, options.drop_data)
        if cursor:
            cursor.connection.rollback()
        if options.dry_run:
            print("nothing was changed (--dry-run)")
            return 0
        if not (options.yes or confirmed(f"Remove {', '.join(feeds)}?")):
            print("nothing was changed")
            return 1
        if options.drop_data:
            drop(cursor, feeds, names)
        delete(paths)
        if options.drop_data:
            cursor.connection.commit()
    print(f"removed {', '.join(feeds)}")
    if paths and not loss:
        print(f"to bring the files back:  git restore {' '.join(map(relative, changed))} && bin/feed sync")
    if files := [str(path) for path in delivered if path.exists()]:
        print(f"bin/ingest would refuse the files that stay; move them elsewhere:  {' '.join(files)}")
    if options.drop_data:
        print("next:  bin/dbt build --full-refresh --select group:core")
    elif has_data:
        print(f"to drop what stays in the database:  bin/feed remove {' '.join(feeds)} --drop-data")
    return 0


def check_names(feeds: list[str], in_tree: list[str], in_database: list[str], drop_data: bool) -> None:
    """Raise GranaryError for a name that is not a feed's, or of a feed that is not where the command looks."""
    known = in_tree + in_database
    for feed in feeds:
        if feed not in known:
            similar = difflib.get_close_matches(feed, known, n=1)
            raise GranaryError(
                f"unknown feed {feed}: {f'did you mean {similar[0]}?' if similar else 'see bin/feed list'}"
            )
        if feed not in in_tree and not drop_data:
            raise GranaryError(f"{feed} is not in the tree any more; --drop-data drops what it has in the database")


def parts(feed: str) -> list[Path]:
    """Return those folders and files of a feed that exist, and the folders of its brands, if it stands for any."""
    own = [path for part in PARTS if (path := project.ROOT / part.format(feed)).exists()]
    return [*folders_of_brands(project.ROOT / "data", [feed]), *own]


def folders_of_brands(data: Path, feeds: list[str]) -> list[Path]:
    """Return the folders of landing files of all brands for which feeds stand."""
    entities, problems = declared.declarations()
    found = []
    for folder in sorted(path for kind in KINDS for path in data.glob(f"{kind}/*") if path.is_dir()):
        tables = [declared.table_of(folder.name, name, entities, problems) for _, name in entities]
        found += [folder] if any(table and table[1] and table[0].feed in feeds for table in tables) else []
    return found


def files_of(path: Path) -> list[Path]:
    """Return the files below a path, or the file that it is; caches don't count."""
    return [file for file in [path, *path.rglob("*")] if file.is_file() and "__pycache__" not in file.parts]


def relative(path: Path) -> str:
    """Return a path as seen from the root."""
    return path.relative_to(project.ROOT).as_posix()


def check_references(feeds: list[str], paths: list[Path], in_tree: list[str]) -> None:
    """Raise GranaryError if a file of dbt that stays names a model, a seed, a macro or a source of the feeds."""
    folders = [project.ROOT / "dbt" / name for name in ("models", "seeds", "macros", "tests")]
    own = {file for path in paths for file in files_of(path)}
    models = "|".join(file.stem for file in own if {folders[0], folders[1]}.intersection(file.parents)) or "^$"
    macros = "|".join(file.stem for file in own if folders[2] in file.parents) or "^$"
    reference = rf"""
        \b ref \s* \( \s* (?: ['"] \w+ ['"] \s* , \s* )? ['"] (?:{models}) ['"]      # perhaps after the package's name
        | \b source \s* \( \s* ['"] (?:{"|".join(feeds)}) ['"]
        | \b (?:{macros}) \s* \(
    """
    in_meta = rf"""
        | \b (?:mart|without|model|macro) ['"]? \s* : \s* ['"]? (?:{models}|{macros}) \b
        | : \s* ['"]? (?:{models}) \. \w+                                           # from where the dashboard has names
    """
    in_sql, in_yaml = re.compile(reference, re.VERBOSE), re.compile(reference + in_meta, re.VERBOSE)
    patterns = {".sql": in_sql, ".yml": in_yaml, ".yaml": in_yaml}
    found = [
        (file, f"{relative(file)}: {match.group()}")
        for folder in folders
        for file in sorted(folder.rglob("*.*"))
        if file.suffix in patterns and file not in own and file.is_file()
        for match in patterns[file.suffix].finditer(file.read_text("utf-8"))
    ]
    if found:
        lines = dict.fromkeys(line for _, line in found)
        owners = {name for name in in_tree for part in parts(name) for file, _ in found if part in file.parents}
        others = f"\nOr take out what they belong to, too:  bin/feed remove {' '.join([*feeds, *sorted(owners)])}"
        raise GranaryError(
            "\n  ".join(["other files refer to these feeds; change them first:", *lines]) + (others if owners else "")
        )


def planted_for(feeds: list[str]) -> list[Path]:
    """Return the list of what is wrong with the sample data, if it has lines of the feeds."""
    path = project.ROOT / PLANTED
    folders = {*feeds, *(folder.name for folder in folders_of_brands(project.ROOT / "data", feeds))}
    return [path] if path.exists() and folders.intersection(LANDING.findall(path.read_text("utf-8"))) else []


def what_git_lacks(paths: list[Path]) -> str:
    """Return which files below the paths git could not bring back, in words; nothing if there are none."""
    lines = git("status", "--porcelain", "--ignored", "--untracked-files=all", "--", *map(str, paths)) if paths else []
    if lines is None:
        return "this is not a git repository, so nothing could bring these files back"
    changed = [line for line in lines if "__pycache__" not in line]
    listed = [*changed[:10], *(["..."] if changed[10:] else [])]
    return "\n  ".join(["git could not bring these files back as they are now:", *listed]) if changed else ""


def git(*arguments: str) -> list[str] | None:
    """Return the lines that git prints about this repository, or None if it fails."""
    try:
        done = subprocess.run(["git", "-C", project.ROOT, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def confirmed(question: str) -> bool:
    """Ask the user; no answer is a no."""
    try:
        return input(f"{question} [y/N] ").lower().startswith("y")
    except EOFError:
        print()
        return False


def delete(paths: list[Path]) -> None:
    """Delete the files of feeds, and their lines in the files that all feeds share."""
    try:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (planted := project.ROOT / PLANTED).exists():
            feeds, lines = declared.feeds(), planted.read_text("utf-8").splitlines(keepends=True)
            kept = [
                line
                for line in lines
                if not (found := LANDING.match(line)) or found[1] in feeds or (planted.parent / found[0]).exists()
            ]
            with replacing(planted) as file:
                file.write("".join(kept).encode())
    except OSError as error:
        raise GranaryError(f"{error}; put that right and repeat the command") from None
    write_registry()


def names_built(feeds: list[str]) -> list[str]:
    """Return the names of the models and seeds of feeds, and of those that they ever had, as far as git knows."""
    folders = tuple(f"{part.format(feed)}/" for part in (*MODELS, "dbt/seeds/{}") for feed in feeds)
    here = [relative(file) for folder in ("models", "seeds") for file in files_of(project.ROOT / "dbt" / folder)]
    past = git("log", "--format=", "--name-only", "--relative", "HEAD", "--", *folders) or []
    theirs = {Path(path).stem for path in [*past, *here] if path.startswith(folders)}
    return sorted(theirs - {Path(path).stem for path in here if not path.startswith(folders)})


# -- sync --------------------------------------------------------------------------------------------------------------


def sync_registry(options: argparse.Namespace) -> None:
    """Write the registry, or compare it, and say so."""
    entities = declared.entities()
    if not write_registry(check=options.check):
        outcome = "is up to date"
    elif options.check:
        raise GranaryError(f"{PROJECT_FILE}: the registry of feeds is not what the sources declare; run bin/feed sync")
    else:
        outcome = "was written"
    count = f"{counted(len({feed for feed, _ in entities}), 'feed')}, {counted(len(entities), 'table')}"
    print(f"{PROJECT_FILE}: the registry {outcome} ({count})")
    rules.check(vars(options).get("feed"))


def write_registry(check: bool = False) -> bool:
    """Make the var `feeds` what the sources declare; return whether that changes it. `check` writes nothing."""
    registry: dict[str, dict[str, list[str]]] = {}
    for (feed, name), entity in declared.entities().items():
        registry.setdefault(feed, {})[name] = declared.models_read(entity)
    written = yaml.safe_dump({"feeds": registry}, default_flow_style=None, sort_keys=False, width=10_000)
    path = project.ROOT / PROJECT_FILE
    text = path.read_bytes().decode()
    changed, count = REGISTRY.subn(lambda _: textwrap.indent(written, "  "), text, count=1)
    if not count:
        raise GranaryError(f"{PROJECT_FILE}: no registry of feeds; add the line `  feeds: {{}}` below `vars:`")
    if not is_same_project(text, changed, registry):
        raise GranaryError(
            f"{PROJECT_FILE}: the registry of feeds can't be replaced safely, and was left as it is: remove comments"
            f" and blank lines from `vars: feeds:`, or write it yourself:\n{textwrap.indent(written, '  ')}"
        )
    if changed != text and not check:
        with replacing(path) as file:
            file.write(changed.encode())
    return changed != text


def is_same_project(before: str, after: str, registry: dict[str, Any]) -> bool:
    """Return whether the project file has the registry once, and everything else as before."""
    try:
        old, new = yaml.safe_load(before), yaml.safe_load(after)
        emptied = yaml.safe_load(REGISTRY.sub("  feeds: {}\n", after, count=1))  # not empty if some of it was missed
        return (
            new["vars"] == old["vars"] | {"feeds": registry}
            and emptied["vars"]["feeds"] == {}
            and old | {"vars": 0} == new | {"vars": 0}
        )
    except (yaml.YAMLError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    project.run_main(main)
