"""A SLURM cluster on one machine, in one folder: daemons, and nodes with pretended GPUs."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
DATABASE = ("mariadbd", "mariadb-install-db", "slurmdbd")
#: Small nodes, of one CPU and two GPUs each; the last node beside them has four CPUs.
SMALL = 4
NODES = SMALL + 1
#: What every process of a test's cluster is started with.
_PATHS = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))


def missing(programs: tuple[str, ...]) -> list[str]:
    """Programs that are not installed."""
    return [name for name in programs if not shutil.which(name, path=_PATHS)]


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Cluster:
    """Nodes n1 to n5; the partition ``gpus`` has all but the last.

    Jobs of the partition ``urgent`` take the place of those of ``main``, which are requeued. There
    is no accounting database unless :meth:`with_accounts` is called before :meth:`start`.
    """

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)
    accounts: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(NODES + 2)
        self._controller, self._database, *self._ports = ports
        self.bin = self.folder / "bin"
        self.submissions = self.folder / "submissions"

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell on the login node would have."""
        path = os.pathsep.join((str(self.bin), _PATHS))
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        """Start all daemons and wait until the nodes are idle."""
        for name in ("state", "log", "bin"):
            (self.folder / name).mkdir(exist_ok=True)
        self._write_files()
        self._daemon(
            "munged",
            *("--foreground", f"--key-file={self.folder}/munge.key"),
            *(f"--socket={self._socket}", f"--pid-file={self.folder}/munged.pid"),
            *(f"--log-file={self.folder}/log/munged", f"--seed-file={self.folder}/munge.seed"),
            "--force",
        )
        until(self._socket.exists, 10, "munged")
        if self.accounts:
            self._start_database()
        self._daemon("slurmctld", "-D")
        until(lambda: self.ask("scontrol", "ping").count(" UP") == 1, 20, "slurmctld")
        for node in range(1, NODES + 1):
            self.start_node(f"n{node}")
        until(lambda: self._idle() == NODES, 30, "idle nodes")

    def with_accounts(self) -> Cluster:
        """The same with an accounting database, in which the user has the account ``lab``."""
        self.accounts = True
        return self

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._daemon(f"slurmd-{name}", "-D", "-N", name, program="slurmd")

    def kill_node(self, name: str) -> None:
        """A node that loses power: its daemon and all that runs there are gone at once."""
        jobs = [psutil.Process(pid) for pid in self.processes(SLURMD_NODENAME=name)]
        managers = {job.parent() for job in jobs if job.parent().name() == "slurmstepd"}
        self.daemons.pop(f"slurmd-{name}").kill()
        for process in (*managers, *jobs):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """End every daemon and every job."""
        for process in reversed(self.daemons.values()):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.processes(SLURM_CONF=self.environment["SLURM_CONF"]) - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self, *command: str) -> str:
        """What a command of SLURM says."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def processes(self, **variables: str) -> set[int]:
        """Processes that have these environment variables."""
        wanted = {f"{name}={value}".encode() for name, value in variables.items()}
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                    found.add(int(entry.name))
        return found

    def submitted(self) -> list[list[str]]:
        """Arguments of every call of sbatch so far, without the wrapped command."""
        if not self.submissions.exists():
            return []
        calls = self.submissions.read_text().split("\0\0")
        return [[a for a in call.split("\0") if not a.startswith("--wrap")] for call in calls[:-1]]

    def _idle(self) -> int:
        return int(self.ask("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D") or 0)

    @property
    def _socket(self) -> Path:
        return self.folder / "munge.socket"

    def _daemon(self, name: str, *arguments: str, program: str = "", **variables: str) -> None:
        with open(self.folder / "log" / f"{name}.out", "a") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(program or name, path=_PATHS), *arguments],
                env=os.environ | self.environment | variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _write_files(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._configuration())
        (self.folder / "gres.conf").write_text(
            f"NodeName=n[1-{SMALL}] Name=gpu Type=pretended File=/dev/null,/dev/zero\n"
        )
        # A job step drops the variables of SLURM, so srun must be told again.
        for program, before in (
            ("srun", f"export SLURM_CONF={self.folder}/slurm.conf"),
            ("sbatch", f"printf '%s\\0' \"$@\" '' >> {shlex.quote(str(self.submissions))}"),
        ):
            real = shutil.which(program, path=_PATHS)
            path = self.bin / program
            path.write_text(f'#!/bin/sh\n{before}\nexec {real} "$@"\n')
            path.chmod(0o755)

    def _configuration(self) -> str:
        place, host, user = self.folder, socket.gethostname().split(".")[0], getpass.getuser()
        has = ("CPUs=1 Gres=gpu:pretended:2", "CPUs=4 Weight=9")
        nodes = "".join(
            f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            f" RealMemory=32000 {has[number > SMALL]}\n"
            for number, port in enumerate(self._ports, 1)
        )
        accounting = (
            f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={self._database}
AccountingStoragePass={self._socket}
"""
            if self.accounts
            else "AccountingStorageType=accounting_storage/none\n"
        )
        # A requeued job waits until its old credential has expired; what became of jobs is asked
        # when all is over, on a busy machine long after they ended.
        return f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self._controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={self._socket},cred_expire=5
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/log/slurmctld
SlurmdLogFile={place}/log/slurmd-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
ReturnToService=2
KillWait=2
MinJobAge=3600
SlurmdTimeout=6
{accounting}{nodes}PartitionName=main Nodes=ALL Default=YES PriorityTier=1
PartitionName=gpus Nodes=n[1-{SMALL}] PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=off
"""

    def _start_database(self) -> None:
        data, door = self.folder / "database", self.folder / "mysql.socket"
        user = getpass.getuser()
        subprocess.run(
            [
                shutil.which("mariadb-install-db", path=_PATHS),
                *("--no-defaults", f"--user={user}", f"--datadir={data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=True,
            capture_output=True,
        )
        self._daemon(
            "mariadbd",
            *("--no-defaults", f"--user={user}", f"--datadir={data}", f"--socket={door}"),
            *("--skip-networking", f"--pid-file={self.folder}/mysql.pid"),
        )
        until(door.exists, 20, "mariadbd")
        file = self.folder / "slurmdbd.conf"
        file.write_text(f"""AuthType=auth/munge
AuthInfo=socket={self._socket}
DbdHost=localhost
DbdPort={self._database}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
LogFile={self.folder}/log/slurmdbd
PidFile={self.folder}/slurmdbd.pid
""")
        file.chmod(0o600)
        self._daemon("slurmdbd", "-D", MYSQL_UNIX_PORT=str(door))
        until(lambda: "test" in self._enter("cluster", "test"), 30, "slurmdbd")
        self._enter("account", "lab", "cluster=test")
        self._enter("user", user, "account=lab")

    def _enter(self, *what: str) -> str:
        return self.ask("sacctmgr", "-i", "add", *what) + self.ask(
            "sacctmgr", "-n", "show", *what[:1]
        )
