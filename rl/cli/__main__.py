"""`python -m rl.cli` is the command `interleave`."""

import sys

from rl.cli.main import main

sys.exit(main())
