"""What every script shares: where the project is, its settings, and errors that a user can put right."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import dotenv

ROOT = Path(__file__).resolve().parent.parent


def load_env() -> None:
    """Read ROOT/.env, if there is one. Variables that are set already win."""
    dotenv.load_dotenv(ROOT / ".env", override=False)


class GranaryError(Exception):
    """Something that the user can put right; the message says where it is and how."""


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main function and exit with its code: a GranaryError becomes `error: ...` and exit code 1."""
    try:
        sys.exit(main())
    except GranaryError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
