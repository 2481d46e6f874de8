/**
 * Users and groups of passwd(5) and group(5). Those of other sources (LDAP, SSSD) are not known
 * here.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Account {
  readonly name: string;
  readonly uid: number;
  /** Of the primary group. */
  readonly gid: number;
  readonly home: string;
}

interface Group {
  readonly gid: number;
  /** Names of those that have it as a further group. */
  readonly members: readonly string[];
}

export class Accounts {
  readonly #accounts: readonly Account[];
  readonly #groups: readonly Group[];
  readonly #names: ReadonlyMap<number, string>;

  /** `passwd`, `group`: the texts of the two files. */
  constructor(passwd: string, group: string) {
    this.#accounts = fieldsOf(passwd).map(([name = '', , uid, gid, , home = '']) => ({
      name,
      uid: Number(uid),
      gid: Number(gid),
      home,
    }));
    this.#names = new Map(this.#accounts.toReversed().map(({ uid, name }) => [uid, name]));
    this.#groups = fieldsOf(group).map(([, , gid, members = '']) => ({
      gid: Number(gid),
      members: members.split(',').filter(Boolean),
    }));
  }

  /** Those of /etc. A file that can't be read counts as empty. */
  static async read(directory = '/etc'): Promise<Accounts> {
    const [passwd = '', group = ''] = await Promise.all(
      ['passwd', 'group'].map((name) => textOf(join(directory, name))),
    );
    return new Accounts(passwd, group);
  }

  /** The home directory of a user. undefined: not known here. */
  homeOf(user: string): string | undefined {
    return this.#accounts.find(({ name }) => name === user)?.home;
  }

  /** The name of a user. undefined: not known here. */
  nameOf(user: number): string | undefined {
    return this.#names.get(user);
  }

  /** Whether the user is the only member of a group, as its primary or a further one. */
  isPrivate(gid: number, uid: number): boolean {
    const group = this.#groups.find((known) => known.gid === gid);
    if (group === undefined) return false;
    const primary = this.#accounts.filter((account) => account.gid === gid);
    const names = this.#accounts.filter((account) => account.uid === uid).map(({ name }) => name);
    return (
      primary.length + group.members.length > 0 &&
      primary.every((account) => account.uid === uid) &&
      group.members.every((member) => names.includes(member))
    );
  }
}

function fieldsOf(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':'));
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return ''; // a container may have none
  }
}
