# syntax=docker/dockerfile:1
# The image of Toka Vault: one binary, no shell, no root.
#   docker build -t toka-vault:0.1.0 .

FROM docker.io/library/rust:1.95.0-trixie AS build
# As rust-toolchain.toml, without what only checks need.
ENV RUSTUP_TOOLCHAIN=1.95.0
# RocksDB is C++, and its bindings come from libclang.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p toka-cli \
    && install -D --strip target/release/toka /image/toka \
    && install -d /image/data

# libc, libstdc++'s runtime and certificates, and nothing else.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /image/toka /usr/local/bin/toka
# A volume that is mounted here gets its owner.
COPY --from=build --chown=65532:65532 /image/data /var/lib/toka
ENV PATH=/usr/local/bin \
    HOME=/tmp
LABEL org.opencontainers.image.title="Toka Vault" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
USER 65532:65532
WORKDIR /var/lib/toka
VOLUME /var/lib/toka
EXPOSE 7311 7312 7313
# Whether the node has a leader that a quorum confirms. Kubernetes does not read it: the chart has its own probes.
# Where there is TLS or authorization, it finds the CA in TOKA_CA (and in TOKA_SERVER_NAME the certificate's name, if that
# is not 127.0.0.1), and a token in TOKA_TOKEN_FILE.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/toka", "cluster", "status", "--endpoint", "127.0.0.1:7311", "--timeout", "4s"]
ENTRYPOINT ["/usr/local/bin/toka"]
CMD ["serve", "--help"]
