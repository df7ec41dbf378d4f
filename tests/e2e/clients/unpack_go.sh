#!/bin/sh
# Unpacks into a folder what builds the code of docs/client-go.md: Go, its gRPC and the generators, of Debian 13 on any
# Debian (docs/decisions/0112). Then compiles gRPC. Nothing is installed, and apt's own lists are only read.
set -eu
grep -q '^ID=debian$' /etc/os-release && command -v apt-get >/dev/null || {
  echo "not Debian: the tests of docs/client-go.md will fail here"
  exit
}
rm -rf "$1" && mkdir -p "$1/lists/partial" "$1/archives/partial" && cd "$1"

source_line() {
  apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' \
    --format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) trixie main' | head -n 1
}
source_line >sources.list
[ -s sources.list ] || { apt-get update --quiet --quiet && source_line >sources.list; }

of_debian_13() {
  apt-get --quiet --quiet "$@" -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD" -o Acquire::Languages=none -o APT::Sandbox::User=root
}
of_debian_13 update
of_debian_13 download golang-1.24-go golang-1.24-src protoc-gen-go protoc-gen-go-grpc golang-google-grpc-dev \
  golang-google-protobuf-dev golang-google-genproto-dev golang-github-golang-protobuf-1-5-dev \
  golang-golang-x-net-dev golang-golang-x-sys-dev golang-golang-x-text-dev
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | \
    tar --extract --exclude='*_test.go' --exclude='*/testdata' --exclude='*/googleapis/cloud'
done
rm -rf ./*.deb ./*.bin lists archives

# Without optimisation, and without gRPC's page of traces, it compiles in two thirds of the time.
mkdir bin && ln -s ../usr/lib/go-1.24/bin/gofmt ../usr/bin/protoc-gen-go ../usr/bin/protoc-gen-go-grpc bin
cat >bin/go <<'END'
#!/bin/sh
tools=$(dirname "$(dirname "$0")")
export GO111MODULE=off GOPATH="${GOPATH:+$GOPATH:}$tools/usr/share/gocode" GOCACHE="$tools/cache" CGO_ENABLED=0
export GOFLAGS="-trimpath -tags=grpcnotrace '-gcflags=all=-N -l'"
exec "$tools/usr/lib/go-1.24/bin/go" "$@"
END
chmod +x bin/go
"$PWD/bin/go" build google.golang.org/grpc/health google.golang.org/grpc/resolver/manual \
  google.golang.org/genproto/googleapis/rpc/errdetails google.golang.org/protobuf/encoding/protojson log/slog
