"""What server, generator and the rest of the machine used: figures of Linux's /proc."""

import os
import re
import time

TICK = os.sysconf("SC_CLK_TCK")


def proc_cpu(pids):
    """CPU seconds (user + system, all threads) used so far by the processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def proc_rss_kib(pids):
    """Resident memory of the processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


def machine_cpu():
    """(busy, idle, steal) seconds of all cores since boot."""
    with open("/proc/stat") as f:
        v = [int(x) / TICK for x in f.readline().split()[1:9]]
    idle = v[3] + v[4]
    return sum(v) - idle - v[7], idle, v[7]


class Meter:
    """What server, generator and the rest of the machine used in a phase."""

    def __init__(self, pids, pids_b=()):
        self.pids, self.pids_b = list(pids), list(pids_b)
        self.own = time.process_time()
        self.srv, self.srv_b = proc_cpu(self.pids), proc_cpu(self.pids_b)
        self.machine = machine_cpu()
        self.t0 = time.monotonic()

    def stop(self, child_cpu=()):
        """Everything since the start, the CPU time of child processes given."""
        wall = time.monotonic() - self.t0
        busy, idle, steal = (b - a for a, b in zip(self.machine, machine_cpu(), strict=True))
        srv = proc_cpu(self.pids) - self.srv
        srv_b = proc_cpu(self.pids_b) - self.srv_b
        shares = [time.process_time() - self.own, *child_cpu]
        gen = sum(shares)
        out = {
            "wall_s": round(wall, 4),
            "server_cpu_s": round(srv, 2),
            "generator_cpu_s": round(gen, 4),
            "generator_busiest_process": round(max(shares) / wall, 3) if wall else 0,
            "machine_idle_share": round(idle / max(idle + busy + steal, 1e-9), 3),
            "machine_steal_s": round(steal, 2),
            "loadavg": os.getloadavg(),
        }
        if self.pids_b:
            out["server_b_cpu_s"] = round(srv_b, 2)
        if self.pids:
            # What neither server nor generator used: other programs, and the
            # kernel's work outside any process.
            out["other_cpu_s"] = round(max(0.0, busy - srv - srv_b - gen), 2)
        return out


def percentile(values, q):
    """values sorted"""
    if not values:
        return None
    return values[min(len(values) - 1, int(q * len(values)))]


def latency(values_us):
    """Percentiles in milliseconds."""
    v = sorted(values_us)
    if not v:
        return {}
    return {
        name: round(x / 1000, 3)
        for name, x in (
            ("p50_ms", percentile(v, 0.50)),
            ("p90_ms", percentile(v, 0.90)),
            ("p99_ms", percentile(v, 0.99)),
            ("max_ms", v[-1]),
        )
    }
