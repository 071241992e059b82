#!/bin/sh
# Stands for cargo where maturin calls it (CARGO). Maturin asks for this package alone, with settings of its own for PyO3: then
# cargo chooses other features for the dependencies, and compiles RocksDB and most of the others a second time. Asked for
# the libraries of the whole workspace it has them from the other builds, and this package's is among them.
set -eu
if [ "$1" = rustc ]; then
    unset PYO3_PYTHON PYO3_CONFIG_FILE PYO3_ENVIRONMENT_SIGNATURE PYTHON_SYS_EXECUTABLE
    exec cargo build --workspace --lib --message-format json-render-diagnostics
fi
exec cargo "$@"
