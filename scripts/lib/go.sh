# Sourced by scripts/test and scripts/bench: compiles the tests' Go programs (test/support/go/) into
# dist/go/. They share one cache, since a cold one costs half a minute. It names programs that can't
# be built here; their tests are skipped.

GO_PROGRAMS=(dial fetch lookup gophercloud gliderserver wishserver workspaceproxy xcryptoserver)
# Two minutes and 700 MB: only for the tests that need them. They need Go 1.24.
TERRAFORM_PROVIDERS=(terraform-provider-openstack terraform-provider-external)
# Some ten minutes on two processors and 4 GB, once.
OPENTOFU=tofu

# build_go_programs NAME...
build_go_programs() {
  command -v go >/dev/null || { say "Go is not installed: the tests with Go programs will be skipped"; return 0; }
  local name
  as_owner mkdir -p dist/go
  for name in "$@"; do
    build_go_program "$name" || say "not built: the Go program $name; its tests will be skipped"
  done
}

# What test/terraform and scripts/bench need. OpenTofu is built once: the compiler takes its time
# even with a full cache.
build_terraform() {
  command -v go >/dev/null || want golang-go
  build_go_programs "${TERRAFORM_PROVIDERS[@]}"
  if [ ! -x "dist/go/$OPENTOFU" ]; then
    ! command -v go >/dev/null || say "building OpenTofu: some ten minutes, once"
    build_go_programs $OPENTOFU
  fi
}

# lookup contains both Go's resolver and the C library's; gophercloud is Debian's package; the
# servers' libraries, Terraform's providers and OpenTofu come from the Go module proxy, with the
# checksums of go.sum.
build_go_program() {
  local cgo=0 modules=off path=/usr/share/gocode package=.
  case $1 in
    lookup) cgo=1 ;;
    *server | workspaceproxy | terraform-provider-*) modules=on path=$ROOT/dist/go/path ;;
    "$OPENTOFU") modules=on path=$ROOT/dist/go/path package=github.com/opentofu/opentofu/cmd/tofu ;;
  esac
  (cd "test/support/go/$1" && as_owner env \
    GOCACHE="$ROOT/dist/go/cache" GOPATH="$path" GO111MODULE=$modules CGO_ENABLED=$cgo GOTOOLCHAIN=local \
    GOFLAGS="$([ $modules = off ] || echo '-mod=readonly -modcacherw')" \
    go build -o "$ROOT/dist/go/$1" $package >&2)
}
