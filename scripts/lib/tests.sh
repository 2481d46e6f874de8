# Sourced by scripts/test: selects a run's test files. Paths are relative to test/
# (contract/scale.test.ts).

# Prints the test files whose paths begin with one of these.
matching() {
  local part file
  for part in "$@"; do
    part=${part#test/}
    find test -name '*.test.ts' -printf '%P\n' | while IFS= read -r file; do
      case $file in "${part%.test.ts}"*) printf '%s\n' "$file" ;; esac
    done
  done | sort -u
}

# select_tests              all except those in test/heavy
# select_tests all          all
# select_tests PATH...      those whose paths begin with one of these, heavy or not
# Sets `tests`, sets `left_out` to the files that test/heavy excludes, and `everything` with "all".
select_tests() {
  local part
  left_out=() everything=
  case ${1:-} in
    '')
      # shellcheck disable=SC2046 # one path a line, without blanks
      mapfile -t left_out < <(matching $(sed -n 's/^\([^# ][^ ]*\) .*/\1/p' test/heavy))
      mapfile -t tests < <(matching '' | grep -vxF "$(printf '%s\n' "${left_out[@]}")")
      ;;
    all)
      [ $# = 1 ] || die "all takes no further arguments" "scripts/test all, or scripts/test with folders and files below test/"
      everything=1
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

# Whether any of the chosen files has this in its name (chosen), or in its text (mention).
# Not a pipe: grep ends at the first line that fits, and pipefail would count that as a failure.
chosen() { grep -q "$1" <(printf '%s\n' "${tests[@]}"); }
mention() { (cd test && grep -qF "$1" "${tests[@]}"); }
