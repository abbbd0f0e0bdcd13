"""A virtual machine as a test sees it: what a person does at its console, its keyboard, its screen and its network.

Writes of the guest go to layers in the folder of the test, so they last until its end: also over a reboot, a crash and
a new start. The tested image is not changed.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from stagewright import run
from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.testing.host_checks import Url, fetch, no_network, receive, run_by_ssh, send
from stagewright.testing.keyboard import keys_of
from stagewright.testing.lan import Lan
from stagewright.testing.results import MachineResult
from stagewright.testing.screen_guest import GuestWithScreen
from stagewright.testing.setup import ISOLATED, SCREEN, MachineSetup
from stagewright.testing.shell import failed
from stagewright.testing.timeline import ONLY, Timeline
from stagewright.vm import accel
from stagewright.vm.console import Console, shorten
from stagewright.vm.console_scan import Scan
from stagewright.vm.disks import disk_of
from stagewright.vm.failures import final_ones
from stagewright.vm.known_failures import FINAL_FAILURES, NEEDS_ONE_BOOT_OPTION
from stagewright.vm.machine import Machine as VirtualMachine
from stagewright.vm.machine_spec import FirmwareKind, MachineSpec, architecture_of
from stagewright.vm.ssh import LOOPBACK, free_port, wait_for_login

MENU = r"BdsDxe: starting|GNU GRUB|(ISO|SYS)LINUX \d"
"""Pattern of serial output with a boot menu, or shortly before one."""

_SETTLE, _BETWEEN = 2.0, 0.3  # seconds until a menu accepts keys, and between keys
_DOWN, _ENTER = "\x1b[B", "\r"

_ATTEMPTS = 10

_MOST_RESETS, _UNTIL_RESET = 5, 5.0
"""SeaBIOS may reset the machine again before it does anything: how often, and within how many seconds each time."""


class Machine(GuestWithScreen):
    """A virtual machine. Its console, shell and services are used as those of every :class:`Guest`.

    A method that needs the machine to run starts it. ``stop`` ends it; so does the end of a ``with`` block.
    """

    def __init__(self, setup: MachineSetup, timeline: Timeline, folder: Path, *, name: str = ONLY) -> None:
        super().__init__(timeline, folder, name=name)
        self._setup = setup
        self._vm: VirtualMachine | None = None
        self._screenshot: Path | None = None
        self._ports: dict[int, int] = {}
        self._ssh: list[str] = []
        self._started: float | None = None

    @classmethod
    def of_image(
        cls,
        image: Path | str,
        folder: Path | str = "boot-test",
        *,
        memory: int = 1024,
        cpus: int = 2,
        firmware: FirmwareKind = "uefi",
        network: bool = False,
        disks: Sequence[str] = (),
        tpm: bool = False,
        timeout: float = 600,
    ) -> Machine:
        """Return a machine with an ISO image as its disc, or another image as its disk, for tests without a project.

        ``folder`` gets the results. ``memory`` is in MiB. ``disks`` are sizes of empty disks, such as ``8G`` or
        ``8G,serial=NAME,bus=nvme``. ``timeout`` is the limit of the whole test in seconds.
        """
        path, place = Path(image).absolute(), Path(folder).absolute()
        spec = MachineSpec(
            firmware=firmware,
            architecture=architecture_of(host_machine().arch),
            memory=memory,
            cpus=cpus,
            network="user" if network else "none",
            user_network=ISOLATED if network else (),
            empty_disks=tuple(disk_of(words, number) for number, words in enumerate(disks, 1)),
            tpm=tpm,
        )
        spec = replace(spec, cdrom=path) if path.suffix == ".iso" else replace(spec, disk=path)
        setup = MachineSetup(spec, accel.of(spec.architecture))
        return cls(setup, Timeline(timeout), place)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def console(self) -> Console:
        """Console of the machine. A machine that was never started is started."""
        if self._vm is None:
            self.start()
        assert self._vm
        return self._vm.console

    @property
    def is_running(self) -> bool:
        """True if the machine is switched on."""
        return self._vm is not None and self._vm.running()

    @property
    def disks(self) -> tuple[Path, ...]:
        """Files of the empty disks in the order of the settings: qcow2, to be read while the machine is off."""
        return tuple(disk.path for disk in self._setup.spec.empty_disks)

    # power

    def start(self, *, from_disk: bool = False) -> None:
        """Switch the machine on. A machine that was stopped starts with what is on its disks.

        With ``from_disk`` it starts without the tested image, from its empty disks, as it does each time after that.
        """
        if self.is_running:
            return
        first = self._vm is None
        with self.step("start" if first else "start again"):
            if first:
                self._setup = self._setup.prepared(self.folder)
            if from_disk:
                self._setup = self._setup.from_disk()
            cards = [self._setup.lan.card(self.name)] if self._setup.lan else []
            vm = VirtualMachine(
                self._setup.spec,
                self._setup.acceleration,
                self.folder,
                firmware=self._setup.firmware,
                qemu=self._setup.qemu,
                cards=cards,
                started=self._started,
            )
            vm.__enter__()
            self._vm, self._started = vm, vm.console.started
            self._has_shell, self._ssh, self._ports = False, [], {}
            ignored = NEEDS_ONE_BOOT_OPTION if self._setup.spec.boot_options() + len(cards) > 1 else ()
            known = (*final_ones(self.timeline.failures), *FINAL_FAILURES)
            vm.console.failures = tuple(failure for failure in known if failure not in ignored)
        if self._setup.entry > 1:
            with self.step(f"choose line {self._setup.entry} of the boot menu"):
                self._choose()

    def stop(self) -> None:
        """Switch the machine off, if it is on, after a last picture of its screen."""
        if self._vm:
            if self.is_running and self._screenshot is None:
                self.picture()
            self._vm.__exit__(None, None, None)
            self._has_shell = False

    def shutdown(self, timeout: float | None = None) -> None:
        """Shut the machine down, by its shell or by its power button, and wait until it is off."""
        if self.is_running:
            self.picture()  # a machine that is off has no screen
        super().shutdown(timeout)
        self.stop()

    def crash(self) -> None:
        """Switch the machine off at once, as a power failure does."""
        with self.step("crash"):
            self.picture()
            self.stop()

    def reboot(self, timeout: float | None = None, *, from_disk: bool = False) -> None:
        """Reboot the machine, by its shell or by Ctrl-Alt-Delete. The console goes on.

        With ``from_disk`` the tested image is removed meanwhile, and the machine starts from its empty disks.
        """
        if from_disk:
            self._reboot_from_disk(timeout)
            return
        with self.step("reboot"):
            control = self._running().control
            control.execute("set-action", reboot="reset")  # otherwise QEMU ends
            self._ask_for_reboot()
            self._wait_for_reset(self.timeline.left(timeout))
            for _ in range(_MOST_RESETS if self._setup.spec.firmware == "bios" else 0):
                if not control.wait_for_event("RESET", _UNTIL_RESET):
                    break
            control.execute("set-action", reboot="shutdown")
            self._forget_shell()

    def accept_failed_boots(self) -> None:
        """From now on, let the machine reboot by itself, and go on waiting if a boot fails."""
        vm = self._running()
        vm.control.execute("set-action", reboot="reset")
        vm.console.failures = ()

    def resets(self) -> int:
        """Return how often the machine has rebooted since it was switched on."""
        control = self._running().control
        control.execute("query-status")  # reads the events until now
        return control.events.count("RESET")

    def wait_for_reset(self, seen: int, timeout: float | None = None) -> None:
        """Wait until the machine has rebooted by itself more often than ``seen`` times. The console goes on."""
        with self.step("wait until the machine reboots by itself"):
            if self.resets() <= seen:
                self._wait_for_reset(self.timeline.left(timeout))
            self._forget_shell()

    def _wait_for_reset(self, limit: float) -> None:
        try:
            done = self._running().control.wait_for_event("RESET", limit)
        except (EOFError, OSError) as error:
            raise self.console.error("the machine ended", "its reboot") from error
        if not done:
            raise self.console.error("timed out", "the reboot")

    def _forget_shell(self) -> None:
        self.console.skip()
        self._has_shell, self._ssh = False, []

    def _reboot_from_disk(self, timeout: float | None) -> None:
        with self.step("reboot from disk"):
            without_image = self._setup.from_disk()  # raises before anything happens
            self._running()
            self._ask_for_reboot()
            if not self.console.wait_end(self.timeline.left(timeout)):
                raise self.console.error("timed out", "the reboot")
            self.stop()
            self._setup = without_image
            self.start()

    def _ask_for_reboot(self) -> None:
        if self._has_shell:
            self.console.send("reboot\n")
        else:
            self._press(keys_of("ctrl-alt-delete"))

    def press_power(self) -> None:
        """Press the power button. A guest that handles ACPI events shuts down."""
        self._running().powerdown()

    def unplug_disk(self, number: int = 1) -> None:
        """Remove an empty disk while the machine runs; 1 is the first. The disk must have ``bus = "scsi"``."""
        with self.step(f"unplug disk {number}"):
            self._running().control.execute("device_del", id=f"disk{number}")

    # network

    def forward(self, port: int) -> int:
        """Return a port of this computer's loopback interface that leads to a TCP port of the machine.

        Raises: USAGE if the machine has no network.
        """
        if self._setup.spec.network != "user":
            raise no_network(f"port {port}")
        said = ""
        for _ in range(_ATTEMPTS):  # another program can take the free port first
            if port in self._ports:
                break
            free = free_port()
            said = self._running().monitor(f"hostfwd_add net tcp:{LOOPBACK}:{free}-:{port}")
            if not said:
                self._ports[port] = free
        if port not in self._ports:
            raise failed(f"port {port} cannot be forwarded", said)
        return self._ports[port]

    def wait_for_http(self, url: str, *, status: int = 200, expect: str = "", timeout: float | None = None) -> str:
        """Wait until a server in the machine answers with a status, and text with a regular expression. Return it.

        The host of the URL is the machine: ``http://:8080/path``.
        """
        place, answer = Url.of(url), (0, "")

        def attempt() -> bool:
            nonlocal answer
            answer = fetch(place, self.forward(place.port))
            return answer[0] == status and bool(re.search(expect, answer[1], re.MULTILINE))

        with self.step(f"fetch {url}"):
            try:
                self.wait_until(f"an answer from {url}", attempt, timeout)
            except StagewrightError as error:
                found = f"status {answer[0]}: {answer[1][:1000]}" if answer[0] else answer[1]
                error.detail = f"last answer: {found}\n{error.detail}"
                raise
        return answer[1]

    def ssh(self, command: str, *, status: int = 0, expect: str = "", timeout: float | None = None) -> str:
        """Run a command as root over SSH, which must end with a status. Return its output.

        Waits for the SSH server. systemd in the guest (252 or newer) gets the key as a credential.
        """
        with self.step(f"run {shorten(command)} over SSH"):
            if not self._ssh:
                vm = self._running()
                if self._setup.access is None:
                    raise no_network("SSH")
                self._ssh = wait_for_login(vm, self._setup.access, self.timeline.left(timeout))
            found, output = run_by_ssh([*self._ssh, command], self.timeline.left(timeout))
            if found != status:
                raise self._wrong(command, f"wrong exit status (found {found}, expected {status})", output)
            if expect and not re.search(expect, output, re.MULTILINE):
                raise self._wrong(command, f"/{expect}/ not found in its output", output)
        return output

    def put(self, source: Path, target: str, timeout: float | None = None) -> None:
        """Copy a file to the machine: over SSH if it was used before, otherwise over the console."""
        if self._ssh:
            send([*self._ssh, f"cat > {shlex.quote(target)}"], source)
        else:
            super().put(source, target, timeout)

    def get(self, source: str, target: Path, timeout: float | None = None) -> None:
        """Copy a file of the machine: over SSH if it was used before, otherwise over the console."""
        if self._ssh:
            receive([*self._ssh, f"cat {shlex.quote(source)}"], target)
        else:
            super().get(source, target, timeout)

    def ask(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        """Run a command as a part of a copy: over SSH if it was used before, otherwise over the console."""
        if self._ssh:
            return run_by_ssh([*self._ssh, command], self.timeline.left(timeout))
        return super().ask(command, timeout)

    def block(self) -> None:
        """Pull the cable of the network that it shares with other machines."""
        self._lan().block(self.name)

    def unblock(self) -> None:
        """Put the cable back in."""
        self._lan().unblock(self.name)

    # parts

    def command_line(self) -> str:
        """Return QEMU's command line."""
        return run.paste(self._vm.command) if self._vm else ""

    def tail(self) -> str:
        """Return the last lines of the console."""
        return super().tail() if self._vm else "(not started)"

    def picture(self) -> Path | None:
        """Return the path of a new picture of the screen; the last one if there cannot be a new one."""
        if self.is_running and self._vm:
            with contextlib.suppress(StagewrightError):
                self._screenshot = self._vm.screenshot(self.folder / SCREEN)
        return self._screenshot

    def scan(self) -> Scan:
        """Return the known failures on the console; none if the machine was never started."""
        return super().scan() if self._vm else Scan()

    def result(self, landmarks: Mapping[str, str]) -> MachineResult:
        """Return what is known about the machine."""
        if self._vm is None:
            return MachineResult(name=self.name, command="", console=self.folder / "console.log")
        builtin = "SeaBIOS" if self._setup.spec.firmware == "bios" else "none"
        return replace(
            super().result(landmarks),
            screenshot=self._screenshot,
            firmware=str(self._setup.firmware.code) if self._setup.firmware else builtin,
            acceleration=self._setup.acceleration.name,
        )

    def _running(self) -> VirtualMachine:
        """Return the running machine; it is started if it was never started. Raises ``BOOT_FAILED`` if it is off."""
        console = self.console
        if not self.is_running or self._vm is None:
            raise console.error("the machine is off", "it")
        return self._vm

    def _lan(self) -> Lan:
        if self._setup.lan is None:
            raise StagewrightError(Reason.USAGE, f"{self.name}: no network with other machines", hint="add machines")
        return self._setup.lan

    def _choose(self) -> None:
        """Choose a line of the boot menu by keys. Firmware and loaders accept keys from a serial console."""
        self.console.expect(re.compile(MENU), self.timeline.left(), what="a boot menu")
        time.sleep(_SETTLE)
        for key in [*[_DOWN] * (self._setup.entry - 1), _ENTER]:
            self.console.send(key)
            time.sleep(_BETWEEN)

    def _explained(self, error: StagewrightError) -> StagewrightError:
        return super()._explained(error) if self._vm else error
