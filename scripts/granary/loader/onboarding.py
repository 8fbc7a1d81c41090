"""Which brands there are: the folders and schemas that match a pattern in the meta of a source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from granary import declared
from granary.declared import Entity
from granary.loader import landing, raw_tables, schemas
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Place, Session
from granary.project import GranaryError


def onboard(
    session: Session,
    root: Path,
    entities: Mapping[tuple[str, str], Entity],
    unusable: Collection[str] = (),
    names: Sequence[str] = (),
    *,
    dry_run: bool = False,
) -> tuple[list[LandingFile], list[str]]:
    """Find the brands of the sources that names select, or of all, and record where; return all landing files.

    What is new in schemas is among them. Return as well what is wrong with schemas, and which sources have no brand.
    """
    tables = concerned(entities, names)
    places = []
    for entity, place in schemas.places(session, tables) if root.is_dir() else []:
        folder = entity.brands.folders.name(place.brand)
        if not place.error and declared.table_of(folder, entity.name, entities, unusable) != (entity, place.brand):
            problem = f"{place.name} can't be a brand's, because {folder} is a feed of its own: rename one of them"
            place = place._replace(error=problem)
        places.append(copied(session, root, entity, place, dry_run=dry_run))
    files = landing.discover(root, entities, unusable)
    if tables:
        feeds = {table.feed for table in tables}
        places += [place for place in folders_of(files, entities, unusable) if place.feed in feeds]
        with session.transaction("recording brands", keep=not dry_run) as cursor:
            raw_tables.prepare(cursor, tables)
            raw_tables.record_places(cursor, feeds, places)
    return files, problems(tables, places)


def concerned(entities: Mapping[tuple[str, str], Entity], names: Sequence[str]) -> list[Entity]:
    """Return the landing tables to which brands deliver: of the sources that names select, or of all without names."""
    first = {name.partition("/")[0] for name in names}
    branded = [entity for entity in entities.values() if entity.brands]
    return [
        entity
        for entity in branded
        if not names or entity.feed in first or any(map(entity.brands.folders.brand_in, first))
    ]


def copied(session: Session, root: Path, entity: Entity, place: Place, *, dry_run: bool) -> Place:
    """Copy what is new in a schema to a landing file; return the place, with an error if that can't be done.

    So what is wrong with a schema costs only that one.
    """
    if place.error:
        return place
    try:
        if path := schemas.copy(session, root, entity, place, dry_run=dry_run):
            print(f"{'to copy' if dry_run else 'copied':<8} {place.name} to {path}", flush=True)
    except GranaryError as error:
        return place._replace(error=str(error))
    return place


def folders_of(
    files: Iterable[LandingFile], entities: Mapping[tuple[str, str], Entity], unusable: Collection[str]
) -> list[Place]:
    """Return the folders in which brands have delivered files, other than those that were copied from a schema."""
    places = {}
    for file in files:
        named = landing.parts_of(file.name)
        if not named or schemas.COPY.fullmatch(file.path.name):
            continue
        key = named["feed"], named["entity"]
        if key not in places:
            entity, brand = declared.table_of(*key, entities, unusable) or (None, None)
            if brand:
                odd = entity.brands.folders.problem(key[0])
                error = f"the folder {key[0]} can't be a brand's: {odd}" if odd else None
                places[key] = Place(entity.feed, entity.name, brand, "folder", "/".join(key), error)
    return [*places.values()]


def problems(entities: Sequence[Entity], places: Iterable[Place]) -> list[str]:
    """Return what is wrong: schemas that can't be read, and sources of which no brand was found.

    Of a folder that can't be a brand's, each file says so.
    """
    found = [place.error for place in places if place.error and place.kind == "schema"]
    for feed in dict.fromkeys(entity.feed for entity in entities):
        tables = [entity for entity in entities if entity.feed == feed]
        if not any(place.feed == feed for place in places):
            path, stands_for = tables[0].path, tables[0].brands
            names = " or ".join(entity.name for entity in tables)
            looked = f"no file in incremental/{stands_for.folders}/ or initial/{stands_for.folders}/ for {names}"
            if stands_for.schemas:
                looked += f", and no schema {stands_for.schemas} with a table {names}"
            found.append(f"{path}: no brand was found for the source {feed}: there is {looked}")
    return found
