"""Landing files as streams of UTF-8: unpacked, and hashed as they were delivered while they are read."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import tqdm

from granary.loader import records
from granary.loader.landing import LandingFile
from granary.project import GranaryError

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


class Unpacked(gzip.GzipFile):
    """The content of a gzip file, up to the size that is allowed."""

    def __init__(self, file: LandingFile, stream: io.BufferedReader) -> None:
        super().__init__(fileobj=stream)
        setting = os.environ.get("GRANARY_GZIP_EXPANSION") or str(EXPANSION)
        if not setting.isdecimal() or not int(setting):
            raise GranaryError(f"invalid GRANARY_GZIP_EXPANSION {setting}: set a whole number, such as {EXPANSION}")
        self.most, self.count = max(ANY_SIZE, int(setting) * file.size), 0
        self.refusal = (
            f"{file.relative}: {file.size:,} bytes of gzip unpack to more than {self.most:,}: if that is right, raise"
            f" GRANARY_GZIP_EXPANSION, how many times its size a file may unpack to (now {setting})"
        )

    def read(self, size: int | None = -1) -> bytes:
        """Read as GzipFile does; raise GranaryError above the allowed size."""
        data = super().read(size)
        self.count += len(data)
        if self.count > self.most:
            raise GranaryError(self.refusal)
        return data


class Transcoded(io.RawIOBase):
    """The UTF-8 of a stream in another encoding."""

    def __init__(self, file: LandingFile, stream: io.BufferedReader, encoding: str) -> None:
        self.file, self.encoding, self.rest = file, encoding, b""
        self.text = io.TextIOWrapper(stream, encoding, newline="")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as much as fits."""
        try:
            data = self.rest or self.text.read(len(buffer)).encode()
        except UnicodeError as error:
            raise GranaryError(f"{self.file.relative}: not valid {self.encoding.upper()}: {error.reason}") from None
        count = min(len(data), len(buffer))
        buffer[:count], self.rest = data[:count], data[count:]
        return count


@contextlib.contextmanager
def opened(file: LandingFile) -> Iterator[tuple[Source, io.BufferedReader]]:
    """Yield the file and a stream of its decompressed bytes, in UTF-8, which begins after a byte order mark."""
    with Source(file) as source, source.bar:
        stream = io.BufferedReader(source, records.BLOCK)
        is_gzip = stream.peek(len(GZIP)).startswith(GZIP)
        try:
            if file.path.suffix.lower() == ".gz":
                stream = io.BufferedReader(Unpacked(file, stream), records.BLOCK)
            start = stream.peek(4)
            if start.startswith(codecs.BOM_UTF8):
                stream.read(len(codecs.BOM_UTF8))
            elif encoding := next((name for mark, name in WIDE_ENCODINGS if start.startswith(mark)), None):
                stream = io.BufferedReader(Transcoded(file, stream, encoding), records.BLOCK)
            yield source, stream
        except gzip.BadGzipFile as error:
            if is_gzip and "Not a gzipped file" in str(error):
                raise GranaryError(f"{file.relative}: other bytes follow the gzip data: deliver it again") from None
            raise


def sha256(file: LandingFile) -> str:
    """Return the SHA-256 of a file as it was delivered."""
    with Source(file) as source, source.bar:
        return source.digest()
