/**
 * `tunnel jumphost keys-command`: the script that sshd runs at each login (AuthorizedKeysCommand)
 * for keys that are kept behind an API or printed by a command.
 *
 *   sshd ── LOGIN, KEY ──► script ──► its cache, one file for each source
 *                             │        the key is in a file younger than 15 min: nobody is asked
 *                             │        else each source is asked whose file is at least 2 min old
 *                             │        and that has not failed in the last 10 s
 *                             └─ lock ─► sources, all at the same time, in the background
 *
 * A login waits for the sources for 3 s, and then takes what the cache has; for 20 s where a source
 * was never read. The lock belongs to the process in the background: other logins wait for the same
 * answer instead of asking again.
 *
 * The cache holds nothing but `TYPE BASE64 COMMENT`. The options are put before each key when it is
 * printed, so that no source decides about them.
 */
import { createHash } from 'node:crypto';
import { keyOptions } from './authorizedkey.ts';
import { KEY_TYPES } from './keytypes.ts';
import { comment, GROUP, type JumpHostPlan, type KeySource, type RenderedFile } from './plan.ts';

/** In a directory that only root may write to, on every distribution, as sshd insists. */
export const KEYS_COMMAND_PATH = '/usr/libexec/tunnel-authorized-keys';
/** Who runs it: nobody else's account, and no login. */
export const KEYS_COMMAND_USER = 'tunnel-keys';
export const KEYS_CACHE = '/var/cache/tunnel-keys';
/** The login, and the key that is offered. */
export const KEYS_COMMAND = `${KEYS_COMMAND_PATH} %u %k`;

/** What a source may send. A list of 10,000 keys is smaller. */
export const MAX_SOURCE_BYTES = 1024 * 1024;

/** Where the script stands, as whom it runs, and whom it tells what is wrong. */
export interface KeysCommandPlace {
  readonly path: string;
  readonly user: string;
  readonly cache: string;
  /**
   * `host`: root has made the cache, and syslog is there. `container`: nobody is root, so that the
   * script makes the cache in a directory that is there, and writes to the standard error of the
   * first process.
   */
  readonly where: 'host' | 'container';
}

const ON_HOST: KeysCommandPlace = {
  path: KEYS_COMMAND_PATH,
  user: KEYS_COMMAND_USER,
  cache: KEYS_CACHE,
  where: 'host',
};

const FILE = 'tunnel-authorized-keys';
const FRESH_MINUTES = 2;
const USABLE_MINUTES = 15;
const RETRY_SECONDS = 10;
const PATIENCE_SECONDS = 3;
/** With a second to end in, less than the drop-in's LoginGraceTime of 30. */
const SOURCE_SECONDS = 20;

/** `plan.keysFrom` has at least one entry. Throws UsageError as keyOptions does. */
export function renderKeysCommand(plan: JumpHostPlan): RenderedFile[] {
  return [{ path: FILE, mode: 0o755, text: keysScript(plan, ON_HOST, head(plan)) }];
}

/** The script. `about` is its comment. Throws UsageError as keyOptions does. */
export function keysScript(
  plan: JumpHostPlan,
  place: KeysCommandPlace,
  about: readonly string[],
): string {
  const sources = plan.keysFrom.map((source) => ({ source, id: idOf(source) }));
  return `#!/bin/sh
${comment(...about)}

PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
cd / || exit 1

cache=${place.cache}
group=${GROUP}
options=${shellQuoted(keyOptions(plan))}

sources='${sources.map(({ id }) => id).join(' ')}'
name_of() {
  case $1 in
${sources.map(({ id, source }) => `    ${id}) printf '%s\\n' ${shellQuoted(nameOf(source))} ;;`).join('\n')}
  esac
}
ask() {
  case $1 in
${sources.map(({ id, source }) => `    ${id}) ${askOf(source)} ;;`).join('\n')}
  esac
}
${program(place)}`;
}

function head({ keysFrom }: JumpHostPlan): string[] {
  return [
    'Prints the public keys of those who may log in. sshd runs it at each login.',
    '',
    `Needs sh, awk, flock, stat, timeout and logger, which the smallest images of Debian and Alpine`,
    'have. For addresses it also needs curl or GNU wget, and ca-certificates.',
    'Sources:',
    ...keysFrom.map((source) => `  ${nameOf(source)}`),
    '',
    'Apply, as root:',
    `  useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin ${KEYS_COMMAND_USER}`,
    `  install -d -m 700 -o ${KEYS_COMMAND_USER} ${KEYS_CACHE}`,
    `  install -D -m 755 ${FILE} ${KEYS_COMMAND_PATH}`,
    `In sshd_config, for the group ${GROUP} ("tunnel jumphost sshd --keys-from" has these lines):`,
    `  AuthorizedKeysCommand ${KEYS_COMMAND}`,
    `  AuthorizedKeysCommandUser ${KEYS_COMMAND_USER}`,
    '',
    'Verify, as root:',
    `  ${KEYS_COMMAND_PATH} --refresh && cat ${KEYS_CACHE}/*.keys`,
    `  journalctl -t ${KEYS_COMMAND_USER}   # what was wrong with a source`,
    '',
    'Undo, as root, without the lines in sshd_config:',
    `  rm -r ${KEYS_COMMAND_PATH} ${KEYS_CACHE} && userdel ${KEYS_COMMAND_USER}`,
    '',
    ...ABOUT_CACHE,
  ];
}

/** How old keys may be. */
export const ABOUT_CACHE: readonly string[] = [
  `A key in a file of the cache that is younger than ${USABLE_MINUTES} minutes is good without asking. For`,
  `every other key, the sources are asked whose file is not younger than ${FRESH_MINUTES} minutes. So a new key`,
  `works within ${FRESH_MINUTES} minutes, and a removed one for up to ${USABLE_MINUTES}. --refresh asks all sources now. The`,
  'file of a source that is down, or sends anything but keys, stays as it is, and that is logged.',
];

/** A name for its file in the cache: another source never takes over what this one has said. */
function idOf(source: KeySource): string {
  return createHash('sha256').update(nameOf(source)).digest('hex').slice(0, 16);
}

/** The address or the command, as the user wrote it. */
export function nameOf(source: KeySource): string {
  return source.kind === 'url' ? source.url : source.command;
}

function askOf(source: KeySource): string {
  return source.kind === 'url'
    ? `ask_address ${shellQuoted(source.url)}`
    : `ask_command ${shellQuoted(source.command)}`;
}

/** One word of sh(1), on one line: readKeySource lets no control characters through. */
function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** For awk: which types there are, what their base64 begins with, and how long it is. */
const TYPES = KEY_TYPES.map(
  ({ name, start, least, most }) =>
    `    start["${name}"] = "${start}"; least["${name}"] = ${least}; most["${name}"] = ${most}`,
).join('\n');

/**
 * How the log is told: what sshd runs has no standard error. Not with `echo`: what a source says
 * has `\n` in it maybe, and would begin another line.
 */
const TELL: Readonly<Record<KeysCommandPlace['where'], (user: string) => string>> = {
  host: (user) => `logger -t ${user} -p auth.warning -- "$*" 2>/dev/null`,
  container: (user) => `{ printf '${user}: %s\\n' "$*" >/proc/1/fd/2; } 2>/dev/null`,
};

const program = ({ path, user, where }: KeysCommandPlace) => String.raw`
say() {
  ${TELL[where](KEYS_COMMAND_USER)}
  [ "$mode" = login ] || printf '%s\n' "$*" >&2
}

# Seconds since a file of the cache was written; very many without one, or with one of the future.
age() {
  seconds=$(($(date +%s) - $(stat -c %Y "$cache/$1" 2>/dev/null || echo 0)))
  [ "$seconds" -ge 0 ] || seconds=999999999
  echo "$seconds"
}

# What the cache has of $key; all of it without one. With $1: only of files younger than that.
cached() {
  for id in $sources; do
    [ -f "$cache/$id.keys" ] || continue
    [ -z "$1" ] || [ "$(age "$id.keys")" -lt "$1" ] || continue
    cat "$cache/$id.keys"
  done | awk -v key="$key" '(key == "" || $2 == key) && !seen[$2]++'
}

# The sources to be asked for $key.
due() {
  [ -z "$key" ] || [ -z "$(cached $((${USABLE_MINUTES} * 60)))" ] || return
  for id in $sources; do
    [ "$(age "$id.keys")" -ge $((${FRESH_MINUTES} * 60)) ] || continue
    [ "$(age "$id.failed")" -ge ${RETRY_SECONDS} ] || continue
    echo "$id"
  done
}

# Asks a source, limited in size and time. What it says goes to $raw, $errors and $status.
limited() {
  (
    # shellcheck disable=SC3045
    ulimit -c 0
    ulimit -f $((${MAX_SOURCE_BYTES} / 512 + 1))
    exec timeout -k 1 ${SOURCE_SECONDS} "$@"
  ) </dev/null 2>"$errors"
}
ask_command() {
  limited sh -c "$1" >"$raw"
}
# Nothing but status 200 is an answer: a redirection leads to a page for people, not to keys.
ask_address() {
  if command -v curl >/dev/null; then
    limited curl -q -sS --globoff -o "$raw" -w '%{http_code}' --url "$1" >"$status" || return
    [ "$(cat "$status")" = 200 ] && return
    echo "HTTP status $(cat "$status")" >"$errors"
    return 1
  elif wget --version 2>/dev/null | grep -q 'GNU Wget'; then
    limited wget --no-config -nv --max-redirect=0 --tries=1 -O "$raw" -- "$1"
  else
    echo 'neither curl nor GNU wget is installed' >"$errors"
    return 1
  fi
}

# Lines that are public keys. Ends with 3 when there are others, and with 4 when all are others.
only_keys() {
  awk 'BEGIN {
${TYPES}
  }
  NR == 1 { sub(/^\357\273\277/, "") }
  { sub(/\r$/, "") }
  NF == 0 || $1 ~ /^#/ { next }
  !($1 in start) || index($2, start[$1]) != 1 || $2 !~ /^[A-Za-z0-9+\/]+=?=?$/ ||
    length($2) % 4 || length($2) < least[$1] || length($2) > most[$1] { others++; next }
  {
    keys++
    type = $1; base64 = $2; $1 = $2 = ""
    gsub(/[^ -~]/, "?"); sub(/^ +/, "")
    print type " " base64 ($0 == "" ? "" : " " substr($0, 1, 100))
  }
  END { if (others) exit(keys ? 3 : 4) }'
}

# Asks one source. Its file in the cache is replaced as a whole, or stays as it is.
take() {
  raw=$cache/$1.raw errors=$cache/$1.errors status=$cache/$1.status new=$cache/$1.new why=
  rm -f "$raw" "$errors" "$status" "$new"
  ask "$1"
  case $? in
    0) ;;
    # The last two are of what has been ended by a signal.
    124 | 137 | 143) why='it has not answered within ${SOURCE_SECONDS} s' ;;
    *) why="it does not answer: $(tr -cd ' -~\n' <"$errors" | head -n 1 | cut -c 1-200)" ;;
  esac
  if [ ! -f "$raw" ]; then
    : >"$raw"
  elif [ "$(wc -c <"$raw")" -gt ${MAX_SOURCE_BYTES} ]; then
    why='its answer is larger than ${MAX_SOURCE_BYTES} bytes'
  fi
  if [ -n "$why" ]; then
    :
  elif [ "$(tr -d '\t\n\r\040-\176\200-\377' <"$raw" | wc -c)" -gt 0 ]; then
    why='its answer is no text'
  elif grep -q 'PRIVATE KEY' "$raw"; then
    why='its answer has a private key in it, which has to be replaced'
  else
    only_keys <"$raw" >"$new"
    case $? in
      0) ;;
      3) say "$(name_of "$1"): lines that are no public keys are left out" ;;
      4) why='its answer has no line that is a public key' ;;
      *) why="the cache can't be written" ;;
    esac
  fi
  rm -f "$raw" "$errors" "$status"
  if [ -z "$why" ] && mv -f "$new" "$cache/$1.keys"; then
    [ -s "$cache/$1.keys" ] || say "$(name_of "$1"): it has no keys at all"
    rm -f "$cache/$1.failed"
    return 0
  fi
  rm -f "$new"
  touch "$cache/$1.failed"
  kept='nothing is known from it'
  [ ! -f "$cache/$1.keys" ] || kept="its keys are used as they were $(age "$1.keys") s ago"
  say "$(name_of "$1"): $why; $kept"
  return 1
}

# Gives the lock back: busybox's timeout leaves a process behind that would hold it for a second.
take_all() {
  failed=0 running=
  for id in "$@"; do
    take "$id" 9>&- &
    running="$running $!"
  done
  for process in $running; do wait "$process" || failed=1; done
  flock -u 9
  return "$failed"
}

# Waits up to $1 seconds for what is under way, and starts it where nothing is. Who has a cache
# doesn't wait for what others have waited for. Descriptor 9 holds the lock, and belongs to the
# process in the background.
update() {
  left=$1
  exec 9>>"$cache/lock"
  if flock -n 9; then
    touch "$cache/asked"
    asked=$(due)
    # shellcheck disable=SC2086
    if [ -n "$asked" ]; then (take_all $asked) </dev/null >/dev/null 2>&1 & fi
  elif [ "$left" -le ${PATIENCE_SECONDS} ]; then
    left=$((left - $(age asked)))
  fi
  exec 9>&-
  [ "$left" -gt 0 ] || return
  exec 8>>"$cache/lock"
  timeout "$left" flock -s 8 </dev/null >/dev/null 2>&1
  flock -u 8
  exec 8>&-
}

# How long a login may wait: not long where there is something to go by.
patience() {
  if [ -z "$key" ] || [ -z "$(cached)" ]; then
    for id in $(due); do
      [ -f "$cache/$id.keys" ] || { echo $((${SOURCE_SECONDS} + 2)) && return; }
    done
  fi
  echo ${PATIENCE_SECONDS}
}

mode=login
[ "$1" != --refresh ] || mode=refresh
if [ "$(id -u)" = 0 ]; then
  [ "$mode" = refresh ] || { say 'it must not run as root' && exit 1; }
  exec su -s /bin/sh ${user} -c '${path} --refresh'
fi
for program in awk flock stat timeout; do
  command -v "$program" >/dev/null || { say "$program is not installed" && exit 1; }
done
${where === 'host' ? '' : '# Below the volume of the pod, whose group comes with a set-group-ID bit.\nmkdir "$cache" 2>/dev/null\n'}case $(stat -c %u:%a "$cache" 2>/dev/null) in
  "$(id -u):700" | "$(id -u):2700") ;;
  *)
    say "$cache must be a directory of $(id -un), with mode 700"
    exit 1
    ;;
esac
if [ "$mode" = refresh ]; then
  exec 9>>"$cache/lock"
  timeout $((2 * ${SOURCE_SECONDS})) flock 9 || { say 'it is being refreshed already' && exit 1; }
  # shellcheck disable=SC2086
  take_all $sources
  exit
fi

# Whoever else logs in has keys of their own.
case " $(id -Gn -- "$1" 2>/dev/null) " in
  *" $group "*) ;;
  *) exit 0 ;;
esac
key=$2
deadline=
# Again where what was under way was for other sources.
for _ in 1 2 3; do
  [ -n "$(due)" ] || break
  [ -n "$deadline" ] || deadline=$(($(date +%s) + $(patience)))
  left=$((deadline - $(date +%s)))
  [ "$left" -gt 0 ] || break
  update "$left" || break
done
cached | while read -r line; do
  printf '%s %s\n' "$options" "$line"
done
`;
