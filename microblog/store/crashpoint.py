"""Named points at which a test can kill the process as a power cut would.

``MICROBLOG_CRASH=K4:FILE`` in the environment kills this process when it passes the point K4 and FILE exists, with a
signal that nothing can catch: a test starts the server, lets everybody log in, and makes the file when what it wants
to try comes next. Without that variable a point costs one comparison. The points of a publish:

K1 before BEGIN; K2 the post is written, the outbox not yet; K3 before COMMIT; K4 committed, nobody told; K5 the author
told, nobody else; K6 bytes to another server written, no acknowledgement; K7 acknowledged, outbox row still there;
K8 received, before the receiver's commit; K9 the receiver committed, not yet acknowledged; K10 acknowledged, its own
readers not yet told; K11 some of its readers told. Of a long backlog: K18 its marks are there, and its rows still are.
Of a post for very many domains: K22 some more of them are owed it, and how far it came is not written down.
Of a rule: K20 it has decided, nothing is done; K21 it was told, and is not yet struck off.
"""

import os
import signal

_name, _, _file = os.environ.get("MICROBLOG_CRASH", "").partition(":")


def crashpoint(name: str) -> None:
    """Die here if the environment says so."""
    if name == _name and os.path.exists(_file):
        os.kill(os.getpid(), signal.SIGKILL)
