"""The smallest project with a stage that tests can boot."""

SMALL_ISO = """format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
arch = "amd64"
file = "seed"
[stages.live]
kind = "livecd-stage1"
root = "base"
[stages.boot]
kind = "livecd-stage2"
root = "base"
[stages.iso]
kind = "livecd-stage3"
live = "live"
boot = "boot"
"""
"""Text of the project file, without tests. The folder ``seed`` must exist."""
