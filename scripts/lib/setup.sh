# Sourced by scripts/test, quickstart, bench and soak: prepares a fresh Debian or Ubuntu machine
# with Node so that the project can be built and its lab started. Needs only apt and npm; skips what
# is already done.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$0: $1"
  [ -z "${2:-}" ] || say "hint: $2"
  exit 1
}

check_machine() {
  [ "$(uname -s)" = Linux ] || die "this needs Linux (network namespaces and TUN devices)" "use a Linux machine or virtual machine"
  command -v node >/dev/null || die "Node is not installed" "install Node 20.19 or later"
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
    die "Node $(node --version) is too old" "install Node 20.19 or later"
  command -v npm >/dev/null || die "npm is not installed" "install npm (Debian: apt-get install npm)"
}

# need COMMAND:PACKAGE... installs the packages whose command is missing, all in one go. Without
# root it only adds them to MISSING.
need() {
  local missing=() entry
  PATH=$PATH:/usr/sbin:/sbin
  for entry in "$@"; do
    command -v "${entry%%:*}" >/dev/null || case " ${missing[*]-} " in *" ${entry##*:} "*) ;; *) missing+=("${entry##*:}") ;; esac
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    MISSING+=("${missing[@]}")
    return 0
  fi
  command -v apt-get >/dev/null ||
    die "missing: ${missing[*]}" "install these packages (this script can do it with apt only)"
  say "installing ${missing[*]}"
  [ -n "${APT_UPDATED:-}" ] || apt-get -qq update || die "apt-get update failed"
  APT_UPDATED=1
  install_quietly "${missing[@]}" || exit 1
}

# want PACKAGE... installs packages that only some tests need. If that isn't possible it continues,
# and those tests are skipped.
want() {
  local missing=() package
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  [ -n "${APT_UPDATED:-}" ] || apt-get -qq update || say "apt-get update failed"
  APT_UPDATED=1
  (install_quietly "${missing[@]}") || say "not installed: the tests that need it will be skipped"
}

# Installs packages without starting the services of some: the lab runs its own sshd, and installing
# the package must not open this machine to logins. It is a subshell so that its trap undoes the
# policy however it ends.
install_quietly() (
  policy=/usr/sbin/policy-rc.d
  log=$(mktemp)
  kept=
  if [ -e $policy ]; then
    kept=$policy.kept-by-tunnel # only root writes to this directory
    cp -p $policy "$kept"
  fi
  undo() {
    rm -f "$log"
    if [ -n "$kept" ]; then mv -f "$kept" $policy; else rm -f $policy; fi
  }
  trap undo EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  if ! DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" \
    </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get install $* failed" "see above"
  fi
  case " $* " in
    *" openssh-server "*)
      if [ -d /run/systemd/system ]; then systemctl -q disable ssh.service ssh.socket 2>/dev/null || true; fi
      say "openssh-server was installed for the lab; its service is neither started nor enabled"
      ;;
  esac
  case " $* " in
    *" unbound "*)
      if [ -d /run/systemd/system ]; then systemctl -q disable unbound.service unbound-resolvconf.service 2>/dev/null || true; fi
      say "unbound was installed for the lab; its service is neither started nor enabled"
      ;;
  esac
  case " $* " in
    *" haproxy "*)
      if [ -d /run/systemd/system ]; then systemctl -q disable haproxy.service 2>/dev/null || true; fi
      say "haproxy was installed for the lab; its service is neither started nor enabled"
      ;;
  esac
  case " $* " in
    *" prometheus "*)
      if [ -d /run/systemd/system ]; then systemctl -q disable prometheus.service 2>/dev/null || true; fi
      say "prometheus was installed for a test; its service is neither started nor enabled"
      ;;
  esac
)

# The tests run their own systemd-resolved. If installed, the package would take over this machine's
# resolv.conf, so it is only unpacked; without apt, or if that fails, the test is skipped.
unpack_resolved() {
  local into=$ROOT/dist/native-test/systemd-resolved download
  [ ! -x /lib/systemd/systemd-resolved ] && [ ! -d "$into" ] || return 0
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
  download=$(mktemp -d)
  if (cd "$download" && apt-get -qq download systemd-resolved) >/dev/null 2>&1; then
    as_owner mkdir -p "$into"
    dpkg-deb -x "$download"/*.deb "$into"
    chown -R --reference="$ROOT" "$into"
  fi
  rm -rf "$download"
}

# The tests of the rendered jump host run a newer sshd, too: that of Debian's backports, unpacked
# beside the system's. Where there is none, they are skipped.
unpack_newer_sshd() {
  local into=$ROOT/dist/openssh-newer keys=/usr/share/keyrings/debian-archive-keyring.gpg work archive
  [ ! -d "$into" ] && [ -f "$keys" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
  grep -qx VERSION_CODENAME=bookworm /etc/os-release || return 0
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  [ -n "$archive" ] || return 0
  work=$(mktemp -d)
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  echo "deb [signed-by=$keys] $archive bookworm-backports main" >"$work/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  if (cd "$work" && "${apt[@]}" update && "${apt[@]}" download openssh-server/bookworm-backports) >/dev/null 2>&1; then
    as_owner mkdir -p "$into"
    dpkg-deb -x "$work"/openssh-server_*.deb "$into"
    chown -R --reference="$ROOT" "$into"
  fi
  rm -rf "$work"
}

# What the image of `tunnel jumphost kubernetes` is made from, as archives: the essential packages
# of two releases of Debian, and sshd. Where there is no mmdebstrap, those tests are skipped.
archive_debian() {
  local release
  for release in bookworm trixie; do
    archive_root "$release" "$release" --variant=essential \
      --include=openssh-server,ca-certificates,curl --dpkgopt='path-exclude=/usr/share/man/*' &
  done
  wait
}

# Roots in which the Debian package is tested: what it depends on, and what its tests run; one with
# systemd; and with lintian, since each release's has faults of its own.
archive_package_roots() {
  local release packages=nodejs,openssh-client,ca-certificates,systemd-standalone-sysusers
  for release in bookworm trixie noble; do
    archive_root "package-$release" "$release" --variant=minbase \
      --include="$packages,sudo,doas,apparmor,procps,curl,libnss-extrausers" \
      --dpkgopt='path-include=/usr/share/doc/tunnel-vpn/*' &
    [ "$release" = noble ] || ! chosen '^netns/debian-package' ||
      archive_root "lintian-$release" "$release" --variant=minbase --include=lintian &
  done
  ! chosen '^netns/debian-systemd' ||
    archive_root systemd-trixie trixie --variant=minbase \
      --include=nodejs,openssh-client,ca-certificates,systemd,procps,curl \
      --dpkgopt='path-include=/usr/share/doc/tunnel-vpn/*' &
  wait
}

# archive_root NAME RELEASE OPTION...: a root of packages of Debian, as dist/debian/NAME.tar; or of
# Ubuntu, where that is what apt knows.
archive_root() {
  local into=$ROOT/dist/debian name=$1 release=$2 archive system=Debian
  shift 2
  [ "$release" != noble ] || { system=Ubuntu && set -- --components=main,universe "$@"; }
  [ "$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null || return 0
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 "/${system,}/\$") || return 0
  [ ! -f "$into/$name.tar" ] || return 0
  say "packing $system's $release"
  as_owner mkdir -p "$into"
  if mmdebstrap --quiet --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$@" --format=tar "$release" "$into/$name.new" \
    "$archive" >/dev/null 2>&1; then
    chown --reference="$ROOT" "$into/$name.new"
    mv "$into/$name.new" "$into/$name.tar"
  else
    rm -f "$into/$name.new"
    say "not packed: the tests with $system's $release will be skipped"
  fi
}

# A program of PyPI in a directory of its own below dist: name, version.
install_python_program() {
  local into=$ROOT/dist/$1
  local pip=("$into/bin/pip" --quiet --disable-pip-version-check install)
  [ ! -x "$into/bin/$1" ] || return 0
  as_owner rm -rf "$into"
  if ! as_owner /usr/bin/python3 -m venv "$into" >/dev/null 2>&1 ||
    ! as_owner "${pip[@]}" "$1==$2" >/dev/null 2>&1; then
    say "$1 is not installed: the tests that need it will be skipped"
    as_owner rm -rf "$into"
  fi
}

# The tests read user-data with cloud-init, and boot machines with it. If installed, the package
# would run at each boot of this machine, so it is only unpacked; its libraries are installed.
unpack_cloud_init() {
  local into=$ROOT/dist/cloud-init work package
  [ ! -d "$into" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
  work=$(mktemp -d)
  if (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download cloud-init) >/dev/null 2>&1; then
    package=$(echo "$work"/cloud-init_*.deb)
    as_owner mkdir -p "$into"
    dpkg-deb -x "$package" "$into"
    chown -R --reference="$ROOT" "$into"
    # shellcheck disable=SC2046
    want $(dpkg-deb -f "$package" Depends | grep -o 'python3-[a-z0-9-]*')
  fi
  rm -rf "$work"
}

# The fuzzers of the parts in C need clang with libFuzzer, which some releases have in a package of
# its own. Where there is none, they are left out, and their tests are skipped.
build_fuzzers() {
  local version
  if ! has_libfuzzer; then
    command -v clang >/dev/null || want clang
    version=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
    has_libfuzzer || [ -z "$version" ] || want "libclang-rt-$version-dev"
  fi
  if has_libfuzzer; then
    as_owner make -s -C native fuzzers || die "the fuzzers can't be built" "see above"
  else
    say "clang with libFuzzer is not installed: the parts in C are not fuzzed"
  fi
}
has_libfuzzer() {
  echo 'int LLVMFuzzerTestOneInput(const void *d, long n) { return d == 0 && n == 0 ? 0 : 0; }' |
    clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null
}

# make also builds npm's native packages.
export MAKEFLAGS=${MAKEFLAGS:--j$(nproc)}

# Runs a command as the owner of this checkout, so that sudo leaves no root-owned files in a user's
# tree.
as_owner() {
  local owner
  owner=$(stat -c %u "$ROOT")
  if [ "$(id -u)" = 0 ] && [ "$owner" != 0 ]; then
    local home
    home=$(getent passwd "$owner" | cut -d: -f6)
    setpriv --reuid="$owner" --regid="$(stat -c %g "$ROOT")" --clear-groups env HOME="${home:-/nonexistent}" "$@"
  else
    "$@"
  fi
}

# If Node was installed with its headers, npm can build ssh2's optional native cipher without a
# download.
node_headers() {
  local prefix
  prefix=$(node -p 'require("path").dirname(require("path").dirname(process.execPath))')
  if [ -z "${npm_config_nodedir:-}" ] && [ -f "$prefix/include/node/node.h" ]; then export npm_config_nodedir=$prefix; fi
}

install_packages() {
  node_headers
  if [ ! -d node_modules ] || ! cmp -s package-lock.json node_modules/.installed-lock.json; then
    say "npm ci"
    as_owner npm ci --no-audit --no-fund --loglevel=error >&2 || die "npm ci failed" "see above"
    as_owner cp package-lock.json node_modules/.installed-lock.json
  fi
}

build() {
  local native
  install_packages
  as_owner make -s -C native all &
  native=$!
  as_owner npm run --silent build:ts || die "the TypeScript part can't be built" "see above"
  wait $native || die "the native part can't be built" "see above"
}

# python3 is for node-gyp, which builds ssh2's native ciphers; without them ssh2 uses Node's, which
# are slower.
BUILD_TOOLS=(cc:build-essential make:build-essential python3:python3)
LAB_TOOLS=(ip:iproute2 nft:nftables sshd:openssh-server ssh:openssh-client unshare:util-linux
  curl:curl ping:iputils-ping ps:procps)
MISSING=()
