# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The Python interpreter, for Portage"

LICENSE="PSF-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="python python3"
SYSTEM_FILES="usr/bin/python3.[0-9]* usr/lib/python3.[0-9]*"
SYSTEM_OPTIONAL="etc/python3.[0-9]*"
# No tests, no graphics, and no modules that need more libraries.
SYSTEM_EXCLUDE="
	usr/bin/python3.*-config
	usr/lib/python3.*/config-*
	usr/lib/python3.*/ensurepip
	usr/lib/python3.*/idlelib
	usr/lib/python3.*/lib2to3
	usr/lib/python3.*/lib-dynload/*test*.so
	usr/lib/python3.*/lib-dynload/_dbm.*
	usr/lib/python3.*/lib-dynload/_gdbm.*
	usr/lib/python3.*/lib-dynload/nis.*
	usr/lib/python3.*/lib-dynload/xx*.so
	usr/lib/python3.*/pydoc_data
	usr/lib/python3.*/test
	usr/lib/python3.*/tkinter
	usr/lib/python3.*/turtledemo
	usr/lib/python3.*/turtle.py
"

src_install() {
	system-files_src_install
	system-files_compile_python
}
