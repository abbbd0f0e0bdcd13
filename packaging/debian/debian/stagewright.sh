#!/usr/bin/python3
"""Start Stagewright from the folder of its Debian package."""

import sys

sys.path.insert(0, "/usr/lib/stagewright")

from stagewright.cli.main import main

sys.exit(main())
