"""`python -m retune COMMAND`."""

import signal
import sys

# Leave as after an error: folders half-written are removed and ranks are ended.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
try:
    from retune.cli import main
except KeyboardInterrupt:  # before anything has begun: nothing to say
    sys.exit(128 + signal.SIGINT)
sys.exit(main())
