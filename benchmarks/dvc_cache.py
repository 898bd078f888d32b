"""Measures what each value of DVC's setting cache.type costs, in time and on disk.

In a new repository, one stage whose output is a folder of four files of random bytes:
commit it, commit it again, ask for its status, delete it and check it out; last, write
the same bytes anew, as a repeated step does, and commit once more.

    python benchmarks/dvc_cache.py [--size-gb 2] [--repeat 3] [--folder FOLDER]

Prints Markdown. Needs git, dvc, and in the folder three times the size; no network. The
lost space is right only where nothing else writes to the folder's filesystem.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from machine import describe_machine

TYPES = (
    "copy",
    "hardlink",
    "symlink",
    "reflink,hardlink,copy",
    "hardlink,reflink,copy",
)
FILES = 4
CHUNK = 16 * 2**20
GB = 10**9

TIMES = ("commit", "commit again", "status", "checkout")
MOMENTS = ("commit", "checkout", "same bytes again")
# Two views: the blocks of every inode, and the space that the filesystem lost. Where
# files share blocks (reflink), only the second one is what they take.
DISK = tuple(f"{moment}, {view}" for moment in MOMENTS for view in ("inodes", "space"))

Figures = dict[str, float]


@dataclass(frozen=True)
class Repository:
    """A folder under git and DVC with one stage, `make`, whose output is `output/`."""

    folder: Path

    @property
    def output(self) -> Path:
        """The folder that the stage writes."""
        return self.folder / "output"

    def create(self, cache_type: str) -> None:
        """Make the repository, its state beside it and not in the user's own."""
        self.folder.mkdir()
        self.run("git", "init", "--quiet")
        self.dvc("init", "--quiet")
        (self.folder / ".dvc/config").write_text(
            "[core]\n    analytics = false\n    check_update = false\n"
            f'[cache]\n    type = "{cache_type}"\n'
        )
        (self.folder / "dvc.yaml").write_text(
            'stages:\n  make:\n    cmd: "true"\n    outs: [output]\n'
        )

    def run(self, *command: str) -> None:
        """Run a command here.

        Raises:
            RuntimeError: With what it wrote, if it fails.
        """
        state = self.folder.with_suffix(".state")
        environment = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(state)}
        result = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr}")

    def dvc(self, *arguments: str) -> None:
        """Run DVC here."""
        self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self) -> None:
        """Record the output, as retune does after a step."""
        self.dvc("commit", "--force", "make")

    def write(self, size: int) -> None:
        """Write the output: random bytes, `size` in all."""
        self.output.mkdir()
        for number in range(FILES):
            with (self.output / f"{number}.bin").open("wb") as file:
                for length in pieces(size // FILES):
                    file.write(os.urandom(length))

    def write_again(self) -> None:
        """Replace each file of the output by a new one of the same bytes."""
        for path in sorted(self.output.iterdir()):
            new = path.with_suffix(".new")
            shutil.copyfile(path, new)
            new.replace(path)

    def used(self) -> int:
        """Return the bytes of the blocks of output and cache, each inode once."""
        found = [
            path.stat()
            for folder in (self.output, self.folder / ".dvc/cache")
            for path in folder.rglob("*")
            if path.is_file()
        ]
        return sum({file.st_ino: file.st_blocks * 512 for file in found}.values())


def pieces(size: int) -> Iterator[int]:
    """Yield lengths of at most CHUNK that add up to `size`."""
    for start in range(0, size, CHUNK):
        yield min(CHUNK, size - start)


def free_space(folder: Path) -> int:
    """Return the free bytes of a folder's filesystem, once all is written."""
    os.sync()
    status = os.statvfs(folder)
    return status.f_bfree * status.f_frsize


def seconds(action: Callable[[], None]) -> float:
    """Return how long an action takes; what others left to write is written first."""
    os.sync()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(cache_type: str, folder: Path, size: int) -> Figures:
    """Take all figures once, in a new repository that is removed afterwards.

    Args:
        cache_type: A value of cache.type.
        folder: Where to make the repository.
        size: Bytes of the output.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="dvc-cache-") as scratch:
        repository = Repository(Path(scratch) / "repository")
        repository.create(cache_type)
        free = free_space(folder)
        figures: Figures = {}

        def weigh(moment: str) -> None:
            figures[f"{moment}, space"] = (free - free_space(folder)) / GB
            figures[f"{moment}, inodes"] = repository.used() / GB

        repository.write(size)
        figures["commit"] = seconds(repository.commit)
        weigh("commit")
        figures["commit again"] = seconds(repository.commit)
        figures["status"] = seconds(lambda: repository.dvc("status", "make"))
        shutil.rmtree(repository.output)
        figures["checkout"] = seconds(lambda: repository.dvc("checkout", "make"))
        weigh("checkout")
        repository.write_again()
        repository.commit()
        weigh("same bytes again")
        return figures


def table(
    rows: dict[str, list[Figures]], columns: Iterable[str], digits: int
) -> Iterator[str]:
    """Yield the lines of a Markdown table: median (min-max) of each column."""
    columns = list(columns)
    yield f"| cache.type | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for cache_type, runs in rows.items():
        cells = (spread([run[column] for run in runs], digits) for column in columns)
        yield f"| `{cache_type}` | {' | '.join(cells)} |"


def spread(values: list[float], digits: int) -> str:
    """Return "median (min-max)", or one number if all are the same."""
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def filesystem_of(folder: Path) -> str:
    """Return the type of the filesystem that a folder is on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    # Of two mounts on the same folder, the later one is seen.
    return max(enumerate(above), key=lambda item: (len(item[1][1]), item[0]))[1][2]


def main() -> None:
    """Measure every type in turn, as often as asked, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size-gb", type=float, default=2, help="size of the output")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of all types")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work"
    )
    options = parser.parse_args()
    # Ended from outside, it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: dict[str, list[Figures]] = {cache_type: [] for cache_type in TYPES}
    for number in range(options.repeat):
        for cache_type, runs in rows.items():
            print(f"round {number + 1}: {cache_type}", file=sys.stderr)
            runs.append(measure(cache_type, options.folder, int(options.size_gb * GB)))
    filesystem = filesystem_of(options.folder)
    print(f"{describe_machine('dvc', 'dvc-data')}, {filesystem}")
    print(f"\nSeconds, {options.size_gb:g} GB in {FILES} files:\n")
    print("\n".join(table(rows, TIMES, digits=1)))
    print("\nGB on disk after each, output and cache together:\n")
    print("\n".join(table(rows, DISK, digits=2)))


if __name__ == "__main__":
    main()
