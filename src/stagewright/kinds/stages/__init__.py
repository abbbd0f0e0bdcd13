"""Kinds of stages: roots that Portage builds, from stage1 to stage4, and embedded roots."""
