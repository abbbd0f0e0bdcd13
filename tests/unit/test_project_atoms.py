"""Package atoms that emerge accepts or rejects. Both lists were compared with ``portage.dep.isvalidatom``."""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from stagewright.project.fields import check_atom

GOOD = """
    app-editors/vim  x11-libs/gtk+  dev-libs/libsigc++  app-misc/2048-cli  _a/_b  a.b/c  a/b-c1  a/b-1x2  a/foo-1a-bar
    media-libs/libpng-compat  @world  @live-rebuild
    >=sys-apps/portage-3.0.30  <a/b-1  >a/b-1  <=a/b-1.2.3z_alpha1_p2  =a/b-1_p  ~sys-kernel/gentoo-sources-6.6.1
    =dev-lang/python-3.12*  =dev-lang/python-3.1.2_rc1-r2  =a/b-1.0*:0[x]  =a/b-001
    a/b:0  a/b:0/1.2  a/b:=  a/b:*  a/b:0=  a/b:3/4=  a/b::gentoo  a/b:0::gentoo[x,-y]
    a/b[x]  a/b[-x]  a/b[!x?]  a/b[x?]  a/b[x=]  a/b[!x=]  a/b[x(+)]  a/b[-x(-),y(+)?]  a/b[l10n_pt-BR]
    a/b[python_targets_python3_12]
"""

BAD = """
    vim  app-editors/  /vim  a/b/c  ä/b  -a/b  +a/b  .a/b  a/-b  a/+b  a/b*  a/*  */*  !a/b  !!a/b  @  @-x
    app-editors/vim-9  =app-editors/vim  >=app-editors/vim  >app-editors/vim-  ==a/b-1  =>a/b-1  =a/b-c
    =a/b-1.  =a/b-1..2  =a/b-1_foo  =a/b-1r1  =a/b-1-r1-r2  =a/b-1-2  >=a/b-1*  ~a/b-1*  =a/b-\u0661
    a/b:  a/b:0/  a/b:0//1  a/b:/1  a/b:0/1/2  a/b::  a/b::-x
    a/b[  a/b[]  a/b[x  a/bx]  a/b[!x]  a/b[-x=]  a/b[-x?]  a/b[x,]  a/b[x][y]  a/b[-x!]  a/b[x(*)]
"""


@pytest.mark.parametrize("atom", GOOD.split())
def test_valid_atoms_are_accepted(atom: str) -> None:
    assert check_atom(atom) == atom


@pytest.mark.parametrize("atom", ["", " ", "a/b c", " a/b", "a/b ", "a/b\n", "@world\n", "=a/b-1\n", *BAD.split()])
def test_invalid_atoms_are_rejected_with_a_hint(atom: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        check_atom(atom)
    assert caught.value.type == "bad_atom"
    assert (caught.value.context or {})["hint"]
