"""The kind pxeboot: parts that it shares with the ISO, and errors before the build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_graph_keys import PROJECT, SOURCES, lay_out

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.keys import keys_of
from stagewright.graph.node import Graph
from stagewright.kinds.media.pxeboot import PxeBoot, _programs
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.tests.netboots import _SetAddress
from stagewright.media.arguments import InitramfsKind
from stagewright.media.netmodules import NetModule
from stagewright.media.payload import BootKernel, Payload
from stagewright.netboot.methods import Method
from stagewright.netboot.signatures import ImageSigning
from stagewright.project.load import load

PXE = '[stages.pxe]\nkind = "pxeboot"\n'
BOOT = '[stages.boot]\nkind = "livecd-stage2"\n'


def project(folder: Path, *changes: tuple[str, str]) -> Graph:
    lay_out(folder)
    text = PROJECT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    return graph_of(load(folder, kinds()))


def problems(folder: Path, *changes: tuple[str, str]) -> list[StagewrightError]:
    with pytest.raises(StagewrightError) as caught:
        project(folder, *changes)
    error = caught.value
    return error.problems if isinstance(error, ProblemsError) else [error]


def test_it_shares_its_parts_with_the_iso(tmp_path: Path) -> None:
    graph = project(tmp_path)
    assert graph.nodes["pxe"].inputs == graph.nodes["iso"].inputs
    assert graph.nodes["pxe"].inputs["squashfs"] == "live+boot.squashfs"


def test_its_settings_do_not_change_other_nodes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = keys_of(project(tmp_path / "one"), SOURCES)
    changed = PXE + 'methods = ["http"]\nbase_url = "http://server/x"\nkernel_arguments = { quiet = true }\n'
    two = keys_of(project(tmp_path / "two", (PXE, changed)), SOURCES)
    assert {name for name in one if one[name].digest != two[name].digest} == {"pxe", "test:loads", "test:together"}


DRACUT_ALONE = BOOT + 'initramfs = { modules = ["dmsquash-live"] }\n'

PARTS = PXE + 'live = "live"\nboot = "boot"\n'

WRONG = {
    "http without livenet": ([(BOOT, DRACUT_ALONE), (PXE, PXE + 'methods = ["http"]\n')], Reason.ENVIRONMENT_LACKS),
    "a stream without its module": ([(PXE, PXE + 'methods = ["initrd", "stream"]\n')], Reason.ENVIRONMENT_LACKS),
    "nfs without its module": ([(PXE, PXE + 'methods = ["nfs"]\n')], Reason.ENVIRONMENT_LACKS),
    "a module that is omitted": (
        [(BOOT, BOOT + 'initramfs = { modules = ["dmsquash-live", "nfs"], omit = ["nfs"] }\n')],
        Reason.INVALID_VALUE,
    ),
    "no address of NFS": ([(PXE, PXE + 'nfs_url = "server:/set"\n')], Reason.INVALID_VALUE),
    "a port that dracut takes for a name": ([(PXE, PXE + 'nfs_url = "nfs://server:2050/set"\n')], Reason.INVALID_VALUE),
    "no payload": ([(PARTS, PARTS.replace('boot = "boot"', 'boot = "pack"'))], Reason.INVALID_VALUE),
    "a loader that the payload has not": ([(PXE, PXE + 'loaders = ["ipxe"]\n')], Reason.INVALID_VALUE),
    "a program that does not know where": (
        [(BOOT, BOOT + 'loaders = ["systemd-boot", "uki"]\n'), (PXE, PXE + "uki = true\n")],
        Reason.MISSING_KEY,
    ),
    "a stub that the payload has not": ([(PXE, PXE + "single_file = true\n")], Reason.INVALID_VALUE),
    "signatures without a verified image": (
        [
            (BOOT, BOOT + "verity = false\n"),
            (PXE, PXE + 'sign = { key = "/etc/passwd", certificate = "stagewright.toml" }\n'),
        ],
        Reason.INVALID_VALUE,
    ),
    "no web address": ([(PXE, PXE + 'base_url = "server/x"\n')], Reason.INVALID_VALUE),
    "a kernel that the payload has not": ([(PXE, PXE + 'kernel = "hardened"\n')], Reason.UNKNOWN_NAME),
    "no method": ([(PXE, PXE + 'methods = ["ftp"]\n')], Reason.INVALID_VALUE),
    "a method twice": ([(PXE, PXE + 'methods = ["http", "http"]\n')], Reason.INVALID_VALUE),
    "no size": ([(PXE, PXE + 'budget = { "combined.igz" = "much" }\n')], Reason.INVALID_VALUE),
    "a title that menus cannot show": ([(PXE, PXE + "title = 'a \"b'\n")], Reason.INVALID_VALUE),
}


@pytest.mark.parametrize(("changes", "reason"), WRONG.values(), ids=WRONG)
def test_errors_have_a_place_and_a_hint(tmp_path: Path, changes: list[tuple[str, str]], reason: Reason) -> None:
    (problem,) = problems(tmp_path, *changes)
    assert problem.reason is reason
    assert problem.place
    assert problem.place.line > 1
    assert problem.hint or "should be" in problem.message  # which lists what it may be


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('start = "pxelinux"\n', True),
        ('start = "pxelinux"\nfirmware = "bios"\n', False),
        ('start = "grub"\nmethod = "http"\n', False),
        ('start = "grub"\nmethod = "nfs"\n', True),
        ('start = "http-boot"\nmethod = "stream"\n', True),
        ('start = "ipxe-tftp"\nmethod = "http"\n', False),
        ('start = "undionly"\n', True),
        ('start = "undionly"\nfirmware = "bios"\nmethod = "http"\n', False),
        ('start = "snponly"\n', False),
        ('start = "snponly"\nmethod = "http"\n', True),
        ('start = "http-boot"\nfirmware = "bios"\n', True),
        ('start = "http-boot"\nmethod = "initrd"\n', False),
        ('start = "http-boot"\nfirmware = "uefi-secure"\n', False),
        ('firmware = "uefi-secure"\n', True),
        ('start = "undionly"\nfirmware = "bios"\nvariables = "stagewright.toml"\n', True),
        ('start = "http-boot"\nrefused = true\n', True),
    ],
)
def test_boot_methods_that_do_not_exist_are_refused(tmp_path: Path, line: str, found: bool) -> None:
    change = ('netboots = "pxe"\n', f'netboots = "pxe"\n{line}')
    if found:
        (problem,) = problems(tmp_path, change)
        assert (problem.reason, bool(problem.hint)) == (Reason.INVALID_VALUE, True)
    else:
        project(tmp_path, change)


HTTPS = PXE + 'base_url = "https://server/x"\nuki = true\n'
UNIFIED = BOOT + 'loaders = ["uki", "systemd-boot"]\n'


def test_a_program_that_fetches_by_https_cannot_be_tested(tmp_path: Path) -> None:
    change = ('netboots = "pxe"\n', 'netboots = "pxe"\nstart = "http-boot"\n')
    (problem,) = problems(tmp_path, change, (PXE, HTTPS), (BOOT, UNIFIED))
    assert (problem.reason, "HTTPS" in problem.message) == (Reason.INVALID_VALUE, True)
    (tmp_path / "single").mkdir()
    project(tmp_path / "single", (change[0], f'{change[1]}method = "initrd"\n'), (PXE, HTTPS), (BOOT, UNIFIED))


@pytest.mark.parametrize(
    ("base_url", "place"),
    [
        ("", ("10.0.2.2", 80, "", "http://10.0.2.2")),
        ("http://server", ("server", 80, "", "http://server")),
        ("http://server:8080/a%20b/c/", ("server", 8080, "a b/c", "http://server:8080/a%20b/c")),
        ("http://[fd00::1]/x", ("fd00::1", 80, "x", "http://[fd00::1]/x")),
    ],
)
def test_the_address_of_a_set_is_taken_from_its_base_url(base_url: str, place: tuple[str, int, str, str]) -> None:
    found = _SetAddress.of(base_url)
    assert (found.host, found.port, found.path, found.url(found.port)) == place


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("", set()),
        ('start = "snponly"\n', {"dnsmasq"}),
        ('firmware = "bios"\nmethod = "nfs"\n', {"ganesha.nfsd"}),
        ('firmware = "bios"\nmethod = "nbd"\n', {"nbdkit"}),
    ],
)
def test_programs_of_the_host_are_required_only_where_they_are_used(
    tmp_path: Path, line: str, programs: set[str]
) -> None:
    tools = project(tmp_path, ('netboots = "pxe"\n', f'netboots = "pxe"\n{line}')).nodes["test:loads"].tools
    assert set(tools) & {"dnsmasq", "ganesha.nfsd", "nbdkit"} == programs


KERNEL = BootKernel(
    "gentoo", "6", "boot/gentoo", "boot/gentoo.igz", InitramfsKind.DRACUT, False, (NetModule.LIVENET,), False
)


def test_methods_are_those_that_the_payload_supports() -> None:
    stage = PxeBoot(live="live", boot="boot")
    assert stage._net_set(KERNEL, "t").methods == [Method.INITRD, Method.HTTP]
    streaming = replace(KERNEL, network=tuple(NetModule))
    assert stage._net_set(streaming, "t").methods == list(Method)
    genkernel = BootKernel("gentoo", "6", "k", "i", InitramfsKind.GENKERNEL, False, (), True)
    wanted = stage._net_set(genkernel, "t")
    assert wanted.methods == [Method.INITRD]
    assert "overlayfs" in wanted.command.options


def test_dracut_gets_the_size_of_an_image_that_is_not_verified() -> None:
    """It compares the memory with the size. The root hash of a verified image comes with the number of its blocks."""
    stage = PxeBoot(live="live", boot="boot")
    size = "rd.stagewright.size=3"
    assert size in stage._net_set(KERNEL, "t", "", 5 << 19).command.options
    assert size not in stage._net_set(KERNEL, "t", f"5:{'0' * 64}", 5 << 19).command.options
    genkernel = BootKernel("gentoo", "6", "k", "i", InitramfsKind.GENKERNEL, False, (), True)
    assert size not in stage._net_set(genkernel, "t", "", 5 << 19).command.options


def test_a_payload_that_cannot_fetch_is_refused_during_the_build() -> None:
    """For example with genkernel, which the project does not name."""
    genkernel = BootKernel("gentoo", "6", "k", "i", InitramfsKind.GENKERNEL, False, (), True)
    with pytest.raises(StagewrightError) as caught:
        PxeBoot(live="live", boot="boot", methods=[Method.HTTP])._net_set(genkernel, "t")
    assert (caught.value.reason, bool(caught.value.hint)) == (Reason.ENVIRONMENT_LACKS, True)


def test_a_signed_set_needs_a_verified_image() -> None:
    """The certificate signs no image: the script has the root hash."""
    keys = ImageSigning(key="/keys/ipxe.key", certificate="ipxe.crt")
    stage = PxeBoot(live="live", boot="boot", sign=keys)
    with pytest.raises(StagewrightError) as caught:
        stage._net_set(KERNEL, "t")
    assert (caught.value.reason, bool(caught.value.hint)) == (Reason.ENVIRONMENT_LACKS, True)
    assert stage._net_set(KERNEL, "t", f"5:{'0' * 64}").signed


@pytest.mark.parametrize("method", [Method.STREAM, Method.NFS, Method.NBD])
def test_a_payload_that_cannot_stream_is_refused_during_the_build(method: Method) -> None:
    with pytest.raises(StagewrightError) as caught:
        PxeBoot(live="live", boot="boot", methods=[method])._net_set(KERNEL, "t")
    assert method.modules[-1] in str(caught.value.hint)


def test_programs_are_those_of_the_payload(tmp_path: Path) -> None:
    for name in ("ipxe/ipxe.efi", "pxelinux/pxelinux.0", "pxelinux/other"):
        path = tmp_path / "network" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(_programs(tmp_path, None)) == {"ipxe.efi", "pxelinux.0"}
    assert _programs(tmp_path, []) == {}


def test_a_payload_is_read_as_written(tmp_path: Path) -> None:
    Payload(arch="amd64", kernels=(KERNEL,)).write(tmp_path)
    assert Payload.read(tmp_path).kernels[0] == KERNEL
