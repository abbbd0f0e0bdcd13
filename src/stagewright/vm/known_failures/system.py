"""Failures of the running system: systemd, OpenRC, other inits, and programs."""

from __future__ import annotations

from stagewright.vm.failures import Part, rows

_FINAL = rows(
    Part.INIT,
    (
        "the boot ended in emergency mode",
        r"Entering emergency mode|You are in emergency mode|Press Enter for emergency shell|Starting Emergency Shell",
        "the lines with FAILED or DEPEND above name the unit; journalctl -xb shows more",
    ),
    (
        "the boot ended in a maintenance shell",
        r"(Press Enter|Give root password) for maintenance",
        "the lines with FAILED or DEPEND above name the unit",
    ),
    (
        "the init failed",
        r"Freezing execution|systemd\[1\]: Caught <\w+>",
        "the line above says why: often a missing library, or no /proc, /sys or cgroup",
    ),
    final=True,
)

_SYSTEMD = rows(
    Part.INIT,
    (
        "a device did not appear for a unit",
        r"^\[ +TIME +\] Timed out waiting",
        "compare /etc/fstab with the disks of the machine",
    ),
    (
        # systemd reports file systems that are busy at power-off; they are read-only then
        "a unit failed",
        r"^\[FAILED\] (?!Failed (unmounting|deactivating) )|systemd\[1\]: Failed to start |: Failed with result '",
        'add { run = "systemctl status UNIT" } to `commands`, with the name of the unit',
    ),
    (
        "a unit was not started, because one that it needs failed",
        r"^\[DEPEND\] |Dependency failed for ",
        "look for the unit that failed in the lines above",
    ),
    (
        "systemd removed a unit from the boot, because units wait for each other in a circle",
        r"[Oo]rdering cycle found|Found ordering cycle",
        "the lines name the units: correct Before= and After=",
    ),
    (
        "a unit ended too often and is not started again",
        r"Start request repeated too quickly",
        'add { run = "systemctl status UNIT" } to `commands`, with the name of the unit',
    ),
    (
        "a generator of systemd failed",
        r"system-generators/\S+ (failed with|terminated by|failed due to)",
        "run the generator in `stagewright shell STAGE`",
    ),
)

_OTHERS = rows(
    Part.INIT,
    (
        "a service of OpenRC failed",
        r"\* ERROR: .* (failed to (start|stop)|would not start|needs service)|\* ERROR: cannot start ",
        'add { run = "rc-service NAME start" } to `commands` to see its messages',
    ),
    (
        "a step of OpenRC failed",
        r"\[ !! \]\s*$",
        "the line above says which one",
    ),
    (
        "a terminal of inittab ends again and again",
        r"INIT: Id \"\S+\" respawning too fast|getty\[\d+\]: \S+: cannot open",
        "check the device of the line in /etc/inittab, and that its program exists",
    ),
    (
        "the init found no table or no program",
        r"INIT: No inittab file found|can't (run|execute) '/\S+': |can't open /dev/tty\w+: ",
        "check /etc/inittab and the programs that it names",
    ),
)

_PROGRAMS = rows(
    Part.PROGRAM,
    (
        "a program crashed",
        r": segfault at |traps: \S+\[\d+\] |=11/SEGV|code=dumped|SIGSEGV|\([Cc]ore dumped\)|dumped core",
        "the line names the program and the library",
    ),
    (
        "a program in Python ended with an exception",
        r"^Traceback \(most recent call last\):",
        "the last line of the traceback says why",
    ),
    (
        "a program in Go or Rust ended with a panic",
        r"^panic: |^thread '.*' (\(\d+\) )?panicked at ",
        "the line says why",
    ),
    (
        "a program does not find a library",
        r"error while loading shared libraries: ",
        "add the package with the library, or rebuild the program (revdep-rebuild)",
    ),
)

SYSTEM = (*_FINAL, *_SYSTEMD, *_OTHERS, *_PROGRAMS)
"""Failures of the running system."""
