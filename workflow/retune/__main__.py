"""`python -m retune STEP`."""

import sys

from retune.cli import main

sys.exit(main())
