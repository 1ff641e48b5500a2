"""A file on its way in: the form around it is read as it comes, and nothing of it touches the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from maskwise.core.errors import InputError
from maskwise.web.pictures import MAX_BYTES, too_many_bytes
from maskwise.web.uploads import NoRoomError, TooSlowError, Upload, Uploads

MOST_OVER = 5 * MAX_BYTES  # bytes of a refused upload
SECONDS_OVER = 5.0
AROUND = 16_000  # bytes of the form beside the file


async def receive_file(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    headers: Mapping[str, str],
    upload: Upload,
    uploads: Uploads,
) -> bool:
    """Reads the first file of a form into an upload; False where the visitor left before it was there.

    Args:
        receive: the request's parts, as ASGI gives them.
        headers: of the request, lower case.

    Raises:
        NoRoomError: too large, too much at once, or too slow.
        InputError: no form, none with a file in it, or a damaged one.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InputError("an upload is a form with one file")
    if (
        headers.get("content-length", "0").isdecimal()
        and int(headers.get("content-length", "0")[:20]) > MAX_BYTES + AROUND
    ):
        raise NoRoomError(too_many_bytes())
    form = _FirstFile(upload, uploads)
    try:
        parser = MultipartParser(boundary, form.callbacks())
    except FormParserError:
        raise InputError("an upload is a form with one file") from None
    came = 0
    while True:
        try:
            left = upload.since + uploads.seconds - uploads.clock()
            message = await asyncio.wait_for(receive(), max(left, 0.01))
        except asyncio.TimeoutError:
            raise TooSlowError(f"the upload took more than {uploads.seconds:g} s") from None
        if message["type"] == "http.disconnect":
            return False
        part = message.get("body", b"")
        came += len(part)
        if came > MAX_BYTES + AROUND:
            raise NoRoomError(too_many_bytes())
        try:
            parser.write(part)
        except FormParserError:
            raise InputError("the form is damaged") from None
        if not message.get("more_body", False):
            break
    if not form.ended:
        raise InputError("an upload is a form with one file")
    return True


async def read_over(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Reads what still comes of a refused upload and forgets it: a browser shows no answer before it has sent all.

    It is given up after ``MOST_OVER`` bytes or ``SECONDS_OVER`` seconds; who sends more sees a broken connection.
    """

    async def rest() -> None:
        left = MOST_OVER
        while left > 0:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rest(), SECONDS_OVER)


class _FirstFile:
    """Finds the first part with a file in it; others are read over."""

    def __init__(self, upload: Upload, uploads: Uploads) -> None:
        self.upload, self.uploads = upload, uploads
        self.ended = False
        self._inside = False
        self._name, self._value = b"", b""

    def callbacks(self) -> Any:
        """As the parser takes them."""
        return {
            "on_header_field": self._field,
            "on_header_value": self._header,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition" and not self.ended:
            options = parse_options_header(self._value)[1]
            self._inside = b"filename" in options
            if self._inside:
                self.upload.name = options[b"filename"].decode("utf-8", "replace")[:300]
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.uploads.add(self.upload, data[start:end])

    def _end(self) -> None:
        self.ended = self.ended or self._inside
        self._inside = False
