#!/usr/bin/env python3
"""Run Prosody or ejabberd (Debian's packages) or Microblog by hand for side-by-side measuring.

    peers.py start prosody   --dir D1 --ip 127.0.0.2 --domain pros.test --tuned
    peers.py start ejabberd  --dir D2 --ip 127.0.0.3 --domain ejab.test
    peers.py start microblog --dir D3 --ip 127.0.0.4 --domain ours.test
    peers.py status --dir D1
    peers.py stop   --dir D1

`start` writes the configuration, a self-signed ECDSA P-256 certificate and the data into the directory,
starts the server in the background, waits until port 5222 answers and writes D/server.pid.  Nothing outside
the directory is touched and no system service is used.  `--peer NAME=IP` (repeatable) tells a server the
addresses of the others, so /etc/hosts and DNS are not needed for s2s.  `--fresh` deletes the data first.
`stop` ends the process by its pid.  Microblog is taken from this checkout, run by the Python that runs this.
"""

import argparse
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))

PROSODY_TUNING = """gc = { mode = "incremental"; threshold = 400; speed = 500 }
network_settings = { nagle = false }"""

# SRV look-ups go to an address where nobody listens and fail at once.
INETRC = """{lookup, [file, native]}.
{resolv_conf, ""}.
{nameserver, {127,0,0,1}}.
"""


def write(path, text, mode=0o644):
    """Write a small text file."""
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def fill(name, values):
    """A template beside this file, its @NAMES@ filled in."""
    with open(os.path.join(HERE, name)) as f:
        text = f.read()
    for k, v in values.items():
        text = text.replace(f"@{k}@", v)
    return text


def read_pid(d):
    """The id of the server running in the directory, if it does."""
    try:
        with open(os.path.join(d, "server.pid")) as f:
            pid = int(f.read().split()[0])
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return pid if d.encode() in f.read() else None
    except (OSError, ValueError, IndexError):
        return None


def certificate(d, domain):
    """A self-signed certificate, unless there is one."""
    key, cert = os.path.join(d, "key.pem"), os.path.join(d, "cert.pem")
    if os.path.exists(cert):
        return
    command = ["openssl", "req", "-x509", "-nodes", "-days", "3650"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", f"/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    with open(key) as k, open(cert) as c:
        write(os.path.join(d, "both.pem"), k.read() + c.read())


def prosody(a, d, env):
    """Command line of a Prosody configured in the directory."""
    conf = os.path.join(d, "prosody.cfg.lua")
    values = {
        "DIR": d,
        "IP": a.ip,
        "DOMAIN": a.domain,
        "STORAGE": "sql" if a.storage == "sqlite" else "internal",
        "REQUIRE_TLS": "false" if a.allow_plain else "true",
        "TUNING": PROSODY_TUNING if a.tuned else "",
    }
    write(conf, fill("prosody.cfg.lua.in", values))
    return ["prosody", "-F", "--config", conf]


def ejabberd(a, d, env):
    """Command line and environment of an ejabberd configured in the directory."""
    database = ""
    if a.storage == "sqlite":
        path = os.path.join(d, "data", "ejabberd.sqlite")
        database = f'default_db: sql\nsql_type: sqlite\nsql_database: "{path}"'
        if not os.path.exists(path):
            with open("/usr/share/ejabberd/sql/lite.sql") as schema:
                connection = sqlite3.connect(path)
                connection.executescript(schema.read())
                connection.close()
    conf = os.path.join(d, "ejabberd.yml")
    values = {
        "DIR": d,
        "IP": a.ip,
        "DOMAIN": a.domain,
        "DATABASE": database,
        "STARTTLS": "starttls" if a.allow_plain else "starttls_required",
    }
    write(conf, fill("ejabberd.yml.in", values))
    write(os.path.join(d, "inetrc"), INETRC)
    env.update(
        EJABBERD_CONFIG_PATH=conf,
        EJABBERD_LOG_PATH=os.path.join(d, "server.log"),
        ERL_CRASH_DUMP=os.path.join(d, "crash.dump"),
        ERL_LIBS=os.path.dirname(sorted(glob.glob("/usr/lib/*/ejabberd-*"))[-1]),
        HOME=d,
        ERL_INETRC=os.path.join(d, "inetrc"),
        ERL_MAX_PORTS="32000",
        ERL_MAX_ETS_TABLES="1400",
    )
    # The options of Debian's ejabberdctl, less the node name: no epmd, no ports.
    spool = os.path.join(d, "spool")
    cmd = [
        *["erl", "+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir"],
        f'"{spool}"',
        "-s",
        "ejabberd",
    ]
    # ejabberd's s2s asks the C library for addresses: give this process an
    # /etc/hosts of its own (where that cannot be, put the names in /etc/hosts).
    if a.peer and os.geteuid() == 0 and shutil.which("unshare"):
        own_hosts = 'mount --bind "$0" /etc/hosts && exec "$@"'
        cmd = ["unshare", "-m", "sh", "-c", own_hosts, os.path.join(d, "hosts"), *cmd]
    return cmd


def microblog(a, d, env):
    """Command line and environment of a Microblog node configured in the directory."""
    if a.allow_plain:
        sys.exit("Microblog serves nobody without TLS")

    def quote(text):  # a TOML basic string is written like a JSON string
        return json.dumps(text)

    peers = dict(p.split("=", 1) for p in a.peer)
    routes = ", ".join(f"{quote(name)} = {quote(ip + ':5269')}" for name, ip in peers.items())
    conf = os.path.join(d, "microblog.toml")
    write(
        conf,
        f"""[node]
domain = {quote(a.domain)}
data = {quote(os.path.join(d, "data"))}
[c2s]
listen = [{quote(a.ip + ":5222")}]
direct_tls = []
[s2s]
listen = [{quote(a.ip + ":5269")}]
dialback = "always"
routes = {{ {routes} }}
[tls]
certificate = {quote(os.path.join(d, "cert.pem"))}
key = {quote(os.path.join(d, "key.pem"))}
[database]
url = {quote(a.database_url)}
[accounts]
registration = "open"
[limits]
rates = false
""",
    )
    if os.path.isdir(os.path.join(CHECKOUT, "microblog")):
        paths = [CHECKOUT, os.path.join(CHECKOUT, "twistd-plugins"), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    twistd = os.path.join(os.path.dirname(sys.executable), "twistd")
    twistd = twistd if os.path.exists(twistd) else shutil.which("twistd") or sys.exit("no twistd here")
    pidfile = os.path.join(d, "server.pid")
    return [twistd, "-n", "--pidfile", pidfile, "microblog", "--config", conf]


SERVERS = {"prosody": prosody, "ejabberd": ejabberd, "microblog": microblog}


def start(a):
    """Start a server and wait until it listens."""
    d = os.path.abspath(a.dir)
    if read_pid(d):
        sys.exit(f"already running in {d}")
    if a.fresh:
        for sub in ("data", "spool"):
            shutil.rmtree(os.path.join(d, sub), ignore_errors=True)
    os.makedirs(os.path.join(d, "data"), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(d, "server.pid"))
    certificate(d, a.domain)
    hosts = {"localhost": "127.0.0.1"} | dict(p.split("=", 1) for p in a.peer) | {a.domain: a.ip}
    write(os.path.join(d, "hosts"), "".join(f"{ip} {name}\n" for name, ip in hosts.items()))
    env = dict(os.environ)
    cmd = SERVERS[a.server](a, d, env)
    if a.cpu:
        cmd = ["taskset", "-c", a.cpu, *cmd]
    with open(os.path.join(d, "console.log"), "ab") as log:
        p = subprocess.Popen(
            cmd, cwd=d, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    for _ in range(120):
        time.sleep(0.25)
        if p.poll() is not None:
            sys.exit(f"{a.server} ended at once; see {d}/console.log and {d}/server.log")
        try:
            socket.create_connection((a.ip, 5222), 1).close()
            break
        except OSError:
            pass
    else:
        p.terminate()
        sys.exit(f"{a.server} does not listen; see {d}/console.log")
    write(os.path.join(d, "server.pid"), f"{p.pid}\n")
    print(p.pid)


def stop(a):
    """Stop a server by its pid, politely, then not."""
    d = os.path.abspath(a.dir)
    pid = read_pid(d)
    if not pid:
        print("not running")
        return
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        time.sleep(0.1)
        if not read_pid(d):
            break
    else:
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(d, "server.pid"))


def main():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = p.add_subparsers(dest="what", required=True)
    s = sub.add_parser("start")
    s.add_argument("server", choices=sorted(SERVERS))
    s.add_argument("--dir", required=True)
    s.add_argument("--ip", required=True)
    s.add_argument("--domain", required=True)
    s.add_argument("--peer", action="append", default=[], metavar="NAME=IP")
    s.add_argument(
        "--storage",
        choices=("default", "sqlite"),
        default="default",
        help="default: Prosody internal files, ejabberd mnesia, Microblog SQLite",
    )
    s.add_argument("--database-url", default="", help="Microblog: another database than its SQLite")
    s.add_argument("--allow-plain", action="store_true", help="TLS is offered, not required")
    s.add_argument(
        "--tuned",
        action="store_true",
        help="Prosody: a lazier garbage collector and TCP_NODELAY (several times\n"
        "faster than its own settings; compare with this one)",
    )
    s.add_argument("--cpu", help="processors to run on, as for taskset -c")
    s.add_argument("--fresh", action="store_true", help="delete the data first")
    for name in ("stop", "status"):
        s = sub.add_parser(name)
        s.add_argument("--dir", required=True)
    a = p.parse_args()
    if a.what == "start":
        start(a)
    elif a.what == "stop":
        stop(a)
    else:
        print(read_pid(os.path.abspath(a.dir)) or "not running")


if __name__ == "__main__":
    main()
