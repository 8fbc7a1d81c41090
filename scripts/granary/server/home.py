"""The embedded server's home: one directory of mode 0700, with cluster/ (PostgreSQL's data), the log, and the socket.

PostgreSQL asks for no password at the socket, which is safe because only the owner (and root) can reach it. Root writes
nothing here itself: the home may belong to another user, who can put a link in the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import tempfile
from pathlib import Path

from granary.project import ROOT, GranaryError
from granary.server.programs import SYSTEM_HOME, run_as_owner

SOCKET_PATH_LIMIT = 107  # bytes: the limit of the kernel's sockaddr_un


def home() -> Path:
    """Return the embedded server's home as configured. It may not exist yet, or be a link."""
    return Path(os.path.abspath(ROOT / Path(os.environ.get("GRANARY_PGDATA") or ".warehouse").expanduser()))


def real_home() -> Path:
    """Return the home with links followed; raise GranaryError if a project was copied together with its link."""
    path = home()
    real = path.resolve()
    with contextlib.suppress(OSError):
        original = Path(read_in_home(real, "project"))
        if path.is_symlink() and original != path and original.is_symlink() and original.resolve() == real:
            raise GranaryError(
                f"{path} is a copy of {original} and would share its data: remove the copied link to start afresh."
            )
    return real


def make_home(path: Path) -> Path:
    """Create the server's home if it doesn't exist, check that it can be used, and return its real path."""
    if path.is_symlink() and not path.exists():
        raise GranaryError(
            f"{path} is a link to {path.readlink()}, which doesn't exist: remove the link to start afresh."
        )
    if not path.exists():
        if os.geteuid() == 0 and not os.environ.get("GRANARY_PGDATA"):
            SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.symlink_to(tempfile.mkdtemp(prefix=f"{short_hash(ROOT)}-", dir=SYSTEM_HOME))
        else:
            path.mkdir(mode=0o700)
    real = path.resolve()
    own_home(real)
    if os.geteuid() == 0:
        if run_as_owner(real, ["test", "-w", str(real)]).returncode != 0:
            raise GranaryError(
                f"PostgreSQL refuses to run as root, and {real.owner()}, who runs it instead, can't write to {real}:\n"
                f"set GRANARY_PGDATA to a directory that {real.owner()} can write to, or unset it."
            )
    elif not os.access(real, os.W_OK | os.X_OK):
        raise GranaryError(f"{real} belongs to {real.owner()}: work as that user, or set GRANARY_PGDATA.")
    run_as_owner(real, ["chmod", "700", str(real)])
    run_as_owner(real, ["rm", "-f", str(real / "project")])  # root's, if an earlier version has written it
    write_in_home(real, "project", str(path))  # for real_home()
    return real


def own_home(real: Path) -> None:
    """Raise GranaryError if the directory is something else; give it to the server's account if it is root's.

    Both by one descriptor: if others can write to the directory's parent, its path may mean another one a moment later.
    """
    with contextlib.ExitStack() as stack:
        descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        found = {entry.name for entry in os.scandir(descriptor)}
        if "cluster" not in found and "cluster.upgraded" in found:
            raise GranaryError(f"an upgrade of the data in {real} was interrupted: run\n  bin/warehouse upgrade")
        if "cluster" not in found and found - {"cluster.new", "lock", "log", "project"}:
            raise GranaryError(f"{real} has other files and no warehouse: set GRANARY_PGDATA to another directory.")
        if os.geteuid() == 0 == os.fstat(descriptor).st_uid:
            account = server_account()
            os.fchown(descriptor, account.pw_uid, account.pw_gid)


def read_in_home(real: Path, name: str) -> str:
    """Return the content of a file in the home; of what would keep a reader waiting, such as a pipe, nothing."""
    with os.fdopen(os.open(real / name, os.O_RDONLY | os.O_NONBLOCK)) as file:
        return file.read()


def write_in_home(real: Path, name: str, text: str) -> None:
    """Write a file in the home as the home's owner: root would follow a link that the owner has put there."""
    done = run_as_owner(real, ["tee", str(real / name)], input=text)
    if done.returncode != 0:
        raise OSError(done.stderr.strip())


def server_account() -> pwd.struct_passwd:
    """Return the unprivileged account that runs the server if the user is root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise GranaryError("PostgreSQL refuses to run as root: create a user postgres to run it, or work as another user.")


def socket_directory(real: Path) -> Path:
    """Return the socket's directory: the server's home, or a short path if the home's is too long for a socket."""
    too_long = len(os.fsencode(real / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT
    unusable = too_long or "," in str(real)  # libpq takes a host with commas for several hosts
    return Path("/tmp") / f"granary-{short_hash(real)}" if unusable else real


def make_socket_directory(real: Path) -> Path:
    """Create the socket's directory unless it is the home itself; raise GranaryError if others can reach it."""
    directory = socket_directory(real)
    if directory != real:
        run_as_owner(real, ["mkdir", "-m", "700", str(directory)])
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != real.stat().st_uid or found.st_mode & 0o077:
            raise GranaryError(f"{directory} isn't a private directory of {real.owner()}: remove it.")
    return directory


def short_hash(path: Path) -> str:
    """Return a short name for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
