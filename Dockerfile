# syntax=docker/dockerfile:1
# A Roomcast in a container: docker build -t roomcast . && docker run -p 3000:3000 -v roomcast:/data roomcast
FROM node:20-bookworm-slim AS web
WORKDIR /build
COPY web .
RUN npm ci --no-audit --no-fund && npm run build

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The pages are a part of the program.
COPY --from=web /build/dist web/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin roomcast && cp target/release/roomcast /roomcast

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Roomcast" \
      org.opencontainers.image.description="A realtime server with rooms" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# Certificates, for applications that are asked over https who may join.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data roomcast && install -d -o roomcast -g roomcast /data
COPY --from=build /roomcast /usr/local/bin/roomcast
USER roomcast
WORKDIR /data
VOLUME /data
ENV ROOMCAST_LISTEN=0.0.0.0:3000 \
    ROOMCAST_OPS_LISTEN=127.0.0.1:9090 \
    DATABASE_URL=sqlite:///data/roomcast.db
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["roomcast", "healthcheck"]
ENTRYPOINT ["roomcast"]
CMD ["serve"]
