"""Errors as problem documents (RFC 9457): what is wrong, and what to do about it."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import sqlalchemy.exc
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

RETRY_SECONDS = 2  # a restart of the server rarely takes longer
OUT_OF_REACH = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.TimeoutError)


class Problem(Exception):
    """An answer that is an error. `members` are added to the document, `headers` to the response."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, headers or {}, members

    def response(self) -> Response:
        """Return the response."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.members}
        body = json.dumps(document, ensure_ascii=False) + "\n"
        return Response(body, self.status, self.headers, content_type="application/problem+json")


def unavailable(detail: str, seconds: int) -> Problem:
    """Return the problem of what can't be answered now, and may be in some seconds."""
    return Problem(503, detail, headers={"Retry-After": str(seconds)})


def register(app: Flask) -> None:
    """Let the app answer each error with a problem document."""

    @app.errorhandler(Problem)
    def as_it_is(problem: Problem) -> Response:
        return problem.response()

    @app.errorhandler(HTTPException)
    def of_flask(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:  # a redirect
            return error.get_response()
        if status == 404:
            return Problem(404, "There is nothing at this path: /api/v1/ lists the paths.").response()
        if status == 405:
            allowed = ", ".join(sorted(error.valid_methods or []))
            return Problem(405, f"This path answers {allowed} only.", headers={"Allow": allowed}).response()
        return Problem(status, error.description or HTTPStatus(status).phrase).response()

    @app.errorhandler(sqlalchemy.exc.SQLAlchemyError)
    def of_the_database(error: sqlalchemy.exc.SQLAlchemyError) -> Response:
        state = getattr(getattr(error, "orig", None), "pgcode", None)
        if state == "57014":
            words = "The query took too long: ask for fewer days, or a smaller limit."
            return unavailable(words, seconds=60).response()
        if state == "55P03":
            words = f"A build is replacing this table: try again in {RETRY_SECONDS} seconds."
            return unavailable(words, RETRY_SECONDS).response()
        if isinstance(error, OUT_OF_REACH):
            app.logger.warning("the database can't be reached: %s", str(error).splitlines()[0])
            words = f"The database can't be reached, or has no connection left: try again in {RETRY_SECONDS} seconds."
            return unavailable(words, RETRY_SECONDS).response()
        return of_this_program(error)

    @app.errorhandler(Exception)
    def of_this_program(error: Exception) -> Response:
        app.logger.error("a request failed", exc_info=error)
        return Problem(500, "The API failed; its log says why. Please tell those who run it.").response()
