"""A short run with a fixed seed; `python -m tests.chaos --help` tells of the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import town
from tests.interop.servers import CHECKOUT

pytestmark = [pytest.mark.interop, pytest.mark.slow]
SEED, SECONDS = 8, 20


def test_a_short_run_is_clean(tmp_path: Path) -> None:
    if lacking := town.missing():
        pytest.skip(lacking)  # it says which package is not installed
    # A process of its own: its reactor cannot be started twice, and what it starts dies with it.
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", f"--seed={SEED}", f"--minutes={SECONDS / 60}", f"--keep={tmp_path}"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "twistd-plugins")))},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5000:]
