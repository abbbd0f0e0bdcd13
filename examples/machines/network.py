"""A server with a network set, and a client that boots from it."""

from stagewright.testing import Machine

ADDRESS = "192.168.77.1"

DHCP = f"""interface eth0
start 192.168.77.10
end 192.168.77.20
option subnet 255.255.255.0
option router {ADDRESS}
boot_file http://{ADDRESS}/boot.ipxe
siaddr {ADDRESS}
lease_file /run/leases
"""


def test(server: Machine, client: Machine) -> None:
    """Start both, and look at what the client did."""
    with server.subtest("the server"):
        server.wait_for_console_text("the live system is ready")
        server.login("root")
        server.execute("killall udhcpc")
        server.succeed("modprobe isofs; mount -t iso9660 -o ro /dev/vda /mnt")
        server.succeed(f"ip addr add {ADDRESS}/24 dev eth0 && ip link set eth0 up")
        server.succeed(f"printf %s '{DHCP}' > /run/udhcpd.conf && touch /run/leases")
        server.succeed("httpd -p 80 -h /mnt", "udhcpd /run/udhcpd.conf")
        server.wait_for_open_port(80)

    with client.subtest("the client"):
        client.start()
        client.wait_for_console_text("the live system is ready")
        client.login("root")
        client.succeed("grep -q root=live:/image.squashfs.img /proc/cmdline")
        assert "a program that Portage built" in client.succeed("hello there")
        client.wait_until_succeeds(f"ping -c 1 -W 2 {ADDRESS}")

    with client.subtest("a pulled cable"):
        client.block()
        client.fail(f"ping -c 1 -W 2 {ADDRESS}")
        client.unblock()
        client.wait_until_succeeds(f"ping -c 1 -W 2 {ADDRESS}")

    client.shutdown()
    server.shutdown()
