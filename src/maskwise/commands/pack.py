"""``maskwise pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Imports, Output
from maskwise.commands.groups.measuring import SOURCE
from maskwise.commands.registration import command
from maskwise.core.text import how_many


@command("pack", section="Files", after="same", example="maskwise pack voc:VOC2012@val --out shards --size-mb 256")
def pack_command(
    data: Annotated[str, typer.Argument(help=f"{SOURCE}.", autocompletion=completion.data_sources)],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the shards; a stopped packing goes on in it.", rich_help_panel="Output"),
    ],
    size_mb: Annotated[float, typer.Option("--size-mb", help="Megabytes of a shard, at most.")] = 1024,
    count: Annotated[int | None, typer.Option("--count", help="Pictures of a shard, whatever its size.")] = None,
    shuffle: Annotated[int | None, typer.Option("--shuffle", min=0, help="Seed of a random order.")] = None,
    *,
    imports: Imports,
    output: Output,
) -> None:
    """DATA as WebDataset shards with boxes and masks inside, to be read from a disk or an object store."""
    from maskwise.core.files import check_writable
    from maskwise.data import read_data
    from maskwise.data.pack import pack

    check_writable(out)
    with output.bar("pictures") as step:
        packed = pack(read_data(data), out, size_mb=size_mb, count=count, shuffle=shuffle, progress=step)
    facts = {"folder": str(out), "pictures": packed.pictures, "shards": packed.shards, "bytes": packed.size}
    output.tell(
        facts,
        lines=(
            f"{out}: {how_many(packed.pictures, 'picture')} in {how_many(packed.shards, 'shard')}, "
            f"{packed.size / 1e6:.1f} MB",
        ),
    )
