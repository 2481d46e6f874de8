# Sourced by scripts/test: which test files a run has. Their paths are those below test/
# (contract/scale.test.ts).

# The test files that begin with one of these paths.
matching() {
  local part file
  for part in "$@"; do
    part=${part#test/}
    find test -name '*.test.ts' -printf '%P\n' | while IFS= read -r file; do
      case $file in "${part%.test.ts}"*) printf '%s\n' "$file" ;; esac
    done
  done | sort -u
}

# select_tests              all but what test/heavy lists
# select_tests all          all
# select_tests PATH...      those that begin with one of these, heavy or not
# Sets `tests`, and `left_out` to what test/heavy has kept out.
select_tests() {
  local part
  left_out=()
  case ${1:-} in
    '')
      # shellcheck disable=SC2046 # one path a line, without blanks
      mapfile -t left_out < <(matching $(sed -n 's/^\([^# ][^ ]*\) .*/\1/p' test/heavy))
      mapfile -t tests < <(matching '' | grep -vxF "$(printf '%s\n' "${left_out[@]}")")
      ;;
    all)
      [ $# = 1 ] || die "all stands alone" "scripts/test all, or scripts/test with folders and files below test/"
      mapfile -t tests < <(matching '')
      ;;
    *)
      for part in "$@"; do
        [ -n "$(matching "$part")" ] || die "no test matches $part" "name a folder or file below test/, or all"
      done
      mapfile -t tests < <(matching "$@")
      ;;
  esac
}
