/**
 * `tunnel jumphost authorized-key`: lines of an authorized_keys file (sshd(8), AUTHORIZED_KEYS FILE
 * FORMAT), one for each key. The options of a line hold for whoever logs in with that key, whatever
 * sshd_config permits besides:
 *
 *   restrict          nothing: no terminal, agent, X11, tunnel device, ~/.ssh/rc, forwarding
 *   port-forwarding   except TCP forwarding, to
 *   permitopen=       the listed destinations; with a list sshd opens no Unix socket either
 *   permitlisten=     and none in the other direction: the one listed port needs root
 *   command=          ends at once. It also takes the place of sftp and of every other subsystem
 *   from=             only when asked for
 *
 * One thing is left: no option of a key forbids a listener on a Unix socket (ssh -R PATH:...).
 * AllowStreamLocalForwarding no does, in the drop-in (sshd.ts).
 */
import { UsageError } from '../errors/errors.ts';
import { formatPermitted } from './permitted.ts';
import { comment, FORCED_COMMAND, type JumpHostPlan, type RenderedFile } from './plan.ts';

/** sshd's own processes pass the options of a key on in one message of at most 256 KiB. */
export const MAX_KEY_OPTIONS_BYTES = 240 * 1024;

/** There is no `none`. sshd gives ports below 1024 to nobody but root. */
const NO_LISTENER = 'localhost:1';

const FILE = 'authorized_keys';

export function renderAuthorizedKey(plan: JumpHostPlan): RenderedFile[] {
  const options = keyOptions(plan);
  const text = [comment(...head(plan)), ...plan.keys.map((key) => `${options} ${key}`)].join('\n');
  return [{ path: FILE, mode: 0o600, text: `${text}\n` }];
}

/**
 * The options before a key, without the space behind them. Throws UsageError for a list that is too
 * long for one line.
 */
export function keyOptions({ permitted, from }: Pick<JumpHostPlan, 'permitted' | 'from'>): string {
  const options = [
    'restrict',
    'port-forwarding',
    ...(from.length === 0 ? [] : [`from=${quotedValue(from.join(','))}`]),
    ...permitted.map((entry) => `permitopen=${quotedValue(formatPermitted(entry))}`),
    `permitlisten=${quotedValue(NO_LISTENER)}`,
    `command=${quotedValue(FORCED_COMMAND)}`,
  ].join(',');
  if (options.length <= MAX_KEY_OPTIONS_BYTES) return options;
  throw new UsageError(
    `the list is too long for the options of a key: ${options.length} bytes, and sshd takes ${MAX_KEY_OPTIONS_BYTES}`,
    { hint: 'list fewer destinations, or every port of a host by leaving its ports out' },
  );
}

/** A quote in it is all that needs a backslash (opt_dequote of sshd's auth-options.c). */
function quotedValue(value: string): string {
  return `"${value.replaceAll('"', '\\"')}"`;
}

function head({ user, port, permitted }: JumpHostPlan): string[] {
  const [first] = permitted;
  const example = first === undefined ? 'HOST:443' : formatPermitted(first).replace(/\*$/, '443');
  return [
    `Keys that may forward to the listed destinations, and nothing else.`,
    '',
    `Apply, as root, on the jump host (${FILE} may have other lines already, which stay):`,
    `  install -d -m 700 -o ${user} -g "$(id -g ${user})" ~${user}/.ssh`,
    `  cat ${FILE} >>~${user}/.ssh/${FILE}`,
    `  chown ${user}: ~${user}/.ssh/${FILE} && chmod 600 ~${user}/.ssh/${FILE}`,
    'Without root, logged in as that user:',
    `  mkdir -p -m 700 ~/.ssh && cat ${FILE} >>~/.ssh/${FILE} &&`,
    `    chmod 600 ~/.ssh/${FILE}`,
    'sshd takes the first line of a key. So where these keys have lines from an earlier rendering,',
    'remove those first, as under "Undo".',
    'sshd_config must say "AllowStreamLocalForwarding no": no option of a key forbids listeners on',
    'Unix sockets (ssh -R PATH:...). The drop-in of "tunnel jumphost sshd" has that line.',
    '',
    'Verify:',
    `  ssh-keygen -l -f ~${user}/.ssh/${FILE}   # a line for each key`,
    `  tunnel -r ${user}@THIS-HOST${port === 22 ? '' : `:${port}`} ${example}   # from a client`,
    '',
    'Undo, for all lines of this kind. Whoever is logged in stays so until the second command:',
    `  sed -i '/^restrict,port-forwarding,.*,command="\\/bin\\/false" /d' ~${user}/.ssh/${FILE}`,
    `  pkill -u ${user}`,
  ];
}
