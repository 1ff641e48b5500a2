"""``maskwise pack``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import Json, bar
from maskwise.plain import speaks_plainly


@speaks_plainly
def pack(
    data: Annotated[str, typer.Argument(help="Folder, zip, zip@split or name:… (`maskwise datasets`).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the shards; a stopped packing goes on in it.")],
    size_mb: Annotated[float, typer.Option("--size-mb", help="Megabytes of a shard, at most.")] = 1024,
    count: Annotated[int | None, typer.Option("--count", help="Pictures of a shard, whatever its size.")] = None,
    shuffle: Annotated[int | None, typer.Option("--shuffle", min=0, help="Seed of a random order.")] = None,
    as_json: Json = False,
) -> None:
    """DATA as WebDataset shards with boxes and masks inside, to be read from a disk or an object store."""
    from maskwise.core.files import check_writable
    from maskwise.data import read_data
    from maskwise.data.pack import pack as run

    check_writable(out)
    with bar("pictures") as step:
        packed = run(read_data(data), out, size_mb=size_mb, count=count, shuffle=shuffle, progress=step)
    if as_json:
        facts = {"folder": str(out), "pictures": packed.pictures, "shards": packed.shards, "bytes": packed.size}
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"{out}: {packed.pictures} pictures in {packed.shards} shards, {packed.size / 1e6:.1f} MB")
