"""Boot menus are read as their loaders read them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.bootmenu.grub import MOST_STATEMENTS, read_grub
from stagewright.media.bootmenu.loader_spec import read_loader_spec
from stagewright.media.bootmenu.syslinux import read_syslinux

GRUB = "boot/grub/grub.cfg"


def grub(text: str, **files: str) -> list[FoundEntry]:
    return read_grub(GRUB, text, {name.replace("__", "/"): content for name, content in files.items()}.get)


def one(text: str, **files: str) -> FoundEntry:
    (entry,) = grub(text, **files)
    return entry


@pytest.mark.parametrize(
    "text",
    [
        "menuentry 'Live' { linux /boot/k quiet; initrd /boot/i }",
        'menuentry "Live" {\n\tlinux /boot/k quiet\n\tinitrd /boot/i\n}\n',
        "menuentry Live{\nlinux /boot/k quiet\ninitrd /boot/i\n}",
        "menuentry --hotkey=l --class gnu 'Live' --id live { linux /boot/k quiet; initrd /boot/i }",
        "menuentry 'Live' --unrestricted --users root {\r\n linux /boot/k quiet\r\n initrd /boot/i\r\n}\r\n",
        'menuentry "Live" { linux "/boot/k" "quiet"; initrd "/boot/i" }',
        "menuentry Li've' { linux /boot/k \\\n   quiet\n initrd /boot/i }",
        "menuentry Live { linux /boot/k quiet  # keymap=de\n initrd /boot/i }",
        "menuentry Live { linux16 /boot/k quiet\n initrd16 /boot/i }",
        "menuentry Live { linuxefi /boot/k quiet\n initrdefi /boot/i }",
        "menuentry Live { linux ($root)/boot/k quiet\n initrd (cd0,msdos1)/boot/i }",
        "set linux=linux\nset initrd=initrd\nmenuentry Live { $linux ($root)/boot/k quiet\n ${initrd} /boot/i }",
        "if [ $grub_platform = efi ]; then\n set l=linuxefi\nelse\n set l=linux\nfi\n"
        "menuentry Live { if true; then $l $base/boot/k quiet; fi\n initrd ${base}/boot/i }",
        "set k=/boot/k\nmenuentry Live { set i=/boot/i\n linux $k quiet\n initrd $i }",
        "args='quiet'\nmenuentry Live { linux /boot/k $args\n initrd /boot/i }",
        "#menuentry Old { linux /old; initrd /old }\nmenuentry Live { linux /boot/k quiet\n initrd /boot/i }",
        "submenu More { menuentry Live { linux /boot/k quiet\n initrd /boot/i } }",
        "function start { linux /boot/$1 $2; initrd /boot/i; }\nmenuentry Live { start k quiet }",
        "for name in k; do menuentry Live { linux /boot/$name quiet; initrd /boot/i }; done",
        "while true; do menuentry Live { linux /boot/k quiet; initrd /boot/i }; done",
        "menuentry Live k { linux /boot/$2 quiet; initrd /boot/i }",
        "} fi done { menuentry Live { linux /boot/k quiet; initrd /boot/i } }",
    ],
)
def test_grub_scripts_are_read_as_grub_reads_them(text: str) -> None:
    assert one(text) == FoundEntry(GRUB, "Live", "boot/k", ("boot/i",), "quiet", default=True)


def test_all_initrds_of_a_line_are_listed_in_order() -> None:
    assert one("menuentry x { linux /k; initrd /ucode.img /boot/i }").initrds == ("ucode.img", "boot/i")


def test_a_variable_that_only_the_machine_knows_stays_in_the_arguments() -> None:
    entry = one("menuentry x { linux (loop)/k findiso=${iso_path} a=$b; initrd (loop)/i }")
    assert (entry.kernel, entry.arguments) == ("k", "findiso=${iso_path} a=${b}")


def test_quoted_text_is_one_word() -> None:
    assert one("""menuentry x { linux /k "a=1 2" b='3 $c' d\\ e; initrd /i }""").arguments == "a=1 2 b=3 $c d e"


def test_xen_loads_kernel_and_initramfs_as_modules() -> None:
    entry = one("menuentry x { multiboot2 /xen.gz dom0\n module2 /k root=a\n module2 --nounzip /i }")
    assert (entry.kernel, entry.arguments, entry.initrds) == ("k", "root=a", ("i",))


@pytest.mark.parametrize("default", ["1", "Second", "two", "2>0", "More>Third"])
def test_the_default_is_the_entry_that_the_menu_names(default: str) -> None:
    text = (
        f"set default='{default}'\nmenuentry First {{ linux /1 }}\nmenuentry Second --id two {{ linux /2 }}\n"
        "submenu More { menuentry Third { linux /3 } }"
    )
    assert [entry.kernel for entry in grub(text) if entry.default] == ["3" if ">" in default else "2"]


def test_other_files_are_followed() -> None:
    text = 'source "$prefix/live.cfg"\nsubmenu Old { configfile /old.cfg }'
    found = grub(text, **{"live.cfg": "menuentry A { linux /a }", "old.cfg": "menuentry B { linux /b }"})
    assert [(entry.file, entry.title) for entry in found] == [("live.cfg", "A"), ("old.cfg", "B")]


@pytest.mark.parametrize(
    "text",
    [
        "source grub.cfg\n" * 50,
        "function f { f; f; }\nf\n" * 50,
        "set a=aaaaaaaaaaaaaaaa\n" + "set a=$a$a\n" * 60,
        "for a in 1 2 3 4 5 6 7 8 9; do\n" * 40 + "set b=$a\n" + "done\n" * 40,
        "if x; then " * 5000,
        "menuentry x {" * 20000,
        "'" * 100_001,
        "$" * 200_000,
        "\\" * 200_001,
        '"$a' * 50_000,
    ],
    ids=range(10),
)
@pytest.mark.slow
def test_a_script_that_grows_ends_soon(text: str) -> None:
    started = time.process_time()
    read_grub(GRUB, text, lambda _: text)
    assert time.process_time() - started < 2
    assert MOST_STATEMENTS < 100_000


@given(st.text(st.sampled_from(list("menutry linux{}[];#'\"\\$()=/\n\t a>")) | st.characters(codec="utf-8")))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for entry in [*grub(text), *read_syslinux("isolinux/isolinux.cfg", text, {}.get), *read_loader_spec("a", text)]:
        assert ".." not in entry.kernel.split("/")


ISOLINUX = """
DEFAULT live
TIMEOUT 30
append quiet
LABEL first
  MENU LABEL ^First one
  KERNEL gentoo
  INITRD ucode.img,gentoo.igz
Label live
  text help
    label no
    kernel no
  endtext
  linux /boot/other
  append initrd=../x/other.igz root=/dev/ram0
label disk
  localboot 0x80
label test
  kernel memtest.bin
label bare
  kernel bare  vga=1
  append -
"""


def test_isolinux_names_are_relative_to_its_folder() -> None:
    first, live, bare = read_syslinux("isolinux/isolinux.cfg", ISOLINUX, {}.get)
    files = ("isolinux/ucode.img", "isolinux/gentoo.igz")
    assert first == FoundEntry("isolinux/isolinux.cfg", "First one", "isolinux/gentoo", files, "quiet")
    assert live == FoundEntry("isolinux/isolinux.cfg", "live", "boot/other", ("x/other.igz",), "root=/dev/ram0", True)
    assert (bare.kernel, bare.initrds, bare.arguments) == ("isolinux/bare", (), "")


def test_isolinux_includes_and_menu_default() -> None:
    files = {"isolinux/menu.cfg": "label a\nkernel a\nlabel b\nmenu default\nkernel b\ninclude menu.cfg\n"}
    found = read_syslinux("isolinux/isolinux.cfg", "INCLUDE menu.cfg\n", files.get)
    assert [(entry.kernel, entry.default) for entry in found[:2]] == [("isolinux/a", False), ("isolinux/b", True)]


def test_loader_entries_hold_several_initrds_and_options() -> None:
    text = "# x\ntitle Live\nlinux /boot/k\ninitrd /ucode.img\ninitrd\t/boot/i\noptions a=1\noptions b\n"
    assert read_loader_spec("loader/entries/live.conf", text) == [
        FoundEntry("loader/entries/live.conf", "Live", "boot/k", ("ucode.img", "boot/i"), "a=1 b")
    ]
    assert read_loader_spec("loader/entries/shell.conf", "title Shell\nefi /shell.efi\n") == []
