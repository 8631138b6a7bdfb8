"""`python -m worker`: claim work and do it, until SIGTERM or SIGINT."""

import sys

from app.loading import loading

with loading():
    from worker.main import main

if __name__ == "__main__":
    sys.exit(main())
