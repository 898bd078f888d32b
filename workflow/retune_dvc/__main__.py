"""The entry point of `python -m retune_dvc COMMAND`."""

import os
import signal
import sys

try:
    from retune_dvc.command_line import main

    sys.exit(main())
except KeyboardInterrupt:
    # By the signal itself: after an exit code the shell of a job would run the step.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
