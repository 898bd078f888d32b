"""`python -m retune COMMAND`."""

import signal
import sys

from retune.starter import GONE

# Leave as after an error: folders half-written are removed and ranks are ended.
for number in (signal.SIGTERM, GONE):
    signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
try:
    from retune.cli import main
except KeyboardInterrupt:  # before anything has begun: nothing to say
    sys.exit(128 + signal.SIGINT)
sys.exit(main())
