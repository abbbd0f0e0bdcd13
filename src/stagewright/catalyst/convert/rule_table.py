"""The table that drives the conversion: the rule for each key of each target."""

from __future__ import annotations

import functools

from stagewright.catalyst.convert import (
    common_keys,
    disk_keys,
    kernel_keys,
    media_keys,
    netboot_keys,
    root_keys,
)
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, ignored_by_catalyst, refused, rule
from stagewright.catalyst.spec_keys import SpecKey, Target

_IGNORED = rule(
    "",
    KeyStatus.NO_EFFECT,
    "",
    "Catalyst accepts it for this target and ignores it. So does Stagewright.",
    ignored_by_catalyst,
)

_NO_KERNEL = refused("", "Stagewright builds no kernel for this target", "remove it")

RULES: tuple[ConversionRule, ...] = (
    *common_keys.RULES,
    *root_keys.RULES,
    *media_keys.RULES,
    *disk_keys.RULES,
    *kernel_keys.RULES,
    *netboot_keys.RULES,
)


@functools.cache
def rule_for(key: SpecKey, target: Target) -> ConversionRule:
    """Return the rule for a key of a target."""
    if target not in key.effective and key.name != "target":
        return _IGNORED
    found = next((rule for rule in RULES if rule.covers(key, target)), None)
    if found is None and target is Target.EMBEDDED:
        return _NO_KERNEL
    assert found, f"{target} has a key {key.name} without a rule"
    return found
