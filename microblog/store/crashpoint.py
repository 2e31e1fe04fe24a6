"""Named points at which a test can kill the process as a power cut would.

``MICROBLOG_CRASH=K4:3`` in the environment kills this process at its third passing of the point K4, with a signal
that nothing can catch. Without that variable a point costs one comparison. The points of a publish:

K1 before BEGIN; K2 the post is written, the outbox not yet; K3 before COMMIT; K4 committed, nobody told; K5 the author
told, nobody else; K6 bytes to another server written, no acknowledgement; K7 acknowledged, outbox row still there;
K8 received, before the receiver's commit; K9 the receiver committed, not yet acknowledged; K10 acknowledged, its own
readers not yet told.
"""

import os
import signal
import threading

_name, _, _passing = os.environ.get("MICROBLOG_CRASH", "").partition(":")
_left = int(_passing or "1")
_lock = threading.Lock()


def crashpoint(name: str) -> None:
    """Die here if the environment says so."""
    if name != _name:
        return
    global _left
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
