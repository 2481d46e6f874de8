/**
 * Dials with the embedded transport as session/connect.ts does: for tests against real sshds on the
 * loopback device.
 */
import { type Observer, silentObserver } from '../../src/observe/observer.ts';
import { resolveJumpHosts } from '../../src/ssh/dial/addresses.ts';
import { Authenticator } from '../../src/ssh/embedded/auth/authenticator.ts';
import type { Access } from '../../src/ssh/embedded/handshake/attempt.ts';
import type { HopChain } from '../../src/ssh/embedded/handshake/chain.ts';
import { dialSsh2 } from '../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../src/ssh/hostkeys/verifier.ts';
import { nobody } from '../../src/ssh/prompter.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import type { LoopbackSshd } from './loopback-sshd.ts';
import {
  authenticationSettings,
  pinned,
  type SettingsOverrides,
  testSettings,
} from './settings.ts';

/** Keeps the log lines. */
export class LogLines implements Observer {
  readonly lines: string[] = [];
  readonly counted: string[] = [];
  log(level: string, message: string, fields: { readonly hint?: unknown } = {}): void {
    this.lines.push(
      `${level}: ${message}${fields.hint === undefined ? '' : ` (${String(fields.hint)})`}`,
    );
  }
  count(name: string): void {
    this.counted.push(name);
  }
}

export interface EmbeddedOptions {
  readonly access: (hop: SshSettings) => Promise<Access>;
  readonly observer?: Observer;
  readonly signal?: AbortSignal;
}

export async function dialEmbedded(
  settings: readonly SshSettings[],
  { access, observer = silentObserver, signal }: EmbeddedOptions,
): Promise<HopChain> {
  const options = { observer, ...(signal === undefined ? {} : { signal }) };
  return dialSsh2({
    ...options,
    jumpHosts: await resolveJumpHosts(settings, options),
    access,
  });
}

/** How to reach `server`; messages call it `name`. */
export function settingsFor(
  server: LoopbackSshd,
  name: string,
  overrides: Partial<SettingsOverrides> = {},
): SshSettings {
  return testSettings({
    name,
    hostName: '127.0.0.1',
    port: server.port,
    user: server.user,
    ...overrides,
  });
}

/** The right key for `server`, and its host key, or that of `shown`. */
export async function accessTo(
  server: LoopbackSshd,
  shown: LoopbackSshd = server,
): Promise<Access> {
  const line = await shown.knownHostsLine();
  return accessWith(line.slice(line.indexOf(' ')), server.userKey);
}

/** `hostKey`: as --host-key takes it; `file`: as -i does. */
export async function accessWith(hostKey: string, file: string): Promise<Access> {
  return {
    hostKeys: createHostKeyVerifier(pinned(hostKey), {
      prompter: undefined,
      observer: silentObserver,
    }),
    authenticator: await Authenticator.load({
      settings: authenticationSettings([file], { batch: true }),
      prompter: nobody('nothing is to be asked'),
      observer: silentObserver,
    }),
  };
}
