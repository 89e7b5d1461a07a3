# The image: one static program on nothing, for linux/amd64 and linux/arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 -t warder .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags='-s -w' -o /out/warder ./cmd/warder

FROM scratch
# For stores behind certificates of public authorities.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/warder /usr/local/bin/warder
# By number: the kubelet cannot tell that a named user is not root.
USER 65532:65532
EXPOSE 9191 9192
ENTRYPOINT ["/usr/local/bin/warder"]
CMD ["serve"]
