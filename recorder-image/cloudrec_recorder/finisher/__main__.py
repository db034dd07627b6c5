"""`python -m cloudrec_recorder.finisher`."""

import sys

from cloudrec_recorder.finisher.main import main

sys.exit(main())
