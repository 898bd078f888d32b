"""A disk that is full while a checkpoint is written: one sentence about it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retune.checkpoints.checkpoint_files import UNFINISHED
from retune.compat.pytorch_errors import is_full_disk_error
from retune.errors import RetuneError
from retune.units import GB


@contextmanager
def full_disk_explained(stage: Path) -> Iterator[None]:
    """Raise a RetuneError in place of what DeepSpeed and PyTorch say of a full disk.

    Args:
        stage: Folder of the unfinished checkpoint, which is then removed.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_full_disk(error):
            raise
        free = shutil.disk_usage(stage.parent).free / GB
        shutil.rmtree(stage, ignore_errors=True)
        raise RetuneError(
            f"{stage.parent}: the disk is full ({free:,.1f} GB free), so the checkpoint"
            f" of step {int(stage.name.removeprefix(UNFINISHED))} could not be written;"
            " earlier ones are intact: make room and run again to resume"
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or its cause, says that no more can be written."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in full:
        return True
    if is_full_disk_error(error):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_full_disk(cause)
