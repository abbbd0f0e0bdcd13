"""Kinds of stages: roots built by Portage, from stage1 to stage4, and embedded roots."""
