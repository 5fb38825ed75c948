"""``python -m gcma``."""

import sys

from gcma.cli import main

sys.exit(main())
