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
    """Find the brands of all sources, and record where those are that names select; return all landing files.

    What is new in the schemas that names select is among them. The others aren't read, and what is known of them stays.
    Return as well what is wrong with the schemas that were read, and which sources have no brand.
    """
    tables = [entity for entity in entities.values() if entity.brands]
    read, others = [], []
    for entity, place in schemas.places(session, tables) if root.is_dir() else []:
        folder = entity.brands.folders.name(place.brand)
        if not landing.is_selected([f"{feed}/{entity.name}" for feed in (entity.feed, folder)], names):
            others.append(place)
            continue
        if not place.error and declared.table_of(folder, entity.name, entities, unusable) != (entity, place.brand):
            problem = f"{place.name} can't be a brand's, because {folder} is a feed of its own: rename one of them"
            place = place._replace(error=problem)
        read.append(copied(session, root, entity, place, dry_run=dry_run))
    files = landing.discover(root, entities, unusable)
    if not tables:
        return files, []
    selected = [*read, *folders_of([file for file in files if landing.is_named(file, names)], entities, unusable)]
    everywhere = [*read, *others, *folders_of(files, entities, unusable)]
    with session.transaction("recording brands", keep=not dry_run) as cursor:
        raw_tables.prepare(cursor, tables)
        raw_tables.record_places(cursor, {table.feed for table in tables}, selected, everywhere)
    wanted = [table for table in tables if landing.is_selected([f"{table.feed}/{table.name}"], names)]
    return files, [place.error for place in read if place.error] + without_brands(wanted, everywhere)


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
    """Return the folders in which brands have delivered files, other than those that were copied from a schema.

    One that can't be a brand's, or of which no file can be read, has an error, which each of its files says as well.
    """
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
                error = f"the folder {key[0]} can't be a brand's: {odd}" if odd else str(landing.refusal(file))
                places[key] = Place(entity.feed, entity.name, brand, "folder", "/".join(key), error)
        if file.entity and key in places:  # one file that can be read is enough
            places[key] = places[key]._replace(error=None)
    return [*places.values()]


def without_brands(entities: Sequence[Entity], places: Iterable[Place]) -> list[str]:
    """Return of which sources no brand was found."""
    found = []
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
