"""The towns and nodes of the other tests, for hostile visitors."""

from tests.interop.conftest import _start as _start
from tests.interop.conftest import ca as ca
from tests.interop.conftest import microblog_node as microblog_node
from tests.interop.conftest import network as network
from tests.interop.conftest import pytest_runtest_makereport as pytest_runtest_makereport
from tests.xep.conftest import square as square
