# Distributed under the terms of the GNU General Public License v2

EAPI=8

DISTUTILS_USE_PEP517=standalone
PYTHON_COMPAT=( python3_{11..13} )

inherit distutils-r1

DESCRIPTION="Builds Gentoo-based operating systems from a seed to something that boots"
HOMEPAGE="https://pypi.org/project/stagewright/"
SRC_URI="${P}.tar.gz"

LICENSE="GPL-2+"
SLOT="0"
KEYWORDS="~amd64 ~arm64"
IUSE="manifests +media publish +vm"
# The tests bootstrap roots and start machines: make test in the unpacked source.
RESTRICT="fetch test"

# The source package has the man pages, so a build needs setuptools alone.
BDEPEND=">=dev-python/setuptools-77[${PYTHON_USEDEP}]"
RDEPEND="
	>=dev-python/click-8.1[${PYTHON_USEDEP}]
	>=dev-python/cyclonedx-python-lib-11[${PYTHON_USEDEP}]
	>=dev-python/httpx-0.24[${PYTHON_USEDEP}]
	>=dev-python/jinja2-3.1[${PYTHON_USEDEP}]
	>=dev-python/pydantic-2.12[${PYTHON_USEDEP}]
	>=dev-python/pyseccomp-0.1.2[${PYTHON_USEDEP}]
	>=dev-python/rich-13[${PYTHON_USEDEP}]
	>=dev-python/spdx-tools-0.8.3[${PYTHON_USEDEP}]
	>=dev-python/tree-sitter-0.23[${PYTHON_USEDEP}]
	>=dev-python/tree-sitter-toml-0.6[${PYTHON_USEDEP}]
	app-arch/tar
	app-arch/xz-utils
	app-arch/zstd
	app-containers/slirp4netns
	app-crypt/gnupg
	dev-vcs/git
	sec-keys/openpgp-keys-gentoo-release
	sys-apps/bubblewrap
	sys-apps/util-linux
	sys-libs/libseccomp
	manifests? ( app-portage/gemato[${PYTHON_USEDEP}] )
	media? (
		dev-libs/libisoburn
		sys-fs/dosfstools
		sys-fs/e2fsprogs
		sys-fs/mtools
		sys-fs/squashfs-tools
	)
	publish? (
		dev-python/fsspec[${PYTHON_USEDEP}]
		dev-python/paramiko[${PYTHON_USEDEP}]
	)
	vm? (
		app-crypt/swtpm
		app-emulation/qemu
		sys-firmware/edk2-bin
	)
"

pkg_nofetch() {
	einfo "Make ${P}.tar.gz in a checkout, and move it to your DISTDIR:"
	einfo "    python -m build --sdist"
}
