# The image of Headgate: the program on an otherwise empty root. `docker build -t headgate:TAG .`
#
# Runs as any user id with a read-only root; what it keeps is in /data. charts/image/build makes the same image of a program
# that is already built, without a daemon or a registry. In a container listen on all addresses, for which the gateway asks
# for tenants: HEADGATE__SERVER__LISTEN=0.0.0.0:8080.
FROM rust:1.95-slim-bookworm AS builder
# The compiler of this stage, not the channel of rust-toolchain.toml.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --bin headgate && charts/image/rootfs target/dist/headgate /rootfs

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="A gateway for the Claude Messages API over many API keys" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=builder /rootfs/ /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/headgate"]
