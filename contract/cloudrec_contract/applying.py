"""The body of a server-side apply (`application/apply-patch+yaml`). Pure.

The API server reads it as YAML, which JSON is but for two things that people's names can have: YAML knows no surrogate
pairs, which JSON's ASCII form writes an emoji as, and takes neither control characters nor all line breaks as they are
(https://yaml.org/spec/1.2.2/#51-character-set).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def apply_body(resource: Mapping[str, Any]) -> str:
    """To be sent as UTF-8. A lone surrogate, which is no character, becomes U+FFFD."""
    return _UNPRINTABLE.sub(_escaped, json.dumps(resource, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"
