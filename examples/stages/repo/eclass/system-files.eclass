# Distributed under the terms of the 0BSD licence

# @ECLASS: system-files.eclass
# @MAINTAINER:
# The Stagewright examples
# @SUPPORTED_EAPIS: 8
# @BLURB: packages of existing files of the system that builds them
# @DESCRIPTION:
# An example cannot compile gcc and glibc within seconds. Packages of this
# eclass take their files from the same paths of the root in which emerge runs:
# a stage0 made by Debian, or a stage made of these packages.
#
# Owners: every shared library in usr/lib/<machine> belongs to
# sys-libs/glibc, to sys-devel/gcc, or to sys-libs/system-libs, which finds with
# ldd what the programs need. Everything else belongs to the package that
# names it. Portage (FEATURES=qa-unresolved-soname-deps) reports programs that
# need a library of no package.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

S="${WORKDIR}"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
# The result depends on the system that builds, as with a live ebuild.
# emerge --usepkg-exclude-live builds these packages again.
PROPERTIES="live"
RESTRICT="strip test"
# The CFLAGS and LDFLAGS were Debian's.
QA_PREBUILT="*"

# @ECLASS_VARIABLE: SYSTEM_PROGRAMS
# @DEFAULT_UNSET
# @DESCRIPTION:
# Names of programs in usr/bin or usr/sbin.

# @ECLASS_VARIABLE: SYSTEM_FILES
# @DEFAULT_UNSET
# @DESCRIPTION:
# Patterns of files and folders, relative to /. Each must match something.

# @ECLASS_VARIABLE: SYSTEM_OPTIONAL
# @DEFAULT_UNSET
# @DESCRIPTION:
# Patterns that can match nothing.

# @ECLASS_VARIABLE: SYSTEM_EXCLUDE
# @DEFAULT_UNSET
# @DESCRIPTION:
# Patterns of files that are left out.

# @ECLASS_VARIABLE: SYSTEM_LIBC
# @DESCRIPTION:
# The libraries of sys-libs/glibc, as patterns of their file names.
SYSTEM_LIBC="
	ld-* libBrokenLocale.* libanl.* libc.so* libc_malloc_debug.* libdl.*
	libm.so* libmemusage.* libmvec.* libnsl.so.1 libnss_* libpcprofile.*
	libpthread.* libresolv.* librt.* libthread_db.* libutil.*
"

# @ECLASS_VARIABLE: SYSTEM_LIBGCC
# @DESCRIPTION:
# The libraries of sys-devel/gcc, as patterns of their file names.
SYSTEM_LIBGCC="
	libatomic.so* libgcc_s.so* libgomp.so* libitm.so* libquadmath.so* libstdc++.so*
"

# @FUNCTION: system-files_in
# @USAGE: <folder pattern> <name pattern>...
# @DESCRIPTION:
# Print the name patterns with the folder in front.
system-files_in() {
	local folder=${1} name
	local -
	set -f
	shift
	for name in ${*}; do
		printf '%s/%s\n' "${folder}" "${name}"
	done
}

# @FUNCTION: system-files_matches
# @USAGE: <name> <pattern>...
# @DESCRIPTION:
# Whether a file name fits one of the patterns.
system-files_matches() {
	local name=${1} pattern
	local -
	set -f
	shift
	for pattern in ${*}; do
		[[ ${name} == ${pattern} ]] && return 0
	done
	return 1
}

# @FUNCTION: system-files_copy
# @USAGE: <path>...
# @DESCRIPTION:
# Copy files and folders, relative to /, as they are. A link that goes through
# Debian's alternatives becomes one to what it means.
system-files_copy() {
	local path target plain=()
	for path; do
		target=$(readlink "${BROOT}/${path}")
		if [[ ${target} == /etc/alternatives/* ]]; then
			dodir "/${path%/*}"
			dosym -r "$(realpath "/${path}")" "/${path}"
		else
			plain+=( "${path}" )
		fi
	done
	[[ ${#plain[@]} -eq 0 ]] && return
	pushd "${BROOT}/" > /dev/null || die
	cp --archive --parents --target-directory="${ED}" -- "${plain[@]}" || die "cannot copy"
	popd > /dev/null || die
}

# @FUNCTION: system-files_expand
# @USAGE: <must|may> <pattern>...
# @DESCRIPTION:
# Print the paths below / that fit the patterns, one to a line.
system-files_expand() {
	local must=${1} pattern found
	shift
	pushd "${BROOT}/" > /dev/null || die
	for pattern in "${@}"; do
		mapfile -t found < <(compgen -G "${pattern}" | LC_ALL=C sort)
		if [[ ${#found[@]} -eq 0 && ${must} == must ]]; then
			die "the system that builds has no /${pattern}"
		fi
		[[ ${#found[@]} -eq 0 ]] || printf '%s\n' "${found[@]}"
	done
	popd > /dev/null || die
}

# @FUNCTION: system-files_compile_python
# @DESCRIPTION:
# Give every Python module its compiled form, one that does not depend on the
# time stamp of the source: images are made with one time stamp for all files.
system-files_compile_python() {
	"${BROOT}"/usr/bin/python3 -B - "${D}" <<-'END' || die "cannot compile Python modules"
		import pathlib, py_compile, sys
		top = pathlib.Path(sys.argv[1])
		made = 0
		for source in sorted(top.rglob("*.py")):
		    inner = "/" + str(source.relative_to(top))
		    cache = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
		    if source.is_symlink():
		        continue
		    if cache.exists() and cache.read_bytes()[4:8] == b"\1\0\0\0":
		        continue  # unchecked hash: taken along from the stage before
		    py_compile.compile(
		        str(source), str(cache), inner, doraise=False, quiet=2,
		        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
		    )
		    made += 1
		print(f"compiled {made} modules")
	END
}

system-files_src_install() {
	local name paths=() excluded=()
	local -
	set -f # the patterns are for the build root, not for here
	for name in ${SYSTEM_PROGRAMS}; do
		if [[ -e ${BROOT}/usr/bin/${name} || -L ${BROOT}/usr/bin/${name} ]]; then
			paths+=( "usr/bin/${name}" )
		elif [[ -e ${BROOT}/usr/sbin/${name} ]]; then
			paths+=( "usr/sbin/${name}" )
		else
			die "the system that builds has no program ${name}"
		fi
	done
	mapfile -t -O "${#paths[@]}" paths < <(system-files_expand must ${SYSTEM_FILES})
	mapfile -t -O "${#paths[@]}" paths < <(system-files_expand may ${SYSTEM_OPTIONAL})
	[[ ${#paths[@]} -ne 0 ]] || die "nothing to install"

	mapfile -t excluded < <(system-files_expand may ${SYSTEM_EXCLUDE})
	system-files_copy "${paths[@]}"
	pushd "${ED}" > /dev/null || die
	[[ ${#excluded[@]} -eq 0 ]] || rm -rf -- "${excluded[@]}" || die
	popd > /dev/null || die
}

EXPORT_FUNCTIONS src_install
