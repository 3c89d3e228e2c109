# The operator's image, for those who have an engine: docker build -f images/flotilla.Dockerfile .
# `make images` makes the same image without one.
FROM rust:1.92-bookworm AS build
WORKDIR /source
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --release --target x86_64-unknown-linux-gnu --package operator

FROM scratch
COPY --from=build /source/target/x86_64-unknown-linux-gnu/release/flotilla /flotilla
USER 65532:65532
ENTRYPOINT ["/flotilla"]
