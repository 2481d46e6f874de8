/**
 * The settings of ssh_config that forbid something, and that the embedded client can't obey. With
 * one of them `auto` chooses the system's ssh, and without ssh, or with --transport ssh2, the run
 * is refused (docs/decisions/0038). All the others are obeyed (values.ts), or forbid nothing a
 * tunnel would do (INERT_KEYWORDS).
 */
import { isIP } from 'node:net';
import type { SshSettings, UnobeyedSetting } from '../settings.ts';
import type { Written } from './evaluate.ts';
import type { Keywords } from './values.ts';

export interface UnobeyedContext {
  readonly keywords: Keywords;
  /** By keyword: where the user has set it. */
  readonly written: ReadonlyMap<string, Written>;
  readonly proxy: SshSettings['proxy'];
  readonly hostName: string;
  /** --host-key applies to this host: only @revoked lines count besides it. */
  readonly pinned: boolean;
}

interface Rule {
  readonly keyword: string;
  readonly name: string;
  readonly why: string;
  readonly without: string;
  readonly applies: (value: string, context: UnobeyedContext) => boolean;
}

const OFF = /^(no|false)$/i;

const RULES: readonly Rule[] = [
  {
    keyword: 'verifyhostkeydns',
    name: 'VerifyHostKeyDNS',
    why: "can't look up SSHFP records, which may speak against a key",
    without: 'VerifyHostKeyDNS no',
    applies: (value, { pinned }) => !OFF.test(value) && !pinned,
  },
  {
    keyword: 'checkhostip',
    name: 'CheckHostIP',
    why: 'looks up host keys by name only',
    without: 'CheckHostIP no',
    // Up to OpenSSH 8.4 it was on by default. As in ssh, only an address that was connected to
    // counts.
    applies: (value, { written, proxy, hostName, pinned }) =>
      written.has('checkhostip') &&
      !OFF.test(value) &&
      proxy.kind === 'direct' &&
      isIP(hostName) === 0 &&
      !pinned,
  },
  {
    keyword: 'bindinterface',
    name: 'BindInterface',
    why: "can't bind its connection to an interface",
    without: 'BindAddress in its place',
    applies: (_, { proxy }) => proxy.kind !== 'jump',
  },
];

export function unobeyed(context: UnobeyedContext): UnobeyedSetting[] {
  return RULES.flatMap(({ keyword, name, why, without, applies }) => {
    const value = context.keywords.all(keyword)[0];
    if (value === undefined || !applies(value, context)) return [];
    const written = context.written.get(keyword);
    const shown = value === 'true' ? 'yes' : value;
    return [{ setting: `${name} ${shown}`, place: written?.place, why, without }];
  });
}
