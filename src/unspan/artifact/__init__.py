"""Folders of erased models: safetensors and JSON, never pickle; published by one rename.

erased/           model.safetensors   receipt.json   README.md (model card)
erased.private/   state.safetensors   key            (mode 0700; needed for further requests, never
ship it)
"""

from unspan.artifact.identifying import check_identifying
from unspan.artifact.inspection import Damage, damage_of, inspect
from unspan.artifact.layout import RECEIPT, private_folder
from unspan.artifact.read import load
from unspan.artifact.reopening import reopen
from unspan.artifact.write import check_savable, check_target, save

__all__ = [
    "RECEIPT",
    "Damage",
    "check_identifying",
    "check_savable",
    "check_target",
    "damage_of",
    "inspect",
    "load",
    "private_folder",
    "reopen",
    "save",
]
