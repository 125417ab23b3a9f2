"""A real Slurm on this machine alone: munge, slurmctld and several slurmd on loopback, with fake GPUs.

For tests and benchmarks: no systemd, no cgroups, nothing outside one folder; an accounting database only
where asked for. All nodes are this host under different names; their jobs share its cores.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import slurm_accounting as accounting_database

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
#: What a sandbox needs beside the profile: little patience.
HASTE = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
#: And without an accounting database there is no sacct to ask.
OVERRIDES = ("--slurm-status-command", "squeue", *HASTE)
INSTALL = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"

_CONFIG = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire={requeue_s}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=1
PriorityType=priority/basic
{accounting}JobAcctGatherType=jobacct_gather/linux
ReturnToService=2
SlurmdTimeout={node_timeout_s}
SlurmctldTimeout=20
InactiveLimit=0
KillWait={kill_wait_s}
# Without an accounting database, squeue has to remember a finished job until it is asked about.
MinJobAge={job_age_s}
MaxJobCount=20000
JobRequeue=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=node[0-{last}] NodeHostname={host} NodeAddr=127.0.0.1 Port={first_port}-{last_port} \
CPUs={cpus} RealMemory={memory_mb} Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes=node[0-{last}] Default=YES MaxTime=2-0 DefMemPerCPU=200 State=UP
# Its jobs push those of the others aside.
PartitionName=urgent Nodes=node[0-{last}] Default=NO PriorityTier=10 MaxTime=2-0 DefMemPerCPU=200 State=UP
PartitionName=gpu Nodes=node[0-{last}] Default=NO MaxTime=2-0 DefMemPerCPU=200 State=UP
"""


def missing(accounting: bool = False) -> str:
    """Why there can be no sandbox here and what to do about it; empty when there can."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    needed = (*PROGRAMS, *accounting_database.PROGRAMS) if accounting else PROGRAMS
    install = f"{INSTALL} {accounting_database.PACKAGES}" if accounting else INSTALL
    absent = [name for name in needed if shutil.which(name, path=path) is None]
    if absent:
        return f"no Slurm here ({', '.join(absent)} not found); on Debian, as root: {install}"
    if os.geteuid() != 0:
        return "slurmd starts as root only: run the tests as root, in a container for instance"
    return ""


def checkout(folder: Path, copy: bool = False) -> Path:
    """Make `folder` look like the root of the repository, with results and logs of its own.

    `copy`: with the files themselves, so that editing the repository changes nothing there.
    """
    root = Path(__file__).resolve().parents[2]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Snakefile", "config", "envs", "profiles", "scripts", "slurm", "src", "workflow"):
        source = root / name
        if not copy or source.is_symlink():
            target = source.readlink() if source.is_symlink() else source
            (folder / name).symlink_to(target)
        elif source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    return folder


class Sandbox:
    """`nodes` slurmd with `gpus` GPUs each; use as a context manager.

    Args:
        folder: Everything lies below it; the path is short enough for a socket (107 characters).
        cpus: Cores that each node claims to have.
        kill_wait_s: Seconds from SIGTERM to SIGKILL where Slurm ends a job.
        requeue_s: Seconds until a requeued job may start again (Slurm's own default is 120).
        accounting: With slurmdbd and its database, so that `sacct` answers.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        gpus: int = 2,
        cpus: int = 4,
        memory_mb: int = 16000,
        kill_wait_s: int = 30,
        node_timeout_s: int = 20,
        requeue_s: int = 120,
        accounting: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.nodes = [f"node{number}" for number in range(nodes)]
        self.gpus = gpus
        for name in ("log", "run", "state", "spool", "munge", "gpu", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o700)
        host = socket.gethostname().split(".")[0]
        port = _free_ports(3 + nodes)
        database = accounting_database.CONFIG.format(folder=self.folder, port=port + nodes + 1)
        config = _CONFIG.format(
            host=host,
            folder=self.folder,
            port=port,
            first_port=port + 1,
            last_port=port + nodes,
            last=nodes - 1,
            gpus=gpus,
            cpus=cpus,
            memory_mb=memory_mb,
            kill_wait_s=kill_wait_s,
            node_timeout_s=node_timeout_s,
            requeue_s=requeue_s,
            accounting=database if accounting else accounting_database.NO_ACCOUNTING,
            job_age_s=300 if accounting else 3600,
        )
        (self.folder / "slurm.conf").write_text(config)
        # A GPU needs a character device as its file: other names of the null device.
        for number in range(gpus):
            device = self.folder / "gpu" / f"fake{number}"
            if not device.exists():
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(
            f"NodeName=node[0-{nodes - 1}] Name=gpu Type=fake"
            f" File={self.folder}/gpu/fake[0-{gpus - 1}]\n"
        )
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        # Inside a job, Snakemake's executor drops SLURM_CONF before it calls srun.
        srun = self.folder / "bin" / "srun"
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun", path=path)} "$@"\n'
        )
        srun.chmod(0o755)
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder}/bin:{path}",
        }
        self.database = (
            accounting_database.Accounting(self.folder, host, port + nodes + 1, self.environment)
            if accounting
            else None
        )
        #: What Snakemake has to be told beside the profile.
        self.overrides = HASTE if accounting else OVERRIDES

    def __enter__(self) -> Sandbox:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon; return when all nodes are idle."""
        run = self.folder / "run"
        self.call(
            "munged", f"--key-file={self.folder}/munge/key", f"--socket={run}/munge.sock",
            f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge/seed", "--force",
        )  # fmt: skip
        if self.database:
            self.database.start("sandbox")
        self.start_controller()
        for node in self.nodes:
            self.call("slurmd", "-N", node)
        self.wait_idle(self.nodes)

    def start_controller(self) -> None:
        """Start slurmctld, which goes on with the jobs it knew."""
        self.call("slurmctld")

    def stop_controller(self) -> None:
        """Kill slurmctld; running jobs run on."""
        _end(self._process("slurmctld"), signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Bring a lost node back."""
        self.call("slurmd", "-N", node)
        self.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)

    def kill_node(self, node: str) -> None:
        """Lose a node as in a power cut: SIGKILL to its slurmd and to all processes of its jobs."""
        # All at once: nobody on the node lives to see, and to report, the end of another.
        daemons = [process for process in (self._process(f"slurmd.{node}"),) if process]
        steps = self.steps([node])
        victims = [*daemons, *steps, *(_families(steps) - set(steps))]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in victims:
                _end(process, number, wait=False)

    def steps(self, nodes: Iterable[str]) -> list[int]:
        """The slurmstepd of these nodes, known by the log that they hold open.

        Not by the name of their node: other sandboxes on this machine use the same names, and a job whose
        slurmstepd is killed runs on while slurmctld takes it for lost ("missing from batch node").
        """
        logs = {f"{self.folder}/log/slurmd.{node}.log" for node in nodes}
        return [process for process in _parents() if _is_stepd(process) and logs & _open(process)]

    def wait_idle(self, nodes: Iterable[str], seconds: float = 60) -> None:
        """Return when Slurm would give these nodes jobs."""
        deadline = time.monotonic() + seconds
        wanted = set(nodes)
        while not wanted <= set(
            self.call("sinfo", "-h", "-N", "-p", "cpu", "-t", "idle", "-o", "%N").split()
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nodes are not idle:\n{self.call('sinfo', '-N', '-l')}")
            time.sleep(0.25)

    def stop(self) -> None:
        """Cancel all jobs and end every daemon."""
        if self._process("slurmctld"):
            self.call("scancel", "--state=PENDING", check=False)
            self.call("scancel", "--user=root", check=False)
            time.sleep(1)
        left = _families(self.steps(self.nodes))
        for name in (*(f"slurmd.{node}" for node in self.nodes), "slurmctld", "munged"):
            _end(self._process(name), signal.SIGTERM)
        for process in left:
            _end(process, signal.SIGKILL)
        if self.database:
            self.database.stop()

    def call(self, *command: str, check: bool = True) -> str:
        """stdout of a Slurm command in this sandbox; raises RuntimeError when it fails."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def _process(self, name: str) -> int:
        """Process id of a daemon, 0 when it does not run."""
        try:
            process = int((self.folder / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0
        return process if _alive(process) else 0


def _free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    while True:
        first = 20000 + secrets.randbelow(12000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _end(process: int, number: signal.Signals, wait: bool = True) -> None:
    """Signal a process and wait for its end; SIGKILL after fifteen seconds."""
    if not process:
        return
    try:
        os.kill(process, number)
        deadline = time.monotonic() + 15
        while wait and _alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        if wait and _alive(process):
            os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _alive(process: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected by its parent does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _parents() -> dict[int, int]:
    """Process -> its parent."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        found[int(status.parent.name)] = int(fields[1])
    return found


def _families(processes: Iterable[int]) -> set[int]:
    """Processes with their children, the children's children and so on."""
    parents, family = _parents(), set(processes)
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _is_stepd(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/comm").read_text().startswith("slurmstepd")
    except OSError:
        return False


def _open(process: int) -> set[str]:
    """Paths of the files that a process holds open; none once it is gone."""
    try:
        return {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
    except OSError:
        return set()
