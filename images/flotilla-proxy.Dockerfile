# The proxy's image, for those who have an engine: docker build -f images/flotilla-proxy.Dockerfile .
# `make images` makes the same image without one.
FROM rust:1.92-bookworm AS build
WORKDIR /source
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --release --target x86_64-unknown-linux-gnu --package proxy

FROM scratch
COPY --from=build /source/target/x86_64-unknown-linux-gnu/release/flotilla-proxy /flotilla-proxy
USER 65532:65532
ENTRYPOINT ["/flotilla-proxy"]
