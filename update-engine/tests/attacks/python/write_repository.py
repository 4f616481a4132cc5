"""Writes a repository with Python's tuf: write_repository.py TARGETS OUT.

Every file below TARGETS becomes a target. Root and targets take two of three keys,
snapshot and timestamp one; all keys are made here and forgotten. The root is rotated
once, with a new key of every role: a host that trusts OUT/metadata/1.root.json has to
follow.
"""

import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime(2100, 1, 1, tzinfo=timezone.utc)
KEYS = {"root": (3, 2), "targets": (3, 2), "snapshot": (1, 1), "timestamp": (1, 1)}


def new_keys(root: Root) -> dict[str, list[CryptoSigner]]:
    """Gives every role new keys, and takes its old ones away."""
    signers = {}
    for role, (count, threshold) in KEYS.items():
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        signers[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = threshold
    return signers


def write(signed, signers: list[CryptoSigner], path: Path) -> None:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    metadata.to_file(str(path), JSONSerializer(compact=False))


def main(source: Path, out: Path) -> None:
    meta = out / "metadata"
    meta.mkdir(parents=True)

    root = Root(expires=EXPIRES, consistent_snapshot=True)
    first = new_keys(root)
    write(root, first["root"], meta / "1.root.json")
    root.version = 2
    signers = new_keys(root)
    write(root, first["root"] + signers["root"], meta / "2.root.json")

    targets = Targets(expires=EXPIRES)
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        name = path.relative_to(source).as_posix()
        target = TargetFile.from_file(name, str(path), ["sha256", "sha512"])
        targets.targets[name] = target
        file = out / "targets" / target.get_prefixed_paths()[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, file)
    write(targets, signers["targets"], meta / "1.targets.json")

    snapshot = Snapshot(expires=EXPIRES, meta={"targets.json": MetaFile(1)})
    write(snapshot, signers["snapshot"], meta / "1.snapshot.json")
    timestamp = Timestamp(expires=EXPIRES, snapshot_meta=MetaFile(1))
    write(timestamp, signers["timestamp"], meta / "timestamp.json")


main(Path(sys.argv[1]), Path(sys.argv[2]))
