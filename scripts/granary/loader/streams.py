"""Landing files as streams of UTF-8: unpacked, and hashed as they were delivered while they are read."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import tqdm

from granary.loader import records
from granary.loader.landing import LandingFile
from granary.project import GranaryError, check_packages

PROGRESS_FROM = 16 << 20  # bytes: smaller files are loaded before anyone could read a progress bar
ANY_SIZE = 16 << 20  # bytes that a gzip file may always unpack to
EXPANSION = 100  # times its size that a larger one may: CSV and JSON unpack to 5 to 30 times theirs, a bomb to 1,000
GZIP = b"\x1f\x8b"  # what gzip data begins with
WIDE_ENCODINGS = (  # by their byte order marks; the first two begin alike
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Source(io.FileIO):
    """A file that is hashed, and shown in a progress bar, while it is read."""

    def __init__(self, file: LandingFile) -> None:
        super().__init__(file.path)
        size = file.path.stat().st_size
        hidden = None if size >= PROGRESS_FROM else True  # None: the bar is shown on a terminal only
        self.bar = tqdm.tqdm(total=size, desc=file.label, unit="B", unit_scale=True, leave=False, disable=hidden)
        self.hash = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        """Read as FileIO does; hash and count the bytes."""
        count = super().readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        self.bar.update(count)
        return count

    def digest(self) -> str:
        """Read on to the end; return the SHA-256 of the file as it was delivered."""
        while self.readinto(bytearray(records.BLOCK)):
            pass
        return self.hash.hexdigest()


class Unpacked(io.RawIOBase):
    """The content of a compressed file, up to the size that is allowed."""

    def __init__(self, file: LandingFile, content: Any) -> None:
        self.content = content
        setting = os.environ.get("GRANARY_GZIP_EXPANSION") or str(EXPANSION)
        if not setting.isdecimal() or not int(setting):
            raise GranaryError(f"invalid GRANARY_GZIP_EXPANSION {setting}: set a whole number, such as {EXPANSION}")
        self.most, self.count = max(ANY_SIZE, int(setting) * file.size), 0
        self.refusal = (
            f"{file.relative}: {file.size:,} bytes unpack to more than {self.most:,}: if that is right, raise"
            f" GRANARY_GZIP_EXPANSION, how many times its size a file may unpack to (now {setting})"
        )

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits; raise GranaryError above the allowed size."""
        data = self.content.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        if self.count > self.most:
            raise GranaryError(self.refusal)
        return len(data)


class Transcoded(io.RawIOBase):
    """The UTF-8 of a stream in another encoding. A byte that this one doesn't have stays, and costs its line."""

    def __init__(self, file: LandingFile, stream: io.BufferedReader, encoding: str) -> None:
        self.file, self.stream, self.encoding, self.rest = file, stream, encoding, b""
        self.errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self.decoder = codecs.getincrementaldecoder(encoding)(self.errors)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits."""
        try:
            while not self.rest:
                block = self.stream.read(len(buffer))
                self.rest = self.decoder.decode(block, not block).encode("utf-8", self.errors)
                if not block:
                    break
        except UnicodeError as error:
            raise GranaryError(f"{self.file.relative}: not valid {self.encoding.upper()}: {error.reason}") from None
        count = min(len(self.rest), len(buffer))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


@contextlib.contextmanager
def unpacked(file: LandingFile, stream: io.BufferedReader) -> Iterator[io.BufferedReader]:
    """Yield the content of a compressed file."""
    with UNPACK[file.compression](file, stream) as content:
        yield io.BufferedReader(Unpacked(file, content), records.BLOCK)


@contextlib.contextmanager
def unpacked_zst(file: LandingFile, stream: io.BufferedReader) -> Iterator[Any]:
    """Yield the content of a file of Zstandard."""
    check_packages("formats", None, "backports.zstd")
    from backports import zstd

    try:
        with zstd.ZstdFile(stream) as content:
            yield content
    except zstd.ZstdError as error:
        raise GranaryError(f"{file.relative}: the Zstandard data is damaged: {error}: deliver it again") from None


@contextlib.contextmanager
def unpacked_zip(file: LandingFile, _: io.BufferedReader) -> Iterator[Any]:
    """Yield the content of the only file in an archive."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                found = f"{len(members)} files: {', '.join(member.filename for member in members[:3])}"
                raise GranaryError(f"{file.relative}: the archive has {found}: deliver each in an archive of its own")
            if members[0].flag_bits & 1:
                raise GranaryError(f"{file.relative}: the archive has a password: deliver it without one")
            with archive.open(members[0]) as content:
                yield content
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise GranaryError(f"{file.relative}: the archive is damaged: {error}: deliver it again") from None


UNPACK = {".gz": lambda _, stream: gzip.GzipFile(fileobj=stream), ".zst": unpacked_zst, ".zip": unpacked_zip}


@contextlib.contextmanager
def opened(file: LandingFile) -> Iterator[tuple[Source, io.BufferedReader]]:
    """Yield the file and a stream of its decompressed bytes, in UTF-8, which begins after a byte order mark.

    A byte order mark says more than the declared encoding.
    """
    with Source(file) as source, source.bar, contextlib.ExitStack() as stack:
        stream = delivered = io.BufferedReader(source, records.BLOCK)
        is_gzip = delivered.peek(len(GZIP)).startswith(GZIP)
        try:
            if file.compression:
                stream = stack.enter_context(unpacked(file, delivered))
            start, declared = stream.peek(4), codecs.lookup(file.entity.format.get("encoding") or "utf-8").name
            if start.startswith(codecs.BOM_UTF8):
                stream.read(len(codecs.BOM_UTF8))
            elif encoding := next((name for mark, name in WIDE_ENCODINGS if start.startswith(mark)), None):
                stream = io.BufferedReader(Transcoded(file, stream, encoding), records.BLOCK)
            elif declared not in ("utf-8", "utf-8-sig", "ascii"):
                stream = io.BufferedReader(Transcoded(file, stream, declared), records.BLOCK)
            yield source, stream
        except gzip.BadGzipFile as error:
            if is_gzip and "Not a gzipped file" in str(error):
                raise GranaryError(f"{file.relative}: other bytes follow the gzip data: deliver it again") from None
            raise


def sha256(file: LandingFile) -> str:
    """Return the SHA-256 of a file as it was delivered."""
    with Source(file) as source, source.bar:
        return source.digest()
