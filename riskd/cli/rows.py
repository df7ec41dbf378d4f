"""What the commands that train and evaluate share: the flags that choose rows, and reading them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from riskd.cli import settings
from riskd.cli.arguments import add_labels, whole_number
from riskd.cli.extras import require
from riskd.cli.terminal import complain, report_unreadable
from riskd.config import Settings, data_directory
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile, Problem
from riskd.core.features import DEFINITIONS
from riskd.progress import Begin
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.core.model import ForestDocument
    from riskd.offline.labels import LabelSource
    from riskd.offline.logs import Log
    from riskd.offline.rows import Rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose rows."""
    settings.add_arguments(parser)
    parser.add_argument("--domain", choices=DOMAINS, required=True, help="identity domain; each has a model of its own")
    parser.add_argument(
        "--log",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="directory of a decision log, a dataset, or a simulation (`riskd simulate`); repeatable (default: "
        "log.dir, unless --rba-dataset is given)",
    )
    parser.add_argument(
        "--rba-dataset",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="CSV file of the public RBA data set, which is run through the engine; repeatable",
    )
    parser.add_argument(
        "--rba-rows", metavar="N", type=whole_number, help="number of rows to read of each such file (default: all)"
    )
    add_labels(parser)


@contextmanager
def logs(args: argparse.Namespace, begin: Begin) -> Iterator[list[Path]]:
    """The logs that the flags name, else that of the settings. Logs of data sets are temporary.

    Raises InvalidSettings.
    """
    named = args.log or ([] if args.rba_dataset else [Path(settings.given(args).settings.log.dir)])
    with TemporaryDirectory(prefix="riskd-") as name:
        yield [
            *named,
            *(_replayed(file, Path(name) / str(at), args, begin) for at, file in enumerate(args.rba_dataset)),
        ]


def _replayed(file: Path, out: Path, args: argparse.Namespace, begin: Begin) -> Path:
    """Replay a data set into a log, in a directory with its name."""
    from riskd.offline.rba_log import replay
    from riskd.wiring import load_release

    directory = out / file.name
    directory.mkdir(parents=True)
    done = begin(f"replaying {file.name}", file.stat().st_size if file.is_file() else 1)
    release = load_release(Settings())
    counts = replay(file, release, directory, domain=args.domain, limit=args.rba_rows, progress=done)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    print(f"{file.name}: {reasons}", file=sys.stderr)
    return directory


def read(
    logs: Sequence[Path], truth: Path | None, wanted: LabelSource | None, domain: str, begin: Begin
) -> tuple[list[Rows], list[str], LabelSource]:
    """The rows of each log, the logs' names, and where the labels come from. Raises InvalidFile."""
    from riskd.offline.logs import labels_of, log_at

    found = [log_at(path, truth) for path in logs]
    labels = labels_of(found, wanted)
    rows = [_read(each, domain, labels, begin) for each in found]
    return rows, [each.name for each in found], labels


def _read(log: Log, domain: str, labels: LabelSource, begin: Begin) -> Rows:
    """The rows of a log's segments, or of its dataset."""
    from riskd.counts import Counts
    from riskd.offline.logs import is_dataset, read_log

    counts = Counts()
    if not is_dataset(str(log.directory)):
        rows = read_log(log, domain, labels, counts, begin)
        report_unreadable(counts["unreadable"], counts.first)
        return rows
    require("pyarrow", "a dataset is Parquet files")
    from riskd.offline.dataset.reading import Wanted, read_rows
    from riskd.offline.dataset.target import Target

    wanted = Wanted(domain=domain, truth=log.truth, by_truth=labels == "truth")
    rows = read_rows(Target.open(str(log.directory)), wanted, counts=counts, begin=begin)
    if not len(rows):
        what = f"has no assessment of domain {domain} with the features of this version of riskd"
        remedy = "name another log; `riskd replay` converts a log of another version"
        raise InvalidFile([Problem(str(log.directory), what, remedy)])
    if others := counts["other_features"]:
        many = quantity(others, "decision")
        complain(f"{log.directory}: leaves out {many} of a version with other features (`riskd replay` converts them)")
    return rows


def base_at(given: str, domain: str) -> tuple[str, ForestDocument | None]:
    """Version and forest of the bundle that `given` names: a directory, '' for the domain's champion, or `none`."""
    from riskd.adapters.model_file import load_model, read_forest
    from riskd.adapters.model_registry import Registry

    if given == "none":
        return "", None
    path = Path(given) if given else Registry(data_directory("models")).champion(domain)
    load_model(path, DEFINITIONS, domain=domain)
    return path.name, read_forest(path)


def prepare() -> None:
    """Check that scikit-learn is installed, and let its threads sleep while they wait. Call it before importing it.

    By default the threads spin, which makes training many times slower on busy processors. Raises InvalidSettings
    without the extra `train`.
    """
    require("sklearn", "models are trained and judged with scikit-learn")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
