# Sourced by scripts/test: steps that run beside others. What they say is printed when they are
# joined, so that it isn't mixed.

BESIDE=$(mktemp -d)
trap 'rm -rf "$BESIDE"' EXIT

# beside NAME COMMAND...: starts a step.
beside() {
  local name=$1
  shift
  ("$@") >"$BESIDE/$name" 2>&1 </dev/null &
  echo $! >"$BESIDE/$name.pid"
}

# joined NAME: waits for it and prints what it has said; its status. True if it was never started.
joined() {
  local status=0
  [ -e "$BESIDE/$1.pid" ] || return 0
  wait "$(cat "$BESIDE/$1.pid")" || status=$?
  cat "$BESIDE/$1" >&2
  return $status
}
