"""Reads a CSV file of servers as spreadsheets write them: any of three separators, with or without a BOM.

What is wrong is said by line and column; what a cell holds is never repeated, since it may be a password.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

COLUMNS = (
    *("serial", "server_type", "driver", "address", "username", "password"),
    *("trust", "certificate", "plain_http", "drained"),
)
NEEDED = ("serial", "server_type", "address")
"""The columns without which nothing can be added."""
LINES_MAX = 10_000
BYTES_MAX = 2 * 1024 * 1024

_YES, _NO = {"yes", "true", "1", "y", "on"}, {"no", "false", "0", "n", "off"}


class SheetError(Exception):
    """A file that cannot be read at all. Its text is a sentence."""


@dataclass(frozen=True)
class Line:
    """A line that is not empty. `cells` are those that hold something, by column; `wrong` why it cannot be used."""

    number: int
    cells: dict[str, str] = field(repr=False)
    wrong: str = ""


def text_of(data: bytes) -> tuple[str, str]:
    """Answers what a file says, and a remark when its encoding had to be guessed. Raises SheetError."""
    if len(data) > BYTES_MAX:
        raise SheetError(f"The file is larger than {BYTES_MAX // 1024 // 1024} MB. Import it in parts.")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
        remark = ""
    except UnicodeDecodeError:
        # What spreadsheets on Windows write. Every byte means something in Latin-1, right or wrong.
        text = data.decode("cp1252", errors="replace")
        remark = (
            "The file is not UTF-8 and was read as Windows-1252. Look at letters with accents, in passwords as well."
        )
    if "\0" in text:
        raise SheetError("This is no CSV file. Save the sheet as “CSV UTF-8” and choose that.")
    return text, remark


def lines_of(text: str) -> list[Line]:
    """Answers the lines under the first one, which names the columns. Raises SheetError."""
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    # A sheet whose columns are apart otherwise has one column only, with separators in its name.
    separator = max(",;\t", key=header_line.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[Line] = []
    header: list[str] = []
    ended = 0
    try:
        for row in rows:
            # A certificate goes over many lines; it is found by the first.
            began, ended = ended + 1, rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = _header(row)
            elif len(lines) == LINES_MAX:
                raise SheetError(f"The file has more than {LINES_MAX:,} servers. Import it in parts.")
            else:
                lines.append(_line(began, row, header))
    except csv.Error as error:
        raise SheetError(
            f"Line {rows.line_num} cannot be read: a quote is not closed, or text follows one. Nothing was read."
        ) from error
    if not header:
        raise SheetError("The file is empty.")
    return lines


def _header(row: Iterable[str]) -> list[str]:
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in row]
    while header and not header[-1]:
        header.pop()  # of columns that were emptied
    if missing := [name for name in NEEDED[:1] if name not in header]:
        raise SheetError(
            f"The first line must name the columns, and has no “{missing[0]}”. Known are: {', '.join(COLUMNS)}."
        )
    # Not repeated: without a first line that names columns, these are the cells of a server.
    if unknown := [at for at, name in enumerate(header, 1) if name not in COLUMNS]:
        raise SheetError(f"The name of column {unknown[0]} is not known. Known are: {', '.join(COLUMNS)}.")
    if len(set(header)) < len(header):
        raise SheetError("Two columns have the same name.")
    return header


def _line(number: int, row: list[str], header: list[str]) -> Line:
    cells = {
        name: cell if name == "password" else cell.strip()
        for name, cell in zip(header, row, strict=False)
        if cell.strip()
    }
    wrong = ""
    if any(cell.strip() for cell in row[len(header) :]):
        wrong = (
            f"It has more cells than the {len(header)} columns. Put quotes around a cell that has a separator in it."
        )
    return Line(number, cells, wrong)


def yes_or_no(cell: str) -> bool | None:
    """Answers what a cell means, null when it means neither."""
    word = cell.lower()
    return True if word in _YES else False if word in _NO else None


def template(server_types: Iterable[str], drivers: Iterable[str]) -> str:
    """Answers a file to begin with: the columns, and a line for each driver that is refused until it is filled in."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    server_type = next(iter(server_types), "M.16.64")
    for number, driver in enumerate(drivers, 1):
        address = f"https://bmc-{number}.example.org" if driver == "redfish" else f"{driver}://rack-1-{number:02}"
        row = {"serial": f"EXAMPLE-{number}", "server_type": server_type, "driver": driver, "address": address}
        if driver == "redfish":
            row |= {"username": "editor", "password": "", "trust": "system", "plain_http": "no"}
        writer.writerow([row.get(name, "no" if name == "drained" else "") for name in COLUMNS])
    return out.getvalue()
