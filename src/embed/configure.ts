/**
 * Turns the options of `openTunnel()` into those of a command line. Each is read by the same reader
 * as there, so that a value means the same, and a wrong one is told in the same words.
 */
import { ALLOW_OPTIONS } from '../config/allowfile.ts';
import type { Configuration } from '../config/configuration.ts';
import type { Option } from '../config/option.ts';
import { buildConfiguration } from '../config/options.ts';
import { CONNECTION_OPTIONS, JUMP_HOST_OPTIONS, LINK_OPTIONS } from '../config/sshoptions.ts';
import { UsageError } from '../errors/errors.ts';
import type { OpenTunnelOptions } from './options.ts';

/** By the names of OpenTunnelOptions. */
const OPTIONS = {
  remote: JUMP_HOST_OPTIONS.options.remote,
  port: JUMP_HOST_OPTIONS.options.port,
  identity: JUMP_HOST_OPTIONS.options.identity,
  jump: JUMP_HOST_OPTIONS.options.jump,
  config: JUMP_HOST_OPTIONS.options.sshConfig,
  sshOptions: JUMP_HOST_OPTIONS.options.sshOption,
  hostKey: CONNECTION_OPTIONS.options.hostKey,
  transport: CONNECTION_OPTIONS.options.transport,
  oneKey: CONNECTION_OPTIONS.options.oneKey,
  connectTimeout: CONNECTION_OPTIONS.options.connectTimeout,
  authTimeout: CONNECTION_OPTIONS.options.authTimeout,
  keepalive: CONNECTION_OPTIONS.options.keepalive,
  reconnectHold: LINK_OPTIONS.options.reconnectHold,
  waitAuth: LINK_OPTIONS.options.waitAuth,
  onDemand: LINK_OPTIONS.options.onDemand,
  idleDisconnect: LINK_OPTIONS.options.idleDisconnect,
  maxWindow: LINK_OPTIONS.options.maxWindow,
  windowBudget: LINK_OPTIONS.options.windowBudget,
  allow: ALLOW_OPTIONS.options.allowRule,
  allowFile: ALLOW_OPTIONS.options.allow,
} as const satisfies Partial<Record<keyof OpenTunnelOptions, Option>>;

/** These are no texts. What each must be, for programs whose types nobody has checked. */
const OTHERS: Readonly<Record<string, { readonly what: string; is(value: unknown): boolean }>> = {
  prompt: { what: 'a function', is: (value) => typeof value === 'function' },
  // Another realm, such as that of a test runner, has another class.
  signal: { what: 'an AbortSignal', is: (value) => typeof Object(value).aborted === 'boolean' },
  log: { what: 'a function', is: (value) => typeof value === 'function' },
};

/** Throws UsageError, which names the option. */
export function configurationOf(options: OpenTunnelOptions): Configuration {
  refuseUnknown(options);
  if (options.remote === undefined || options.remote.length === 0)
    throw new UsageError('remote: no jump host is given', {
      hint: "name it, as in: openTunnel({ remote: 'user@jumphost' })",
    });
  // A list without rules permits nothing, and no list everything.
  if (options.allow?.length === 0 && options.allowFile === undefined)
    throw new UsageError('allow: there is no rule, so nothing could be opened', {
      hint: 'leave it out to permit everything',
    });
  const given = Object.entries(OPTIONS).flatMap(([name, option]: [string, Option]) => {
    const texts = textsOf(name, option, options[name as keyof typeof OPTIONS]);
    const place = { kind: 'option', name } as const;
    return texts.length === 0 ? [] : [[option, texts.map((text) => ({ text, place }))] as const];
  });
  return buildConfiguration({ operands: [], options: new Map(given) }, 'library');
}

/** Whatever a program passes that TypeScript has not seen. Throws UsageError. */
function refuseUnknown(options: unknown): void {
  const names: readonly string[] = [...Object.keys(OPTIONS), ...Object.keys(OTHERS)];
  if (typeof options !== 'object' || options === null)
    throw new UsageError('openTunnel() takes an object of options', {
      hint: "as in: openTunnel({ remote: 'user@jumphost' })",
    });
  for (const [name, value] of Object.entries(options)) {
    if (!names.includes(name))
      throw new UsageError(`openTunnel() has no option ${JSON.stringify(name)}`, {
        hint: `its options are ${names.join(', ')}`,
      });
    if (value === null) throw wrongType(name, 'null means nothing');
    const other = OTHERS[name];
    if (other !== undefined && value !== undefined && !other.is(value))
      throw wrongType(name, `it must be ${other.what}`);
  }
}

function textsOf(name: string, { kind }: Option, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (kind === 'switch') {
    // "false" and 0 would switch it on, if any value did.
    if (typeof value !== 'boolean') throw wrongType(name, 'it must be true or false');
    return value ? [''] : [];
  }
  if (Array.isArray(value) && kind !== 'repeated')
    throw wrongType(name, 'it takes one value, and no list');
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.map((one) => {
    if (typeof one === 'string' || typeof one === 'number') return String(one);
    throw wrongType(name, 'a value is neither a text nor a number');
  });
}

function wrongType(name: string, what: string): UsageError {
  return new UsageError(`${name}: ${what}`, {
    hint: 'see OpenTunnelOptions; leave it out for the default',
  });
}
