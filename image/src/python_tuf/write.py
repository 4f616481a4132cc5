"""Writes a repository with TUF's reference implementation.

Arguments: directory with the files of targets, directory of the repository to write.
Signs with new keys: root 2 of 3, targets 2 of 2, snapshot and timestamp 1 of 1. The
root is replaced once, by other root keys, so that a client which trusts the first has
to follow the chain. Prints the path of the first root.
"""

import datetime
import pathlib
import sys

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

ROLES = {"root": (2, 3), "targets": (2, 2), "snapshot": (1, 1), "timestamp": (1, 1)}


def new_keys(role):
    return [CryptoSigner.generate_ed25519() for _ in range(ROLES[role][1])]


def write(metadata, path, signers):
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    path.write_bytes(metadata.to_bytes(JSONSerializer(compact=False)))


source, repository = map(pathlib.Path, sys.argv[1:])
expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
expires += datetime.timedelta(days=30)
keys = {role: new_keys(role) for role in ROLES}
metadata_dir = repository / "metadata"
metadata_dir.mkdir(parents=True)

root = Root(expires=expires, consistent_snapshot=True)
for role, (threshold, _) in ROLES.items():
    for signer in keys[role]:
        root.add_key(signer.public_key, role)
    root.roles[role].threshold = threshold
first = metadata_dir / "1.root.json"
write(Metadata(root), first, keys["root"])
old = keys["root"]
keys["root"] = new_keys("root")
for signer in old:
    root.revoke_key(signer.public_key.keyid, "root")
for signer in keys["root"]:
    root.add_key(signer.public_key, "root")
root.version = 2
write(Metadata(root), metadata_dir / "2.root.json", old + keys["root"])

targets = Targets(expires=expires)
for path in sorted(p for p in source.rglob("*") if p.is_file()):
    name = path.relative_to(source).as_posix()
    content = path.read_bytes()
    targets.targets[name] = TargetFile.from_data(name, content, ["sha256"])
    for place in targets.targets[name].get_prefixed_paths():
        place = repository / "targets" / place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
write(Metadata(targets), metadata_dir / "1.targets.json", keys["targets"])
snapshot = Snapshot(expires=expires, meta={"targets.json": MetaFile(version=1)})
write(Metadata(snapshot), metadata_dir / "1.snapshot.json", keys["snapshot"])
timestamp = Timestamp(expires=expires, snapshot_meta=MetaFile(version=1))
write(Metadata(timestamp), metadata_dir / "timestamp.json", keys["timestamp"])
print(first)
