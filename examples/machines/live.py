"""A boot test in Python (docs/testing.md). The image of examples/demo passes it."""

from stagewright.testing import Machine


def test(machine: Machine) -> None:
    """Log in and look at the live system, from inside and from this computer."""
    machine.wait_for_console_text("the live system is ready")
    machine.login("root")

    with machine.subtest("programs of the project"):
        assert "a program that Portage built" in machine.succeed("hello there")
        machine.fail("test -e /usr/bin/gcc")

    with machine.subtest("a server in the machine"):
        machine.succeed("printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' > /tmp/answer")
        machine.succeed("(while nc -l -p 8080 < /tmp/answer; do :; done) > /dev/null 2>&1 &")
        machine.wait_for_open_port(8080)
        assert machine.wait_for_http("http://:8080/") == "hello"

    with machine.subtest("files"):
        release = machine.copy_from("/etc/os-release")
        assert "ID=" in release.read_text(encoding="utf-8")

    machine.screenshot("login")
    machine.shutdown()
