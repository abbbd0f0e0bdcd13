"""The table of rules: every key of every target has a rule, every rule is used, and the page is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from releases import HEAD, SPECS, World

from stagewright.catalyst.convert.converter import convert
from stagewright.catalyst.convert.key_table import lines, markdown
from stagewright.catalyst.convert.rule import KeyStatus
from stagewright.catalyst.convert.rule_table import RULES, rule_for
from stagewright.catalyst.release import Member, Release
from stagewright.catalyst.release_graph import make_graph
from stagewright.catalyst.spec import parse
from stagewright.catalyst.spec_keys import KEYS, SpecKey, Target, ValueType
from stagewright.cli.main import run
from stagewright.dropin.project import Loaded
from stagewright.errors import Exit

PAGE = Path(__file__).parents[2] / "docs" / "catalyst-keys.md"

PAIRS = [(key, target) for key in KEYS for target in Target if target in key.targets]


def test_every_key_has_a_rule() -> None:
    for key, target in PAIRS:
        rule = rule_for(key, target)
        assert rule.explanation
        assert (rule.status is KeyStatus.NO_EFFECT) == (target not in key.effective), (key.name, target)


def test_every_rule_applies_to_a_key() -> None:
    used = {id(rule_for(key, target)) for key, target in PAIRS}
    assert [rule.names for rule in RULES if id(rule) not in used] == []


def spec_with(key: SpecKey, target: Target) -> str:
    """Return a spec of a target with a key."""
    base = SPECS.get(target, f"target: {target}\nversion_stamp: x\nsource_subpath: 1.0/stage3-amd64-openrc-latest\n")
    if target is Target.LIVECD3:
        base += "livecd/iso: x.iso\nlivecd/cdtar: 1.0/livecd-stage2-amd64-@TIMESTAMP@\n"
    name = key.name.replace("<kernel>", "gentoo").replace("<package>", "app-misc/hello")
    words = {
        ValueType.YES: "yes",
        ValueType.PATH: "files/x",
        ValueType.PATHS: "files/x",
        ValueType.CONFIG: "files/x",
    }.get(key.value_type, "x=y")
    words = {
        "rename_regexp": "s_amd64_AMD_",
        "livecd/iso": "other.iso",
        "livecd/cdtar": "1.0/livecd-stage2-amd64-@TIMESTAMP@",
    }.get(name, words)
    words = {"target": target.value, "compression_mode": "gzip", "subarch": "i686", "boot/kernel": "gentoo"}.get(
        name, words
    )
    kept = [line for line in (HEAD + base).splitlines() if line.partition(":")[0] != name]
    kernel = (
        [] if "<kernel>" not in key.name or any("boot/kernel:" in line for line in kept) else ["boot/kernel: gentoo"]
    )
    package = ["netboot/packages: app-misc/hello"] if "<package>" in key.name else []
    return "\n".join([*kept, *kernel, *package, f"{name}: {words}", ""])


@pytest.mark.parametrize("target", Target)
def test_every_rule_is_applied_to_its_key(target: Target, tmp_path: Path) -> None:
    """A key is converted by its rule. A refused key is reported with its place."""
    world = World(tmp_path)
    for key in (key for key in KEYS if target in key.targets):
        file = world.write("x", spec_with(key, target), "")
        loaded = world.load(file)
        rule = rule_for(key, target)
        name = key.name.replace("<kernel>", "gentoo").replace("<package>", "app-misc/hello")
        applied = {key: rule for _, key, rule in loaded.converted.applied}
        if target is Target.SNAPSHOT:
            assert applied == {}  # `catalyst -s` makes it
        else:
            assert applied[name] is rule
            if rule.status is KeyStatus.REFUSED:
                assert name in {error.message.partition(":")[0] for error in loaded.converted.refused}


IDENTITY = ("target", "subarch", "version_stamp", "rel_type", "profile", "source_subpath")

ELSEWHERE = ("snapshot_treeish", "binrepo_path", "decompressor_search_order", "livecd/fstype")
"""Keys that change nothing by themselves in a good spec; their tests are in test_catalyst_convert.py."""


def _changes(key: SpecKey, target: Target) -> bool:
    rule = rule_for(key, target)
    alone = key.name in ELSEWHERE or key.name.endswith(("/depclean", "/sshkey"))
    if key.name == "boot/kernel" or (key.name == "livecd/cdtar" and target is Target.LIVECD2):
        alone = True
    done = rule.status in (KeyStatus.HONOURED, KeyStatus.DIFFERS) and rule.convert.__name__ != "_no_setting"
    return done and not alone and target is not Target.SNAPSHOT


@pytest.mark.parametrize("target", Target)
def test_every_honoured_key_changes_the_project(target: Target, tmp_path: Path) -> None:
    world = World(tmp_path)
    if target is Target.LIVECD3:
        world.write("payload", SPECS["livecd-stage2"])
    payload = list(world.specs.glob("payload.spec"))
    for key in (key for key in KEYS if target in key.targets and _changes(key, target)):
        text = spec_with(key, target)
        name = key.name.replace("<kernel>", "gentoo").replace("<package>", "app-misc/hello")
        without = "\n".join(line for line in text.splitlines() if line.partition(":")[0] != name)
        other = {"target": "stage3" if target is Target.STAGE4 else "stage4", "subarch": "ev4"}.get(name, "other")
        if name in IDENTITY:
            without += f"\n{name}: {other}"
        before = picture(world.load(world.write("x", text, ""), *payload))
        after = picture(world.load(world.write("x", f"{without}\n", ""), *payload))
        assert before != after, name


def picture(loaded: Loaded) -> object:
    """The whole result of a conversion, without places."""
    converted = loaded.converted
    entries = [(draft.table, draft.name, draft.data) for draft in converted.drafts]
    outputs = [(output.entry, output.path) for output in converted.outputs]
    return entries, outputs, [error.message for error in converted.refused], [item.text for item in converted.notices]


def test_the_page_of_keys_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(lines(list(Target))), (
        f"run: stagewright catalyst keys --markdown > {PAGE}"
    )


def test_the_keys_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalyst", "keys", "stage4", "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert {line["key"] for line in found} == {key.name for key in KEYS if Target.STAGE4 in key.targets}
    assert all(line["targets"] == ["stage4"] for line in found)
    assert run(["catalyst", "keys"]) == Exit.OK
    assert "stage4/packages" in capsys.readouterr().out


def test_the_explanations_of_rules_are_sentences() -> None:
    assert [
        rule.explanation
        for rule in RULES
        if not rule.explanation.endswith(".") and rule.status is not KeyStatus.REFUSED
    ] == []


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(sorted({key.name.replace("<kernel>", "gentoo") for key in KEYS}))
BODY = st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=4)), max_size=12)


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(target=st.sampled_from(list(Target)), body=BODY)
def test_conversion_of_any_spec_gives_tables_or_errors(
    target: Target, body: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    text = HEAD + f"target: {target}\nversion_stamp: x\nsource_subpath: 1.0/y\nboot/kernel: gentoo\n"
    text += "".join(f"{name}: {' '.join(words)}\n" for name, words in body)
    release = Release([Member(parse(text, tmp_path / "x.spec"))])
    loaded = Loaded(release, make_graph(release), convert(release, make_graph(release), {}))
    for error in [*loaded.converted.refused, *loaded.model_problems()]:
        assert error.place is not None


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=300))
def test_conversion_of_any_text_gives_tables_or_errors(text: str, tmp_path: Path) -> None:
    release = Release([Member(parse(text, tmp_path / "x.spec"))])
    assert convert(release, make_graph(release), {}).drafts is not None
