"""`python -m worker.broker start|stop|status`: the embedded broker by hand."""

import sys

from worker.process.embedded_broker import main

if __name__ == "__main__":
    sys.exit(main())
