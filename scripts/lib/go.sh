# Sourced by scripts/test: compiles the tests' Go programs (test/support/go/) into dist/go/. They
# share one cache, since a cold one costs half a minute. It names programs that can't be built here;
# their tests are skipped.

GO_PROGRAMS=(dial fetch lookup gophercloud gliderserver wishserver workspaceproxy xcryptoserver)
# A minute and 700 MB: only for the tests that need it. Needs Go 1.24.
TERRAFORM_PROVIDER=terraform-provider-openstack

build_go_programs() {
  command -v go >/dev/null || { say "Go is not installed: the tests with Go programs will be skipped"; return 0; }
  local name programs=("${GO_PROGRAMS[@]}")
  ! mention $TERRAFORM_PROVIDER || programs+=($TERRAFORM_PROVIDER)
  as_owner mkdir -p dist/go
  for name in "${programs[@]}"; do
    build_go_program "$name" || say "not built: the Go program $name; its tests will be skipped"
  done
}

# lookup contains both Go's resolver and the C library's; gophercloud is Debian's package; the
# servers' libraries and Terraform's provider come from the Go module proxy, with the checksums of
# go.sum.
build_go_program() {
  local cgo=0 modules=off path=/usr/share/gocode
  case $1 in
    lookup) cgo=1 ;;
    *server | workspaceproxy | $TERRAFORM_PROVIDER) modules=on path=$ROOT/dist/go/path ;;
  esac
  (cd "test/support/go/$1" && as_owner env \
    GOCACHE="$ROOT/dist/go/cache" GOPATH="$path" GO111MODULE=$modules CGO_ENABLED=$cgo GOTOOLCHAIN=local \
    GOFLAGS="$([ $modules = off ] || echo '-mod=readonly -modcacherw')" \
    go build -o "$ROOT/dist/go/$1" . >&2)
}
