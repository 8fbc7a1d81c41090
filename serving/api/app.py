"""The Flask application: who asks, what for, and the answer."""

from __future__ import annotations

import hashlib
import json
import re

from flask import Response, current_app, g, request
from flask_openapi3 import Info, OpenAPI
from sqlalchemy import Engine

from . import database, formats, pages, problems, spec
from .database import Admission, Build, Column
from .endpoints import ENDPOINTS, Endpoint
from .problems import Problem

PREFIX = "/api/v1"
TOKEN_HELP = "`bin/api-token create --name NAME` makes one"


def create_app(pool_size: int = 4) -> OpenAPI:
    """Return the application. The marts must be built, because their columns are read now."""
    engine = database.create_engine(pool_size)
    columns = database.columns_of(ENDPOINTS)
    app = OpenAPI(
        "granary",
        info=Info(title="Granary", version="1"),
        static_folder=None,
        validation_error_status=400,
        openapi_extensions=spec.document(PREFIX, ENDPOINTS, columns),
    )
    app.json.sort_keys = False  # columns in the order of the mart
    app.config["SWAGGER_CONFIG"] = {"validatorUrl": None, "persistAuthorization": False}
    app.extensions["engine"] = engine
    app.extensions["build"] = database.served_build(engine)
    problems.register(app)
    app.after_request(add_headers)
    app.get(f"{PREFIX}/health", endpoint="health", doc_ui=False)(lambda: answer_health(engine))
    for endpoint in ENDPOINTS:
        add_endpoint(app, engine, endpoint, columns[endpoint.name])
    return app


def add_endpoint(app: OpenAPI, engine: Engine, endpoint: Endpoint, columns: dict[str, Column]) -> None:
    """Let the application answer for one mart."""

    def view() -> Response:
        return answer(engine, endpoint, columns)

    app.get(f"{PREFIX}/{endpoint.name}", endpoint=endpoint.name, doc_ui=False)(view)


def answer(engine: Engine, endpoint: Endpoint, columns: dict[str, Column]) -> Response:
    """Answer a request for a page of a mart."""
    build = admit(engine, endpoint)
    query = pages.read_query(endpoint, columns, request.args)
    form = chosen_format()
    tag = hashlib.sha256(f"{build.state} {form} {query.identity()}".encode()).hexdigest()[:32]
    if request.if_none_match.contains_weak(tag):
        return cacheable(Response(status=304), tag)
    with database.reading(engine) as connection:
        rows, cursor = pages.read_page(connection, query, columns, formats.expressions(form, columns))
    following = pages.next_address(request.root_path + request.path, request.args, cursor) if cursor else None
    meta = {"build_id": build.build_id, "built_at": moment(build), "mart": endpoint.mart, "row_count": len(rows)}
    response = Response(formats.write(form, rows, columns, meta, following), content_type=pages.FORMATS[form])
    if form != "json":
        response.headers["Content-Disposition"] = f'attachment; filename="{endpoint.name}.{form}"'
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return cacheable(response, tag)


def answer_health(engine: Engine) -> Response:
    """Say which build is served, and when each feed was last loaded."""
    pages.refuse_unknown(request.args, [])
    with database.reading(engine) as connection:
        build = g.build = database.latest_build(connection)
        feeds = database.freshness(connection)
    served = {"id": build.build_id, "finished_at": moment(build), "status": build.status} if build.build_id else None
    body = {"status": "ok", "build": served, "latest_build_status": build.latest_status, "feeds": feeds}
    return Response(json.dumps(body) + "\n", content_type="application/json", headers={"Cache-Control": "no-store"})


def moment(build: Build) -> str | None:
    """Return when a build ended."""
    return build.finished_at.isoformat() if build.finished_at else None


# -- Who asks ----------------------------------------------------------------------------------------------------------


def admit(engine: Engine, endpoint: Endpoint) -> Build:
    """Count the request and return the build. Raises a problem unless the token may ask for the endpoint now."""
    admission, g.build = database.admit(engine, bearer_token())
    if not admission:
        raise unauthorized(f"The token is not valid: it is unknown or revoked. {TOKEN_HELP}.", "invalid_token")
    g.admission = admission
    if not admission.is_admitted:
        seconds = admission.reset_seconds
        detail = f"The {admission.request_limit} requests of this window are used up. Wait {seconds} seconds."
        raise Problem(429, detail, headers={"Retry-After": str(seconds)})
    if endpoint.feed not in admission.token_feeds:
        has = ", ".join(admission.token_feeds)
        detail = f"The token may read {has}, and this path needs {endpoint.feed}. Ask for a token with that feed."
        raise Problem(403, detail)
    return g.build


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


# -- What for ----------------------------------------------------------------------------------------------------------


def chosen_format() -> str:
    """Return the format that the parameter, or else the header Accept, asks for."""
    if form := request.args.get("format"):
        return form
    if not request.headers.get("Accept"):
        return "json"
    best = request.accept_mimetypes.best_match(pages.FORMATS.values())
    if not best:
        offered = ", ".join(pages.FORMATS.values())
        raise Problem(406, f"Accept one of {offered}, or choose with ?format={'|'.join(pages.FORMATS)}.")
    return next(form for form, kind in pages.FORMATS.items() if kind == best)


# -- What every answer has ---------------------------------------------------------------------------------------------


def cacheable(response: Response, tag: str) -> Response:
    """Let clients keep a response, and ask each time whether it still holds."""
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept, Authorization"
    return response


def add_headers(response: Response) -> Response:
    """Add the build, and what is left of the token's requests.

    An answer that asked nothing of the database, such as 404, has the build that was last seen.
    """
    build: Build = g.get("build") or current_app.extensions["build"]
    current_app.extensions["build"] = build
    if build.build_id:
        response.headers["Granary-Build"] = re.sub("[^ -~]", "?", build.build_id)
    admission: Admission | None = g.get("admission")
    if admission:
        response.headers["RateLimit-Limit"] = str(admission.request_limit)
        response.headers["RateLimit-Remaining"] = str(admission.remaining)
        response.headers["RateLimit-Reset"] = str(admission.reset_seconds)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
