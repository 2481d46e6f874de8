# Sourced by scripts/test: the SSH servers of test/support/sshservers.ts. Those of Debian are
# installed; the programs around a Rust and a Java library (test/support/servers/) are compiled into
# dist/servers/. It names what can't be had here; its tests are skipped.

SERVER_PACKAGES=(dropbear-bin tinysshd python3-asyncssh python3-paramiko python3-twisted
  erlang-base erlang-ssh)

prepare_servers() {
  want "${SERVER_PACKAGES[@]}"
  command -v mvn >/dev/null && command -v javac >/dev/null || want maven default-jdk-headless
  as_owner mkdir -p dist/servers
  build_russh || say "not built: the server of russh (it needs cargo 1.85 or later); its tests will be skipped"
  build_mina || say "not built: the server of Apache MINA SSHD (it needs maven and a JDK); its tests will be skipped"
}

# Without its own target directory: as_owner's user may not write into test/.
build_russh() {
  command -v cargo >/dev/null || return 1
  as_owner env CARGO_TARGET_DIR="$ROOT/dist/servers/cargo" \
    cargo build --quiet --release --locked --manifest-path test/support/servers/russh/Cargo.toml >&2 &&
    as_owner cp dist/servers/cargo/release/russhserver dist/servers/russhserver
}

build_mina() {
  command -v mvn >/dev/null && command -v javac >/dev/null || return 1
  as_owner mvn --quiet --batch-mode --file test/support/servers/mina/pom.xml \
    dependency:copy-dependencies "-DoutputDirectory=$ROOT/dist/servers/mina" >&2 &&
    as_owner javac -cp "dist/servers/mina/*" -d dist/servers/mina \
      test/support/servers/mina/MinaServer.java >&2
}
