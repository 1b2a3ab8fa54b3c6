"""Parquet shards, written as a stream: memory holds one row group, whatever the set's size.

Row groups are cut by bytes, not by rows: the Hub's viewer refuses groups over 286 MB, and pictures differ a
thousandfold in size. Pictures are stored as they are, for no codec makes a JPEG smaller; all else is compressed. Pages
follow content, so that a set of which a part has changed uploads that part.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataforge.records import Record
from dataforge.runs import writing

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

GROUP_BYTES = 32_000_000
"""Of the pictures in one row group; at most one row more."""
BINARY = {"images", "image", "video"}
"""Columns of pictures."""


class Shard(Record):
    """A finished file of the set."""

    sha256: str
    bytes: int
    rows: int


class ShardWriter:
    """Writes rows of one configuration and split into files of about `shard_bytes`."""

    def __init__(self, folder: Path, prefix: str, schema: "pyarrow.Schema", shard_bytes: int, first: int = 0) -> None:
        self.shards: dict[str, Shard] = {}
        """By path under the folder."""
        self._folder = folder
        self._prefix = prefix
        self._schema = schema
        self._shard_bytes = shard_bytes
        self._next = first
        self._rows: list[dict[str, Any]] = []
        self._held = 0
        self._written = 0
        self._count = 0
        self._writer: pyarrow.parquet.ParquetWriter | None = None

    @property
    def path(self) -> Path:
        return self._folder / f"{self._prefix}-{self._next:05d}.parquet"

    def write(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._held += _weight(row)
        if self._held >= GROUP_BYTES:
            self._flush()
            if self._written >= self._shard_bytes:
                self._finish()

    def close(self) -> None:
        """Write what is held, and end the last file."""
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._finish()

    def _flush(self) -> None:
        import pyarrow

        with writing(self.path):
            if self._writer is None:
                self._writer = self._open()
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._count += len(self._rows)
        self._written += self._held
        self._rows, self._held = [], 0

    def _open(self) -> "pyarrow.parquet.ParquetWriter":
        import pyarrow.parquet

        self.path.parent.mkdir(parents=True, exist_ok=True)
        leaves = _leaves(self._schema)
        return pyarrow.parquet.ParquetWriter(
            self._temporary,
            self._schema,
            compression={leaf: "NONE" if leaf.split(".")[0] in BINARY else "SNAPPY" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if leaf.split(".")[0] not in BINARY],
            write_statistics=[leaf for leaf in leaves if leaf.split(".")[0] not in BINARY],
            write_page_index=True,
            use_content_defined_chunking=True,
        )

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.tmp")

    def _finish(self) -> None:
        assert self._writer is not None
        with writing(self.path):
            self._writer.close()
            os.replace(self._temporary, self.path)
        self.shards[self.path.relative_to(self._folder).as_posix()] = weigh(self.path, self._count)
        self._writer, self._count, self._written = None, 0, 0
        self._next += 1


def weigh(path: Path, rows: int = 0) -> Shard:
    """A file's hash and size."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
    return Shard(sha256=digest.hexdigest(), bytes=path.stat().st_size, rows=rows)


def _weight(row: dict[str, Any]) -> int:
    """Bytes of a row's pictures, and of its texts by a rule of thumb."""
    cells = [*(row.get("images") or []), row.get("image"), {"bytes": row.get("video")}]
    return 4096 + sum(len(cell["bytes"] or b"") for cell in cells if isinstance(cell, dict))


def _leaves(schema: "pyarrow.Schema") -> list[str]:
    """Paths of the leaf columns, as parquet names them."""
    return [path for field in schema for path in _leaf_paths(field.name, field.type)]


def _leaf_paths(name: str, kind: Any) -> list[str]:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return [path for field in kind for path in _leaf_paths(f"{name}.{field.name}", field.type)]
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return _leaf_paths(f"{name}.list.element", kind.value_type)
    return [name]
