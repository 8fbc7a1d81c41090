"""The Flask application: a request's token, what it asks for, and the answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from typing import Any

from flask import Flask, Response, g, request
from flask_swagger_ui import get_swaggerui_blueprint
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from granary import declared

from . import database, formats, openapi, pages, problems
from .database import Build, Pools
from .endpoints import Endpoint, as_built, read_endpoints
from .formats import FORMATS
from .problems import RETRY_SECONDS, Problem, unavailable

PREFIX = "/api/v1"
DOCUMENT = "/openapi/openapi.json"
SWAGGER = "/openapi/swagger"
LONGEST_QUERY = 50_000  # bytes; the server reads addresses of 65,534, which leaves room for a cursor
TRIES = 3  # of an answer whose mart a build writes at that moment
TOKEN_HELP = "`bin/api-token create --name NAME` creates one"


def create_app(pool_size: int = 4) -> Flask:
    """Return the application. What the YAML declares is read now; what is built, when a request needs it."""
    app = Flask("granary", static_folder=None)
    service = Service(database.Pools(pool_size))
    app.extensions["pools"] = service.pools
    for explanation in service.broken.values():
        app.logger.warning("not served: %s", explanation)
    problems.register(app)
    app.before_request(refuse_long_addresses)
    app.after_request(service.add_headers)
    app.get("/", endpoint="root")(service.index)
    app.get(f"{PREFIX}/", endpoint="index")(service.index)
    app.get(f"{PREFIX}/health", endpoint="health")(service.health)
    app.get(f"{PREFIX}/<path>", endpoint="mart")(service.mart)
    app.get(DOCUMENT, endpoint="document")(service.document)
    app.register_blueprint(get_swaggerui_blueprint(SWAGGER, DOCUMENT, {"app_name": "Granary", "validatorUrl": None}))
    return app


def refuse_long_addresses() -> None:
    """Raise a problem if the address is so long that the one in `next` might not fit."""
    length = len(request.query_string)
    if length > LONGEST_QUERY and "cursor" not in request.args:
        raise Problem(414, f"The query has {length:,} bytes, but may have {LONGEST_QUERY:,}: ask for fewer values.")


class Service:
    """What the paths answer."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.feeds = declared.feeds()
        self.endpoints, self.broken = read_endpoints()
        self.last_build = database.served_build(pools)
        self.built: dict[str, tuple[str | None, Endpoint]] = {}  # by path: the mart's writer, the endpoint

    # -- Paths ---------------------------------------------------------------------------------------------------------

    def mart(self, path: str) -> Response:
        """Answer with a page of a mart."""
        declaration = self.endpoints.get(path)
        if not declaration and path not in self.broken:
            raise Problem(404, f"No mart is served at this path: {PREFIX}/ lists the paths.")
        build = self.admit(declaration)
        if not declaration:
            raise Problem(503, f"This path is not served, because its declaration is invalid: {self.broken[path]}.")
        for _ in range(TRIES):
            endpoint = self.as_built(declaration, build)
            query = pages.read_query(endpoint, request.args)
            form = chosen_format()
            identity = f"{build.written_by} {build.build_id} {form} {query.identity()}"
            tag = hashlib.sha256(identity.encode()).hexdigest()[:32]
            if build.written_by and request.if_none_match.contains_weak(tag):
                return cacheable(Response(status=304), tag)
            if page := self.page(query, form, build):
                break
            build = g.build = database.build_of(self.pools, endpoint.mart)  # it has ended in the meantime
        else:
            raise unavailable(f"Builds are writing this table: try again in {RETRY_SECONDS} seconds.", RETRY_SECONDS)
        rows, cursor = page
        following = pages.next_address(request.root_path + request.path, request.args, cursor) if cursor else None
        meta = {"build_id": build.build_id, "built_at": moment(build), "mart": endpoint.mart, "row_count": len(rows)}
        body = formats.write(form, rows, endpoint.columns, meta, following)
        response = Response(body, content_type=FORMATS[form])
        if form != "json":
            extension = "csv" if form == "excel" else form
            response.headers["Content-Disposition"] = f'attachment; filename="{path}.{extension}"'
        if following:
            response.headers["Link"] = f'<{following}>; rel="next"'
        return cacheable(response, tag if build.written_by else None)

    def index(self) -> Response:
        """Say what there is."""
        pages.refuse_unknown(request.args, [])
        built = self.tables()
        served = [
            {
                "path": f"{PREFIX}/{endpoint.path}",
                "summary": endpoint.summary,
                "feed": endpoint.feed,
                "formats": [*FORMATS],
                "is_built": None if built is None else endpoint.mart in built,
            }
            for endpoint in self.endpoints.values()
        ]
        links = {"health": f"{PREFIX}/health", "openapi": DOCUMENT, "swagger": f"{SWAGGER}/"}
        notes = [] if self.feeds else ["This project has no feeds."]
        notes += [] if served else ["No mart is served: `config.meta.api` in a mart's YAML adds one."]
        notes += [f"Not served: {explanation}." for explanation in self.broken.values()]
        body = {"name": "granary", "version": "1", "feeds": self.feeds, "endpoints": served}
        return as_json(body | links | {"notes": notes})

    def health(self) -> Response:
        """Say which build is served, and when each feed was last loaded."""
        pages.refuse_unknown(request.args, [])
        build, feeds = database.again_if_lost(self.freshness)
        g.build = build
        served = {"id": build.build_id, "finished_at": moment(build), "status": build.status}
        body = {"status": "ok", "build": served if build.build_id else None, "latest_build_status": build.latest_status}
        return as_json(body | {"feeds": feeds})

    def document(self) -> Response:
        """Answer with the OpenAPI document: of marts as they are built, or else as they are declared."""
        built, described = self.tables() or {}, []
        for endpoint in self.endpoints.values():
            try:
                described.append(as_built(endpoint, built.get(endpoint.mart, {})))
            except Problem:
                described.append(endpoint)
        return as_json(openapi.document(PREFIX, described))

    # -- What they share -----------------------------------------------------------------------------------------------

    def page(self, query: pages.Query, form: str, build: Build) -> tuple[list[tuple], str | None] | None:
        """Return a page's rows, and the cursor of the next one, if there is one; None if they are of another build."""

        def ask() -> tuple[list[tuple], str | None] | None:
            with self.pools.reading.connect() as connection:
                return pages.read_page(connection, query, form, build)

        try:
            return database.again_if_lost(ask)
        except ProgrammingError:  # the table may have changed without a build
            endpoint = self.endpoints[query.endpoint.path]
            as_built(endpoint, database.columns(self.pools).get(endpoint.mart, {}))
            raise

    def freshness(self) -> tuple[Build, list[dict[str, str]]]:
        """Return the build that is served, and when each feed was last loaded."""
        with self.pools.reading.connect() as connection:
            return database.latest_build(connection), database.freshness(connection)

    def tables(self) -> dict[str, dict[str, Any]] | None:
        """Return the tables of the marts with their columns, or None if the database can't be reached."""
        with contextlib.suppress(SQLAlchemyError):
            return database.columns(self.pools)
        return None

    def as_built(self, declaration: Endpoint, build: Build) -> Endpoint:
        """Return an endpoint as its mart is built, which is looked up each time that the mart was written."""
        written_by, endpoint = self.built.get(declaration.path, (None, declaration))
        if written_by is None or written_by != build.written_by:
            endpoint = as_built(declaration, database.columns(self.pools).get(declaration.mart, {}))
            self.built[declaration.path] = build.written_by, endpoint
        return endpoint

    def admit(self, declaration: Endpoint | None) -> Build:
        """Count the request and return the build. Raises a problem unless the token may read the feed now."""
        feed, mart = (declaration.feed, declaration.mart) if declaration else (declared.CORE, None)
        admission, g.build = database.admit(self.pools, bearer_token(), mart)
        if not admission:
            raise unauthorized(f"The token is unknown or revoked; {TOKEN_HELP}.", "invalid_token")
        g.admission = admission
        if not admission.is_admitted:
            seconds = admission.reset_seconds
            detail = f"The {admission.request_limit} requests of this window are used up: wait {seconds} seconds."
            raise Problem(429, detail, headers={"Retry-After": str(seconds)})
        if feed not in (declared.CORE, *admission.token_feeds):
            has = ", ".join(admission.token_feeds) or "no feed"
            detail = f"The token may read {has}, and this path needs {feed}: ask for a token with that feed."
            raise Problem(403, detail)
        return g.build

    def add_headers(self, response: Response) -> Response:
        """Add the build, and what is left of the token's requests.

        An answer that needed nothing from the database, such as 404, has the build that was last seen.
        """
        self.last_build = g.get("build") or self.last_build
        if self.last_build.build_id:
            response.headers["Granary-Build"] = re.sub("[^ -~]", "?", self.last_build.build_id)
        if admission := g.get("admission"):
            response.headers["RateLimit-Limit"] = str(admission.request_limit)
            response.headers["RateLimit-Remaining"] = str(admission.remaining)
            response.headers["RateLimit-Reset"] = str(admission.reset_seconds)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def bearer_token() -> str:
    """Return the request's token."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized(f"Send a token in the header `Authorization: Bearer ...`; {TOKEN_HELP}.")
    return token.strip()


def unauthorized(detail: str, error: str = "") -> Problem:
    """Return the problem of a request without a valid token."""
    challenge = 'Bearer realm="granary"' + (f', error="{error}"' if error else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


def chosen_format() -> str:
    """Return the format that the parameter, or else the header Accept, asks for."""
    if form := request.args.get("format"):
        return form
    default = None if request.headers.get("Accept") else FORMATS["json"]
    best = request.accept_mimetypes.best_match(FORMATS.values(), default)
    if not best:
        offered = ", ".join(dict.fromkeys(FORMATS.values()))
        raise Problem(406, f"Accept one of {offered}, or choose with ?format={'|'.join(FORMATS)}.")
    return next(form for form, kind in FORMATS.items() if kind == best)


def moment(build: Build) -> str | None:
    """Return when a build ended."""
    return build.finished_at.isoformat() if build.finished_at else None


def as_json(body: dict[str, Any]) -> Response:
    """Return a response that says how things are now, and so must not be kept."""
    text = json.dumps(body, ensure_ascii=False) + "\n"
    return Response(text, content_type="application/json", headers={"Cache-Control": "no-store"})


def cacheable(response: Response, tag: str | None) -> Response:
    """Let clients keep a response, and ask each time whether it still holds. Before any build, it has no tag."""
    if tag:
        response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept, Authorization"
    return response
