/**
 * Keys, known_hosts files and the client's home for one lab: everything that ssh needs, made for
 * each lab.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JUMPHOST4, JUMPHOST6 } from './addresses.ts';
import { mustRun } from './process.ts';

/** The encrypted key's passphrase. */
export const PASSPHRASE = 'correct horse battery staple';
/** The user that the jump host admits. */
export const JUMP_USER = 'jump';
const HOST_KEY_TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;
/** Servers and clients with current defaults may refuse a shorter RSA key. */
const RSA_BITS = '2048';

export interface Credentials {
  /** Private key files; each has its public key beside it, with `.pub`. */
  readonly keys: {
    /** Authorised for the user `jump`. */
    readonly authorized: string;
    /** Also authorised; encrypted with PASSPHRASE. */
    readonly encrypted: string;
    /** Not authorised for anybody. */
    readonly stranger: string;
  };
  readonly knownHosts: {
    /** `ADDRESS KEY`, and `[ADDRESS]:PORT KEY` for ports other than 22. */
    readonly plain: string;
    /** The same, each host hashed. */
    readonly hashed: string;
    /** Has another key for the jump host, as after an attack or a reinstallation. */
    readonly changed: string;
    /** Empty. */
    readonly empty: string;
  };
  /** sshd's private host keys, ed25519, ecdsa and rsa. */
  readonly hostKeys: readonly string[];
  /** The content of an authorized_keys file for `jump`. */
  readonly authorizedKeys: string;
  /** For `ssh -F`: the hosts `jump` and `jump6`, no agent, no prompts. */
  readonly sshConfig: string;
}

/** Makes the keys in `directory`; resolves when all exist. */
async function makeKeys(directory: string, hostKeys: readonly string[]): Promise<void> {
  const keygen = (path: string, type: string, passphrase: string, ...more: string[]) =>
    mustRun([
      'ssh-keygen',
      '-q',
      '-t',
      type,
      '-N',
      passphrase,
      '-C',
      path.slice(path.lastIndexOf('/') + 1),
      '-f',
      path,
      ...more,
    ]);
  await Promise.all([
    ...HOST_KEY_TYPES.map((type, i) =>
      keygen(hostKeys[i] ?? '', type, '', ...(type === 'rsa' ? ['-b', RSA_BITS] : [])),
    ),
    keygen(join(directory, 'authorized'), 'ed25519', ''),
    keygen(join(directory, 'stranger'), 'ed25519', ''),
    keygen(join(directory, 'encrypted'), 'ed25519', PASSPHRASE, '-a', '1'),
  ]);
}

/**
 * `known_hosts` lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) for the jump host's addresses at each
 * port.
 */
function knownHostsLines(publicKeys: readonly string[], ports: readonly number[]): string {
  const hosts = ports.flatMap((port) =>
    [JUMPHOST4, JUMPHOST6].map((address) => (port === 22 ? address : `[${address}]:${port}`)),
  );
  return publicKeys
    .flatMap((key) => hosts.map((host) => `${host} ${key.split(' ').slice(0, 2).join(' ')}\n`))
    .join('');
}

function sshConfigText(key: string, knownHosts: string): string {
  return `Host jump
  HostName ${JUMPHOST4}
Host jump6
  HostName ${JUMPHOST6}
Host *
  User ${JUMP_USER}
  IdentityFile ${key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile ${knownHosts}
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  StrictHostKeyChecking yes
  BatchMode yes
`;
}

/**
 * Fills `directory` with keys and `home` (the client's) with a .ssh where the defaults find the
 * right key and the right known_hosts. `ports` are those that sshd listens on at some time in the
 * test.
 */
export async function makeCredentials(
  directory: string,
  home: string,
  ports: readonly number[],
): Promise<Credentials> {
  const file = (name: string) => join(directory, name);
  const hostKeys = HOST_KEY_TYPES.map((type) => file(`host_${type}`));
  mkdirSync(directory, { mode: 0o755 });
  await makeKeys(directory, hostKeys);

  const publicKey = (path: string) => readFileSync(`${path}.pub`, 'utf8').trim();
  const knownHosts = {
    plain: file('known_hosts'),
    hashed: file('known_hosts.hashed'),
    changed: file('known_hosts.changed'),
    empty: file('known_hosts.empty'),
  };
  const keys = {
    authorized: file('authorized'),
    encrypted: file('encrypted'),
    stranger: file('stranger'),
  };
  const lines = knownHostsLines(hostKeys.map(publicKey), ports);
  writeFileSync(knownHosts.plain, lines);
  writeFileSync(knownHosts.hashed, lines);
  writeFileSync(knownHosts.changed, knownHostsLines([publicKey(keys.stranger)], ports));
  writeFileSync(knownHosts.empty, '');
  await mustRun(['ssh-keygen', '-q', '-H', '-f', knownHosts.hashed]);
  rmSync(`${knownHosts.hashed}.old`);

  const sshConfig = file('ssh_config');
  writeFileSync(sshConfig, sshConfigText(keys.authorized, knownHosts.plain));
  const dotSsh = join(home, '.ssh');
  mkdirSync(dotSsh, { recursive: true, mode: 0o700 });
  copyFileSync(knownHosts.plain, join(dotSsh, 'known_hosts'));
  copyFileSync(keys.authorized, join(dotSsh, 'id_ed25519'));
  copyFileSync(`${keys.authorized}.pub`, join(dotSsh, 'id_ed25519.pub'));
  chmodSync(join(dotSsh, 'id_ed25519'), 0o600);
  return {
    keys,
    knownHosts,
    hostKeys,
    authorizedKeys: `${publicKey(keys.authorized)}\n${publicKey(keys.encrypted)}\n`,
    sshConfig,
  };
}
