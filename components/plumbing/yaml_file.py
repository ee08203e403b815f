"""Reads a YAML file that anybody may have written: in no more time, memory and depth than a file of settings needs.

Aliases let a file of a few lines stand for more values than a machine can hold, or for itself; DVC, which reads
params.yaml as well, would work on it for ever. So it is looked at before.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from components.plumbing.errors import ParamsError

MAX_BYTES = 5_000_000
MAX_VALUES = 200_000
"""The most values that a file may hold, each alias counted as all that it stands for."""
MAX_DEPTH = 60
MAX_DIGITS = 100
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain data; ParamsError where it is missing, is not YAML, or holds what no settings hold."""
    try:
        held = path.read_bytes()
        if len(held) > MAX_BYTES:
            raise ParamsError(
                f"{path} has {len(held):,} bytes, and at most {MAX_BYTES:,} are read; it holds no settings"
            )
        text, yaml = held.decode(), YAML(typ="safe")
        check_depth(path, text)
        document = yaml.compose(text)
        if document is None:
            return None
        Look(path).at(document)
        return yaml.constructor.construct_document(document)
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is missing; run this in the project's folder") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8: {error}") from error
    except (YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ParamsError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error


def check_depth(path: Path, text: str) -> None:
    """Raise ParamsError where a text is nested too deeply: libyaml would follow it until the stack is full."""
    depth = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1
            raise ParamsError(f"{path}, line {line}: nested deeper than {MAX_DEPTH} levels; no settings are")


class Look:
    """A look at what a file stands for, which follows no alias twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[int, tuple[int, int]] = {}
        """How many values each node stands for, and in how many levels, by its identity; 0 while it is looked at."""

    def at(self, node: Node) -> tuple[int, int]:
        """Return how many values a node stands for, and in how many levels; ParamsError with the line where there are
        too many, and where a node holds itself."""
        line = node.start_mark.line + 1
        known = self.sizes.get(id(node))
        if known == (0, 0):
            raise ParamsError(f"{self.path}, line {line}: what is named there by '&' holds itself ('*'); write it out")
        if known is not None:
            return known
        self.sizes[id(node)] = 0, 0
        count, levels = 1, 1
        if isinstance(node, ScalarNode):
            if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
                raise ParamsError(
                    f"{self.path}, line {line}: a number of {len(node.value):,} characters; none is so long"
                )
        else:
            inner = [self.at(part) for part in self.parts(node)]
            count, levels = 1 + sum(one for one, _ in inner), 1 + max((deep for _, deep in inner), default=0)
        if count > MAX_VALUES or levels > MAX_DEPTH:
            told = f"stands for {count:,} values in {levels} levels through its aliases ('*')"
            most = f"at most {MAX_VALUES:,} in {MAX_DEPTH} are read"
            raise ParamsError(f"{self.path}, line {line}: it {told}, and {most}; write out what is meant")
        self.sizes[id(node)] = count, levels
        return count, levels

    def parts(self, node: Node) -> list[Node]:
        """Return the nodes in a mapping or a list; ParamsError where a key is no plain word."""
        if not isinstance(node, MappingNode):
            return list(node.value)
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                line = key.start_mark.line + 1
                raise ParamsError(f"{self.path}, line {line}: a key is a list or a mapping; it must be a word")
        return [part for pair in node.value for part in pair]
