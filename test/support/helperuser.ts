/** Programs of an ordinary user that start the helper through sudo, without a password. */
import { SUDOERS, UID, USER, withEtc } from './etc.ts';
import { type HelperClient, type HelperNamespace, TESTED_HELPER } from './helperlab.ts';
import { labUnavailable } from './requirements.ts';

export { UID, USER };

/** Why such tests can't run here, or false. */
export const userLabMissing = labUnavailable('unshare', 'setpriv', 'sudo', 'openssl', 'python3');

/** Sets TUNSETPERSIST at descriptor 3. */
export const PERSIST = [
  '/usr/bin/python3',
  '-c',
  'import fcntl; fcntl.ioctl(3, 0x400454cb, 1)',
] as const;

export const asUser = (...argv: readonly string[]): string[] => [
  'setpriv',
  `--reuid=${UID}`,
  `--regid=${UID}`,
  '--clear-groups',
  '--',
  ...argv,
];

/** The user's sudo rule, and other files of /etc. */
export function etcOfUser(
  directory: string,
  files: Readonly<Record<string, string>> = {},
): (argv: readonly string[]) => string[] {
  const sudoers = `${SUDOERS}Defaults !use_pty\n${USER} ALL=(root) NOPASSWD: ${TESTED_HELPER}\n`;
  return withEtc(directory, { sudoers, ...files });
}

/** A client as the user. `wrap` changes its command as the user. */
export function userClient(
  namespace: HelperNamespace,
  etc: (argv: readonly string[]) => string[],
  wrap: (argv: string[]) => string[] = (argv) => argv,
): Promise<HelperClient> {
  return namespace.client((argv) => [
    'setsid',
    ...etc([...argv.slice(0, 4), ...asUser(...wrap(argv.slice(4)))]),
  ]);
}
