# Sourced by scripts/test and scripts/bench: compiles the tests' Go programs (test/support/go/) into
# dist/go/. They share one cache, since a cold one costs half a minute. It names programs that can't
# be built here; their tests are skipped.

GO_PROGRAMS=(dial fetch lookup gophercloud gliderserver wishserver workspaceproxy xcryptoserver)
# Two minutes and 700 MB: only for the tests that need them. They need Go 1.24.
TERRAFORM_PROVIDERS=(terraform-provider-openstack terraform-provider-external)
# Four minutes of processor time and 4 GB, once: a full run takes it only in place of Terraform.
OPENTOFU=tofu

# Prints the programs that the chosen tests need (scripts/lib/tests.sh). The short run does without.
needed_go_programs() {
  if [ ${#left_out[@]} = 0 ] && mention goProgram; then printf '%s\n' "${GO_PROGRAMS[@]}"; fi
  if chosen '^interop/terraform'; then echo "${TERRAFORM_PROVIDERS[0]}"; fi
  if chosen '^terraform/'; then
    printf '%s\n' "${TERRAFORM_PROVIDERS[@]}"
    if [ -z "$everything" ] || ! command -v terraform >/dev/null; then echo $OPENTOFU; fi
  fi
}

# build_go_programs NAME...
build_go_programs() {
  [ $# -gt 0 ] || return 0
  command -v go >/dev/null || want golang-go
  command -v go >/dev/null || { say "Go is not installed: the tests with Go programs will be skipped"; return 0; }
  local name
  as_owner mkdir -p dist/go
  for name in "$@"; do
    # The linker alone takes half a minute.
    [ "$name" != $OPENTOFU ] || [ ! -x "dist/go/$name" ] || [ "test/support/go/$name/go.mod" -nt "dist/go/$name" ] || continue
    [ "$name" != $OPENTOFU ] || say "building OpenTofu: some minutes, once"
    build_go_program "$name" || say "not built: the Go program $name; its tests will be skipped"
  done
}

# lookup contains both Go's resolver and the C library's; gophercloud is Debian's package; the
# servers' libraries, Terraform's providers and OpenTofu come from the Go module proxy, with the
# checksums of go.sum.
build_go_program() {
  local cgo=0 modules=off path=/usr/share/gocode package=. flags=
  case $1 in
    lookup) cgo=1 ;;
    gophercloud)
      # test/support/go/gophercloud/mutex.go
      [ ! -d $path/src/github.com/gophercloud/utils/terraform/mutexkv ] || flags=-tags=mutexkv
      ;;
    *server | workspaceproxy | terraform-provider-*) modules=on path=$ROOT/dist/go/path ;;
    "$OPENTOFU") modules=on path=$ROOT/dist/go/path package=github.com/opentofu/opentofu/cmd/tofu ;;
  esac
  (cd "test/support/go/$1" && as_owner env \
    GOCACHE="$ROOT/dist/go/cache" GOPATH="$path" GO111MODULE=$modules CGO_ENABLED=$cgo GOTOOLCHAIN=local \
    GOFLAGS="$([ $modules = off ] && echo "$flags" || echo '-mod=readonly -modcacherw')" \
    go build -o "$ROOT/dist/go/$1" $package >&2)
}
