"""Where the servers of a test are: addresses of loopback, and a name server that says so.

Each domain gets an address of its own in 127/8 and ports that were free; all servers find one another by SRV
records of invented names, so neither root nor /etc/hosts is needed. The SRV target is the address written as
a name: ejabberd hands the target to the C library, which would not ask us, but reads a written address.
Names must end in something nobody reserved: libunbound, by which Prosody asks, refuses `.test` by itself.
"""

import ipaddress
import os
import socket
import threading
from dataclasses import dataclass

from twisted.names import dns


@dataclass(frozen=True, slots=True)
class Place:
    """Where a domain is served."""

    domain: str
    address: str
    c2s_port: int
    direct_tls_port: int
    s2s_port: int


def free_ports(address: str, count: int) -> list[int]:
    """Ports nobody has at the moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((address, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Network:
    """Places by domain, and the name server that knows them."""

    def __init__(self) -> None:
        # Two runs of the tests at once keep apart.
        self._prefix = f"127.53.{os.getpid() % 256}."
        self._places: dict[str, Place] = {}
        self._hidden: set[str] = set()
        self.direct_tls: dict[str, int] = {}  # where servers connect with TLS from the first byte, by domain
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((self._address(), 0))
        self.nameserver: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="nameserver", daemon=True)
        self._thread.start()

    def _address(self) -> str:
        address = f"{self._prefix}{len(self._places) + 1}"
        try:
            free_ports(address, 1)
        except OSError:  # only Linux has all of 127/8 on loopback
            return "127.0.0.1"
        return address

    def place(self, domain: str) -> Place:
        """The place of a domain, kept for it from the first question on."""
        if domain not in self._places:
            address = self._address()
            self._places[domain] = Place(domain, address, *free_ports(address, 3))
        return self._places[domain]

    def hide(self, domain: str) -> None:
        """Let nobody find it, though it can find others."""
        self._hidden.add(domain)

    def stop(self) -> None:
        """Answer no more."""
        self._socket.sendto(b"", self.nameserver)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            message = dns.Message()
            message.fromStr(data)
            if message.queries:
                self._socket.sendto(self._answer(message).toStr(), peer)

    def _answer(self, question: dns.Message) -> dns.Message:
        query = question.queries[0]
        name = query.name.name.decode("ascii", "replace")
        answer = dns.Message(id=question.id, answer=1, auth=1, recDes=question.recDes, recAv=1)
        answer.queries = [query]
        record = None
        if _is_address(name):
            record = dns.Record_A(name, 60) if query.type == dns.A else None
        else:
            service, _, domain = name.lower().partition("._tcp.")
            place = None if domain in self._hidden else self._places.get(domain)
            ports = {"_xmpps-server": self.direct_tls.get(domain)}
            if place is not None and domain not in self.direct_tls:
                ports["_xmpp-server"] = place.s2s_port
            port = ports.get(service)
            if place is None or port is None:
                answer.rCode = dns.ENAME
            elif query.type == dns.SRV:
                record = dns.Record_SRV(0, 1, port, place.address.encode(), 60)
        if record is not None:
            answer.answers = [dns.RRHeader(query.name.name, query.type, dns.IN, 60, record, auth=True)]
        return answer


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
