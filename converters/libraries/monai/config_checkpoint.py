"""Which file of weights the config of a MONAI bundle loads, as far as text says it.

The path is code as a rule, `"$@bundle_root + '/models/model.pt'"`; it is not run. The
names of files that stand in it are found as text, those in what it refers to as well.
Written from MONAI 1.6.1, `monai/bundle` and `monai.handlers.CheckpointLoader`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from converters.libraries.monai.config_language import Language
from vit_config.errors import ConfigError

_LOADER, _SAVER = "CheckpointLoader", "CheckpointSaver"
_SUFFIX = r"\.(?:safetensors|pth|pt|ckpt|bin|ts)"
_IN_CODE = re.compile(rf"""(['"])([^'"]*{_SUFFIX})\1""")
_PLAIN = re.compile(rf".*{_SUFFIX}", re.DOTALL)
_REFERENCE = re.compile(r"@\w+(?:(?:::|#)\w+)*")


def loaded_files(config: Mapping[str, Any]) -> list[str]:
    """Names of the files that a bundle's `inference.json` loads, without folders.

    Those of its `CheckpointLoader`s count; where there is none, every name of a file
    of weights in it, as code may load that.

    Returns:
        Each name once; empty where the text has none.
    """
    language = Language(config)
    loaders = [
        item.get("load_path")
        for item in _targets(config, _LOADER)
        if not _off(language, item)
    ]
    texts = loaders or list(_strings(config))
    found: list[str] = []
    for text in texts:
        found += _named(text, language, set())
    return sorted(set(found))


def _off(language: Language, item: Mapping[str, Any]) -> bool:
    try:
        return language.disabled(item, _LOADER)
    except ConfigError:
        return False  # code: MONAI's own template asks whether the file is there


def _targets(value: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Everything in a config that is to be made from a class of that name."""
    if isinstance(value, Mapping):
        if str(value.get("_target_", "")).rpartition(".")[2] == name:
            yield value
        for item in value.values():
            yield from _targets(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item, name)


def _strings(value: Any) -> Iterator[str]:
    """All texts of a config but those that say where to save."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        if str(value.get("_target_", "")).rpartition(".")[2] != _SAVER:
            for item in value.values():
                yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _named(text: Any, language: Language, seen: set[str]) -> list[str]:
    """Names of files in a text and in the texts that it refers to."""
    if not isinstance(text, str) or text in seen:
        return []
    seen.add(text)
    if not text.startswith(("$", "@")):
        paths = [text] if _PLAIN.fullmatch(text) else []
    else:
        paths = [match[2] for match in _IN_CODE.finditer(text)]
    names = [re.split(r"[/\\]", path)[-1] for path in paths]
    names = [name for name in names if not re.fullmatch(_SUFFIX, name)]
    for reference in _REFERENCE.findall(text) if text[0] in "$@" else []:
        try:
            names += _named(language.follow(reference, _LOADER), language, seen)
        except ConfigError:
            continue  # relative, or of another file: nothing is known of it
    return names
