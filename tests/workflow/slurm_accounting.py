"""The accounting database of a Slurm sandbox: MariaDB and slurmdbd on loopback, so that `sacct` answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sacctmgr")
PACKAGES = "slurmdbd mariadb-server"

#: What slurm.conf says with the database and without.
CONFIG = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/run/munge.sock
AccountingStorageTRES=gres/gpu
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"

_DBD_CONFIG = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
_CREATE = """\
create database slurm_acct_db;
create user 'slurm'@'%' identified by 'slurm';
grant all on slurm_acct_db.* to 'slurm'@'%';
"""


class Accounting:
    """Both daemons, as children of this process.

    Args:
        folder: That of the sandbox, with its munge already up when `start` is called.
        port: A free port, with a free one after it.
    """

    def __init__(self, folder: Path, host: str, port: int, environment: dict[str, str]) -> None:
        self.folder = folder
        self.database_port = port + 1
        self.environment = environment
        self.children: list[subprocess.Popen[bytes]] = []
        config = folder / "slurmdbd.conf"
        config.touch(mode=0o600)  # slurmdbd refuses one that others can read
        config.write_text(
            _DBD_CONFIG.format(folder=folder, host=host, port=port, database_port=port + 1)
        )

    def start(self, cluster: str) -> None:
        """Make the database, start both, and make the cluster known."""
        data, socket = self.folder / "mysql", self.folder / "run" / "mysql.sock"
        self._call(
            "mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
            "--auth-root-authentication-method=normal", "--skip-test-db",
        )  # fmt: skip
        self._spawn(
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}",
            f"--pid-file={self.folder}/run/mariadbd.pid", "--bind-address=127.0.0.1",
            f"--port={self.database_port}", "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900", "--skip-name-resolve",
        )  # fmt: skip
        client = ("mariadb", "--no-defaults", f"--socket={socket}", "--user=root")
        self._until(lambda: self._call(*client, "-e", "select 1"))
        self._call(*client, "-e", _CREATE)
        self._spawn("slurmdbd", "-D")
        self._until(lambda: self._call("sacctmgr", "-i", "add", "cluster", cluster))

    def stop(self) -> None:
        """End both, slurmdbd first."""
        while self.children:
            child = self.children.pop()
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _spawn(self, *command: str) -> None:
        with open(self.folder / "log" / f"{command[0]}.out", "wb") as output:
            child = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.children.append(child)

    def _call(self, *command: str) -> None:
        subprocess.run(
            command, env=self.environment, check=True, capture_output=True, timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _until(self, action: Callable[[], None], seconds: float = 60) -> None:
        """Try twice a second until it succeeds; its last error after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return action()
            except subprocess.CalledProcessError as error:
                if time.monotonic() > deadline:
                    said = error.stderr.decode(errors="replace")
                    raise TimeoutError(
                        f"{error.cmd[0]}: {said} (logs: {self.folder}/log)"
                    ) from error
                time.sleep(0.5)
