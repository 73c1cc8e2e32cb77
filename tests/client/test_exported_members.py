import subprocess
import sys
from types import ModuleType

import latentry_client

INTERNAL = {
    "async_client",
    "async_merging",
    "base",
    "channel",
    "checks",
    "chunking",
    "client",
    "connections",
    "merging",
    "request",
    "responses",
    "sources",
    "streaming",
    "tensors",
    "thread_merging",
}


def test_all_is_what_is_there() -> None:
    public = {name for name in vars(latentry_client) if not name.startswith("_")} - INTERNAL
    assert latentry_client.__all__ == sorted(public - {"cli"})
    assert all(isinstance(getattr(latentry_client, name), ModuleType) for name in INTERNAL)


def test_the_sdk_needs_no_extra() -> None:
    code = (
        "import sys, latentry_client; "
        "print([name for name in ('torch', 'onnxruntime', 'PIL', 'rich', 'cyclopts') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
