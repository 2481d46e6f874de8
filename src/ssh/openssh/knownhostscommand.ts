/**
 * The KnownHostsCommand that we give to ssh: native/hostpin.c, which compares the fingerprint of
 * the server's key. ssh takes only one such command. If the user has set one as well, a shell runs
 * the user's first and passes on what it says: with pins only the @revoked lines, since nothing
 * else may add trust, otherwise all of it. If the user's command fails, ours fails with its status,
 * and ssh accepts no key.
 *
 *   only           the pins of --host-key
 *   revoke-others  the key that the jump host has shown at another address
 *
 * ssh splits the value into words and expands tokens in them. Nothing in the script comes from
 * outside: the rest are its arguments.
 */
import { UsageError } from '../../errors/errors.ts';
import { printable } from '../../observe/printable.ts';
import type { KnownHostsCommand } from '../settings.ts';

export interface CommandParts {
  /** The path of tunnel-hostpin. */
  readonly hostpin: string;
  readonly mode: 'only' | 'revoke-others';
  /** Not empty, except for `only` beside a command of the user's. */
  readonly fingerprints: readonly string[];
  /** The user's own. */
  readonly users: KnownHostsCommand | undefined;
}

const RUN_USERS = 'f=$1 h=$2 t=$3 k=$4 p=$5; shift 5; l=$("$@") || exit;';
const ITS_REVOKED =
  'printf "%s\\n" "$l" | while read -r x; do case $x in @revoked[[:blank:]]*) printf "%s\\n" "$x";; esac; done;';
const ALL = 'printf "%s\\n" "$l";';
const COMPARE = (mode: string): string =>
  `test -z "$p" || exec "$0" ${mode} "$f" "$h" "$t" "$k" $p`;

/** A value for -o. Throws UsageError for a word that ssh would misread. */
export function knownHostsCommand({ hostpin, mode, fingerprints, users }: CommandParts): string {
  const subject = ['%f', '%H', '%t', '%K'];
  const path = escapeTokens(hostpin);
  if (users === undefined) return [word(path), mode, ...subject, ...fingerprints].join(' ');
  const script = [RUN_USERS, mode === 'only' ? ITS_REVOKED : ALL, COMPARE(mode)].join(' ');
  // ssh expands no tokens in the first word.
  const [program, ...args] = users.words;
  return [
    ...['/bin/sh', '-c', `'${escapeTokens(script)}'`, word(path), ...subject],
    word(fingerprints.join(' ')),
    ...[escapeTokens(program), ...args].map(word),
  ].join(' ');
}

/** Quotes a word for ssh. */
function word(text: string): string {
  if (/[^\P{Cc}\t]|\$\{/u.test(text))
    throw new UsageError(
      `the word "${printable(text)}" of a KnownHostsCommand can't be passed to ssh`,
      {
        hint: 'leave out control characters and "${", or use --transport ssh2',
      },
    );
  return /^[\w@%+:,./=~-]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, '\\$&')}"`;
}

function escapeTokens(text: string): string {
  return text.replaceAll('%', '%%');
}
