#!/usr/bin/env python3
"""Put one scenario of load on an XMPP server: see README.md beside this file.

xmppload.py --host 127.0.0.2 --domain a.example --pid 4711 fanout -n 1000 -m 50
"""

import sys

from loadgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
