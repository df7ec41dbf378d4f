#!/bin/sh
# Unpacks into a folder what builds and runs the code of docs/client-java.md: Java, its gRPC and the generators, of the
# machine's own Debian (docs/decisions/0123). Nothing is installed.
set -eu
grep -q '^ID=debian$' /etc/os-release && command -v apt-get >/dev/null || {
  echo "not Debian: the tests of docs/client-java.md will fail here"
  exit
}
rm -rf "$1" && mkdir -p "$1" && cd "$1"

# The runtime holds the compiler. Its name, and those of native libraries, differ by release. Debian's netty has TLS of
# OpenSSL alone.
packages() {
  apt-cache depends default-jre-headless protobuf-compiler protobuf-compiler-grpc-java-plugin libnetty-tcnative-jni |
    grep -oE '(openjdk-[0-9]+-jre-headless|lib(protoc|protobuf|apr)[0-9]+(t64)?)$' | sort -u
  echo protobuf-compiler protobuf-compiler-grpc-java-plugin libgrpc-java libprotobuf-java libguava-java \
    libgoogle-gson-java libperfmark-java libgeronimo-annotation-1.3-spec-java libnetty-java libnetty-tcnative-java \
    libnetty-tcnative-jni
}
download() {
  apt-get --quiet --quiet -o APT::Sandbox::User=root download $(packages)
}
download 2>/dev/null || { apt-get update --quiet --quiet && download; }
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar --extract --exclude='*/doc' --exclude='*/legal' --exclude='*/maven-repo'
done
rm ./*.deb

# The runtime's configuration is links into /etc, where none of it is.
find usr/lib/jvm -lname '/etc/java-*' | while read -r link; do
  ln -sf "$PWD$(readlink "$link")" "$link"
done
mkdir bin
ln -s "../$(find usr/lib/jvm -path '*/bin/java')" bin/java
ln -s ../usr/bin/protoc bin/protoc
ln -s ../usr/bin/grpc_java_plugin bin/protoc-gen-grpc-java
ln -s usr/lib/*-linux-gnu* lib
mv lib/jni/libnetty-tcnative.so lib/libnetty_tcnative.so # the name by which netty looks for it
