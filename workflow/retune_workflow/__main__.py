"""The entry point of `python -m retune_workflow COMMAND`."""

import signal
import sys

try:
    from retune_workflow.command_line import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
