"""What all tests share: real data where it is there, and the same examples in every run."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("modicum", deadline=None, derandomize=True)
settings.load_profile("modicum")

# A shell that starts the tests in the background has Ctrl-C ignored; several of them send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    beside = Path(__file__).parents[1] / "../shared"
    folder = Path(os.environ.get("MODICUM_SHARED", beside)).resolve() / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (set MODICUM_SHARED)")
    return folder


class RedisServer:
    """A server of our own on a socket in a folder of its own, whose log is synced at each write.

    Args:
        program: of the server.
        folder: of its files; its path is short, as that of a socket must be.
    """

    PATIENCE_S = 180.0

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.url = f"unix://{folder}/socket"
        self.process: subprocess.Popen | None = None

    def start(self, **settings: str) -> None:
        """Start, and return when it answers; settings are of redis.conf, with _ for -."""
        import valkey

        chosen = {"appendonly": "yes", "appendfsync": "always"} | settings
        given = {"port": "0", "unixsocket": "socket", "dir": str(self.folder), "save": ""} | chosen
        flags = [x for name, value in given.items() for x in (f"--{name}".replace("_", "-"), value)]
        (self.folder / "socket").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *flags],
                stdout=log,
                cwd=self.folder,
                restore_signals=False,  # a file that may not grow is then an error, not a death
                start_new_session=True,
            )
        deadline = time.monotonic() + self.PATIENCE_S
        with valkey.Valkey.from_url(self.url) as client:
            while True:
                try:
                    if not client.info("persistence")["loading"]:
                        return
                except valkey.ConnectionError:
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        raise
                time.sleep(0.01)

    def kill(self) -> None:
        """Kill the server, and the process that rewrites its log if there is one."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="session")
def redis_program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    return found


@pytest.fixture(scope="session")
def shared_redis(redis_program: str):
    """A server that tests empty and share."""
    yield from _running(redis_program)


@pytest.fixture
def redis_server(redis_program: str):
    """A server of one test, which may kill it."""
    yield from _running(redis_program)


def _running(program: str):
    with tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(program, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
