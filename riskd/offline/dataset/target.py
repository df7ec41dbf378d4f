"""Where a dataset is stored: a directory on any file system that Arrow supports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException, RecordBatch, Schema, Table, nulls
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, SubTreeFileSystem

from riskd.core.errors import InvalidFile, InvalidSettings, Problem
from riskd.host.files import DRAFT, sync


class Target:
    """The directory of one dataset. Paths are relative to it."""

    def __init__(self, name: str, files: FileSystem, local: Path | None = None) -> None:
        """`name`: for messages; `files`: the file system, rooted at the directory; `local`: the directory's path if it
        is local."""
        self.name = name
        self.files = files
        self._local = local

    @classmethod
    def open(cls, name: str) -> Target:
        """Open a directory by its path or a URL such as `s3://bucket/path`, `gs://`, `hdfs://`. Raises
        InvalidSettings."""
        if "://" not in name:
            local = Path(name).absolute()
            return cls(name, SubTreeFileSystem(str(local), LocalFileSystem()), local)
        try:
            base, path = FileSystem.from_uri(name)
        except (ArrowException, OSError) as error:
            remedy = "name a directory, or s3://bucket/path, gs://bucket/path"
            raise InvalidSettings([Problem("log.dataset", f"{name}: {error}", remedy)]) from error
        return cls(name, SubTreeFileSystem(path, base), Path(path) if isinstance(base, LocalFileSystem) else None)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None if there is none. Raises InvalidFile."""
        with self._using(path), suppress(FileNotFoundError), self.files.open_input_stream(path) as stream:
            return bytes(stream.read())
        return None

    def replace(self, path: str, content: bytes) -> None:
        """Write a file atomically: a reader sees the old or the new content. Raises InvalidFile."""
        with self._using(path):
            if self._local is not None:
                self._local.mkdir(parents=True, exist_ok=True)
            with self.files.open_output_stream(path + DRAFT) as stream:
                stream.write(content)
            self._sync(path + DRAFT)
            self.files.move(path + DRAFT, path)

    def write(self, path: str, table: Table) -> None:
        """Write a new Parquet file: zstd, dictionary encoding for text columns only. Raises InvalidFile."""
        words = [field.name for field in table.schema if str(field.type).startswith(("string", "list"))]
        with self._using(path):
            self.files.create_dir(path.rpartition("/")[0], recursive=True)
            pq.write_table(table, path, filesystem=self.files, compression="zstd", use_dictionary=words)
            self._sync(path)

    def table(self, path: str, schema: Schema) -> Table:
        """Read a Parquet file; columns that it lacks are null. Raises InvalidFile."""
        with self._using(path):
            file = pq.ParquetFile(self.files.open_input_file(path))
            content = file.read([name for name in schema.names if name in file.schema_arrow.names])
        missing = [name for name in schema.names if name not in content.schema.names]
        for name in missing:
            content = content.append_column(schema.field(name), nulls(content.num_rows, schema.field(name).type))
        return content.select(schema.names)

    def batches(self, path: str, columns: Sequence[str], rows: int) -> Iterator[RecordBatch]:
        """Read a Parquet file in batches of `rows`. Raises InvalidFile."""
        with self._using(path):
            yield from pq.ParquetFile(self.files.open_input_file(path)).iter_batches(rows, columns=list(columns))

    @contextmanager
    def readable(self) -> Iterator[None]:
        """For reading files that a manifest names, which a compaction may replace meanwhile. Raises InvalidFile."""
        try:
            yield
        except (ArrowException, OSError) as error:
            remedy = "try again: a compaction may have replaced it; else check that it exists and is not damaged"
            raise InvalidFile([Problem(self.name, str(error), remedy)]) from error

    def listed(self, folder: str) -> list[str]:
        """Every file below a folder."""
        chosen = FileSelector(folder, allow_not_found=True, recursive=True)
        return [one.path for one in self.files.get_file_info(chosen) if one.type == FileType.File]

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; missing ones are ignored. Raises InvalidFile."""
        for path in paths:
            with self._using(path), suppress(FileNotFoundError):
                self.files.delete_file(path)

    def _sync(self, path: str) -> None:
        """Flush a local file to disk before anything refers to it. Object stores guarantee this themselves."""
        if self._local is not None:
            sync(self._local / path)

    @contextmanager
    def _using(self, path: str) -> Iterator[None]:
        try:
            yield
        except (ArrowException, OSError) as error:
            remedy = "check that it exists, has space, and that this user may read and write it"
            raise InvalidFile([Problem(f"{self.name}/{path}", str(error), remedy)]) from error
