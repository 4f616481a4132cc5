"""Reads a repository as TUF's own client does.

Arguments: address of the repository, file of the trusted root, working directory that
may exist already, names of targets. Prints name, length and SHA-256 of each.
"""

import hashlib
import pathlib
import sys

from tuf.ngclient import Updater

address, root, work, *names = sys.argv[1:]
work = pathlib.Path(work)
for part in ("metadata", "targets"):
    (work / part).mkdir(parents=True, exist_ok=True)
updater = Updater(
    metadata_dir=str(work / "metadata"),
    metadata_base_url=f"{address}/metadata/",
    target_dir=str(work / "targets"),
    target_base_url=f"{address}/targets/",
    bootstrap=pathlib.Path(root).read_bytes(),
)
updater.refresh()
for name in names:
    info = updater.get_targetinfo(name)
    if info is None:
        sys.exit(f"the repository names no {name}")
    content = pathlib.Path(updater.download_target(info)).read_bytes()
    print(name, len(content), hashlib.sha256(content).hexdigest())
