"""Server-to-server traffic, from the kernel's counters of TCP connections (`ss`; no privileges needed)."""

import re
import socket
import subprocess


def s2s_counters(hosts, port):
    """{(from, to): [bytes sent, bytes received]} of the connections that go
    out to the hosts' s2s port; needs ss (iproute2), no privileges."""
    ips = {ai[4][0] for h in hosts for ai in socket.getaddrinfo(h, port)}
    out = subprocess.run(["ss", "-tinHO", "dport", f"= :{port}"], capture_output=True, text=True).stdout
    table = {}
    for line in out.splitlines():
        f = line.split()
        if len(f) < 5 or f[0] != "ESTAB":
            continue
        local, peer = f[3], f[4]
        if peer.rpartition(":")[0].strip("[]") not in ips:
            continue
        sent = re.search(r"bytes_sent:(\d+)", line)
        recv = re.search(r"bytes_received:(\d+)", line)
        table[local, peer] = [int(m.group(1)) if m else 0 for m in (sent, recv)]
    return table


def s2s_figures(before, after, at, a, got, per_delivery):
    """What went between the servers, per publish and per delivery."""
    to_b = {ai[4][0] for ai in socket.getaddrinfo(at.host, a.s2s_port)}
    out = {
        "bytes_to_b": 0,
        "bytes_from_b": 0,
        "bytes_other": 0,
        "connections": len(after),
        "connections_vanished": len(set(before) - set(after)),
    }
    for key, (sent, recv) in after.items():
        s0, r0 = before.get(key, (0, 0))
        if key[1].rpartition(":")[0].strip("[]") in to_b and len(to_b) == 1:
            out["bytes_to_b"] += sent - s0
            out["bytes_from_b"] += recv - r0
        else:
            out["bytes_other"] += sent - s0 + recv - r0
    out["bytes_to_b_per_publish"] = round(out["bytes_to_b"] / a.messages, 1)
    if got:
        out["bytes_to_b_per_delivery"] = round(out["bytes_to_b"] / got, 2)
        # One event stanza on the wire is about as long as it is at the client.
        out["event_stanzas_per_publish_estimate"] = round(out["bytes_to_b"] / a.messages / per_delivery, 2)
    return out
