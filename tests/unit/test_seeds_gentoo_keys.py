"""Gentoo's keys on a computer without Gentoo: only trusted fingerprints are kept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import web
from integration.signing import Signer

from stagewright.engine.doctor_keys import keyring_checks
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.seeds import gentoo_keyring
from stagewright.seeds.gentoo_keyring import default_keyring, existing_keyring
from stagewright.seeds.gentoo_keys import KEYS, addresses, fetch_keys, key_states


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Signer]]:
    place = tmp_path_factory.mktemp("keys")
    made = {
        "good": Signer.make(place / "good", expires="3y"),
        "other": Signer.make(place / "other", "Stranger <s@example.org>"),
        "old": Signer.make(place / "old", "Old <o@example.org>", expires="1y", at="20200101T000000"),
    }
    for name, signer in made.items():
        signer.public(place / f"{name}.asc")
    yield made
    for signer in made.values():
        signer.close()


def file_of(signers: dict[str, Signer], name: str) -> str:
    return str(signers[name].home.with_name(f"{name}.asc"))


def test_keys_of_others_are_never_kept(tmp_path: Path, signers: dict[str, Signer]) -> None:
    both = tmp_path / "both.asc"
    both.write_bytes(b"".join(Path(file_of(signers, name)).read_bytes() for name in ("good", "other")))
    target = tmp_path / "data/keys.asc"
    (state,) = fetch_keys([str(both)], target, [signers["good"].fingerprint])
    assert (state.fingerprint, state.problem) == (signers["good"].fingerprint, "")
    assert [found.fingerprint for found in key_states(target)] == [signers["good"].fingerprint]
    assert target.stat().st_mode & 0o777 == 0o644


def test_keys_come_from_an_address_and_failures_of_others_do_not_matter(
    tmp_path: Path, signers: dict[str, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEWRIGHT_STALL", "0.3")
    (tmp_path / "www").mkdir()
    (tmp_path / "www/keys.gpg").write_bytes(signers["good"].gpg("--export", signers["good"].fingerprint))
    (tmp_path / "www/page").write_text("<html>Welcome to this hotel</html>", encoding="utf-8")
    with web.serve(tmp_path / "www") as site:
        sources = [f"{site.url}/missing", f"{site.url}/page", file_of(signers, "other"), f"{site.url}/keys.gpg"]
        (state,) = fetch_keys(sources, tmp_path / "keys.asc", [signers["good"].fingerprint])
    assert state.fingerprint == signers["good"].fingerprint


@pytest.mark.parametrize("name", ["other", "old"])
def test_a_missing_or_expired_key_fails_and_the_old_file_stays(
    tmp_path: Path, signers: dict[str, Signer], name: str
) -> None:
    target, wanted = tmp_path / "keys.asc", signers["old" if name == "old" else "good"].fingerprint
    target.write_bytes(Path(file_of(signers, "old")).read_bytes())
    before = target.read_bytes()
    with pytest.raises(StagewrightError) as caught:
        fetch_keys([file_of(signers, name), str(tmp_path / "nowhere")], target, [wanted])
    assert caught.value.reason is Reason.FETCH_FAILED
    assert wanted in caught.value.message
    assert "nowhere: file not found" in caught.value.detail
    assert target.read_bytes() == before


def test_states_say_when_a_key_expires(signers: dict[str, Signer]) -> None:
    (old,), (good,), (other,) = (key_states(Path(file_of(signers, name))) for name in ("old", "good", "other"))
    assert (old.problem, old.day) == ("has expired", "2020-12-31")
    assert good.expires
    assert (other.day, other.ends_soon) == ("never", False)


def test_a_missing_keyring_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(gentoo_keyring, "KEYRING", tmp_path / "system.asc")
    with pytest.raises(StagewrightError) as caught:
        existing_keyring()
    assert caught.value.reason is Reason.NO_KEYS
    assert "stagewright keys fetch" in caught.value.hint
    own = tmp_path / "stagewright/gentoo-release.asc"
    own.parent.mkdir()
    own.touch()
    assert existing_keyring() == default_keyring() == own
    (tmp_path / "system.asc").touch()
    assert default_keyring() == tmp_path / "system.asc"


def test_addresses_are_those_of_a_web_key_directory() -> None:
    """The name is that of ``gpg-wks-client --print-wkd-hash``, the address of its advanced and direct methods."""
    assert len({key.fingerprint for key in KEYS}) == len(KEYS)
    found = [url for url in addresses() if "openpgpkey" in url]
    assert len(found) == 2 * len({key.address for key in KEYS})
    client = next(Path("/").glob("usr/lib*/gnupg*/gpg-wks-client"), None)
    if client is None:
        pytest.skip("NOT TESTED: no gpg-wks-client")
    said = subprocess.run([client, "--print-wkd-hash", "releng@gentoo.org"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] in found[0]


PROJECT = """
format = 1
[project]
name = "x"
[repos.gentoo]
snapshot = "https://example.org/snapshots"
keyring = "{repo}.asc"
[binhosts.farm]
uri = "https://example.org/packages"
keys = "old.asc"
[seeds.stage3]
mirror = "https://example.org"
variant = "stage3-amd64-openrc"
keyring = "good.asc"
keys = ["{key}"]
"""


@pytest.mark.parametrize("repo", ["good", "missing"])
def test_doctor_looks_at_the_keyrings_of_a_project(
    tmp_path: Path, signers: dict[str, Signer], monkeypatch: pytest.MonkeyPatch, repo: str
) -> None:
    for name in ("good", "old"):
        (tmp_path / f"{name}.asc").write_bytes(Path(file_of(signers, name)).read_bytes())
    text = PROJECT.format(repo="good", key=signers["good"].fingerprint)
    if repo == "missing":  # Gentoo's keys, which this computer does not have
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setattr(gentoo_keyring, "KEYRING", tmp_path / "system.asc")
        text = text.replace('keyring = "good.asc"\n[binhosts', "[binhosts")
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    checks = {check.name: check for check in keyring_checks(load(tmp_path, kinds(), None))}
    assert {name: check.fine for name, check in checks.items()} == {
        "keys of seed stage3": True,
        "keys of repository gentoo": repo == "good",
        "keys of binhost farm": False,
    }
    assert "has expired" in checks["keys of binhost farm"].found
    if repo == "missing":
        assert "stagewright keys fetch" in checks["keys of repository gentoo"].remedy
