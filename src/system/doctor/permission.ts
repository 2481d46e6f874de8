/**
 * doctor's check of the rule that users meet first: who may capture prefixes as wide as 0/0. The
 * helper decides (native/helper/permit.c), and would have to be root to be asked for the rest.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants, userInfo } from 'node:os';
import { formatPrefix, type Prefix } from '../../net/prefix.ts';
import { ADMINISTRATORS, notPermitted, RULES_FILE, SHORTEST } from '../helper/permission.ts';
import { type Finding, failure } from './diagnosis.ts';

/** For `id`, which may ask a directory server, in ms. */
const ID_TIMEOUT_MS = 5_000;

export interface Caller {
  readonly uid: number;
  readonly name: string;
  /** The names of its groups. undefined: not known. */
  readonly groups: readonly string[] | undefined;
  /** Whether an administrator has written rules. They are not read here. */
  readonly hasRules: boolean;
}

/** A finding if `caller` may not capture one of the prefixes because it is too wide. */
export function lookAtPermission(
  prefixes: readonly Prefix[],
  caller: Caller = thisUser(),
): Finding | undefined {
  const { uid, name, groups, hasRules } = caller;
  if (uid === 0 || hasRules || groups === undefined) return undefined;
  const wide = prefixes.find(({ family, length }) => length < SHORTEST[family]);
  if (wide === undefined || ADMINISTRATORS.some((group) => groups.includes(group)))
    return undefined;
  const detail = `${formatPrefix(wide)} wide`;
  return failure('helper', notPermitted({ detail, errno: constants.errno.EPERM }, name));
}

function thisUser(): Caller {
  const uid = process.getuid?.() ?? 0;
  const hasRules = existsSync(RULES_FILE);
  try {
    const { username: name } = userInfo();
    const { status, stdout } = spawnSync('id', ['-nG', '--', name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: ID_TIMEOUT_MS,
    });
    return { uid, name, groups: status === 0 ? stdout.trim().split(' ') : undefined, hasRules };
  } catch {
    // The user has no name, so it is in no group: the helper knows it by its number.
    return { uid, name: String(uid), groups: [], hasRules };
  }
}
