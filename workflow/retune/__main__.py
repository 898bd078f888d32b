"""`python -m retune COMMAND`."""

import signal
import sys

from retune.cli import main

# Leave as after an error: folders half-written are removed and ranks are ended.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
sys.exit(main())
