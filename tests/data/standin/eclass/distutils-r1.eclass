# A stand-in for Gentoo's eclass where its repository is not in reach: one version of Python, and the build backend that
# the sources name (PEP 517), as DISTUTILS_USE_PEP517=standalone does it.

[[ ${DISTUTILS_USE_PEP517} == standalone ]] || die "DISTUTILS_USE_PEP517 is not standalone"
[[ ${PYTHON_COMPAT[*]} == *python3_11* ]] || die "PYTHON_COMPAT has no python3_11"

IUSE="python_targets_python3_11"
PYTHON_USEDEP="python_targets_python3_11(-)?"

distutils-r1_src_compile() {
	python3 -c 'import sys; sys.path.insert(0, "tools"); import build_backend as it; it.build_wheel("'"${T}"'")' || die
}

distutils-r1_src_install() {
	python3 -m pip install --no-index --no-deps --no-compile --root="${D}" --prefix=/usr "${T}"/*.whl || die
}

EXPORT_FUNCTIONS src_compile src_install
