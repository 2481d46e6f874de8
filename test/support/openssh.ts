/**
 * Options of dialOpenssh for a LoopbackSshd: no configuration file, no agent, its key, its host key
 * in a file.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Observer, silentObserver } from '../../src/observe/observer.ts';
import type { ReplicaKeys } from '../../src/ssh/hostkeys/replicas.ts';
import type { GivenOptions } from '../../src/ssh/openssh/arguments.ts';
import type { OpensshOptions } from '../../src/ssh/openssh/options.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import type { LoopbackSshd } from './loopback-sshd.ts';
import { authenticationSettings, hostKeySettings, testSettings } from './settings.ts';

export interface Changes {
  readonly settings?: Partial<SshSettings>;
  readonly hostKeys?: Partial<SshSettings['hostKeys']>;
  readonly given?: Partial<GivenOptions>;
  readonly observer?: Observer;
  readonly signal?: AbortSignal;
  readonly replicas?: ReplicaKeys;
}

/** Settings for the host `127.0.0.1`, without prompts. */
export function loopbackSettings(port: number, user: string, knownHosts: string): SshSettings {
  return testSettings({
    hostName: '127.0.0.1',
    port,
    user,
    hostKeys: hostKeySettings({ userFiles: [knownHosts] }),
    authentication: authenticationSettings([], {
      identitiesOnly: true,
      methods: ['publickey'],
      numberOfPasswordPrompts: 1,
      batch: true,
    }),
    connectTimeout: 10,
  });
}

export async function opensshOptions(
  sshd: LoopbackSshd,
  changes: Changes = {},
): Promise<OpensshOptions> {
  const knownHosts = join(sshd.directory, 'known_hosts');
  await writeFile(knownHosts, await sshd.knownHostsLine());
  const settings = loopbackSettings(sshd.port, sshd.user, knownHosts);
  return {
    settings: {
      ...settings,
      ...changes.settings,
      hostKeys: { ...settings.hostKeys, ...changes.hostKeys },
    },
    given: {
      command: undefined,
      configFile: 'none',
      options: ['IdentitiesOnly=yes', 'IdentityAgent=none'],
      jump: undefined,
      identityFiles: [sshd.userKey],
      ...changes.given,
    },
    observer: changes.observer ?? silentObserver,
    ...(changes.signal && { signal: changes.signal }),
    ...(changes.replicas && { replicas: changes.replicas }),
  };
}
