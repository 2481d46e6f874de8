/**
 * Settings of the transports that don't use this machine's files or agent; tests add what they
 * need.
 */
import { TunnelError } from '../../src/errors/errors.ts';
import { parseHostKeyPin } from '../../src/ssh/keys/pin.ts';
import type { Prompter } from '../../src/ssh/prompter.ts';
import {
  type AuthenticationSettings,
  type ForwardSettings,
  type HostKeySettings,
  LEAST_RSA_BITS,
  type SshSettings,
} from '../../src/ssh/settings.ts';

export function hostKeySettings(settings: Partial<HostKeySettings> = {}): HostKeySettings {
  return {
    alias: undefined,
    userFiles: [],
    globalFiles: [],
    strict: 'yes',
    hashNames: false,
    pins: [],
    revokedFiles: [],
    command: undefined,
    leastRsaBits: LEAST_RSA_BITS,
    fixedOrder: false,
    ...settings,
  };
}

/** `keys`: as --host-key takes them. */
export function pinned(...keys: string[]): HostKeySettings {
  return hostKeySettings({ pins: keys.map(parseHostKeyPin) });
}

/** `files`: as -i takes them. */
export function authenticationSettings(
  files: readonly string[] = [],
  settings: Partial<AuthenticationSettings> = {},
): AuthenticationSettings {
  return {
    identityFiles: files.map((path) => ({ path, explicit: true })),
    certificateFiles: [],
    identitiesOnly: false,
    agentSocket: undefined,
    methods: ['publickey', 'keyboard-interactive', 'password'],
    numberOfPasswordPrompts: 3,
    batch: false,
    acceptedAlgorithms: undefined,
    leastRsaBits: LEAST_RSA_BITS,
    ...settings,
  };
}

function forwardSettings(settings: Partial<ForwardSettings> = {}): ForwardSettings {
  return {
    local: [],
    dynamic: [],
    unfit: [],
    cleared: false,
    gatewayPorts: false,
    exitOnFailure: false,
    socketMask: 0o177,
    unlinksSockets: false,
    ...settings,
  };
}

export type SettingsOverrides = Partial<SshSettings> & Pick<SshSettings, 'hostName' | 'port'>;

/** The settings that ssh's defaults give for a host that is reached directly. */
export function testSettings(overrides: SettingsOverrides): SshSettings {
  return {
    name: overrides.hostName,
    user: 'nobody',
    addressFamily: 'any',
    bindAddress: undefined,
    proxy: { kind: 'direct' },
    hostKeys: hostKeySettings(),
    authentication: authenticationSettings([], { identitiesOnly: true, methods: ['publickey'] }),
    algorithms: { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined },
    connectTimeout: 5,
    authTimeout: 10,
    keepalive: { interval: 15, count: 3 },
    rekey: { bytes: undefined, seconds: undefined },
    flush: true,
    forwards: forwardSettings(),
    onlyOpenssh: [],
    unobeyed: [],
    ...overrides,
  };
}

type Answer = string | boolean | Error;

/**
 * Gives the answers in turn and records the questions; when it has no more answers it fails as
 * without a terminal.
 */
export class Answers implements Prompter {
  /** Each begins with `secret`, `line` or `confirm`. */
  readonly asked: string[] = [];
  readonly preambles: string[][] = [];
  readonly #answers: Answer[];

  constructor(...answers: Answer[]) {
    this.#answers = answers;
  }

  readonly canAsk = (): boolean => this.#answers.length > 0;

  readonly secret: Prompter['secret'] = async (question, options) =>
    String(this.#next('secret', question, options?.preamble));

  readonly line: Prompter['line'] = async (question, options) =>
    String(this.#next('line', question, options?.preamble));

  readonly confirm: Prompter['confirm'] = async (question, options) => {
    const answer = this.#next('confirm', question, options?.preamble);
    return answer === true || answer === options?.alternative?.text;
  };

  #next(kind: string, question: string, preamble: readonly string[] = []): Answer {
    this.asked.push(`${kind}: ${question}`);
    this.preambles.push([...preamble]);
    const answer = this.#answers.shift() ?? new TunnelError('no-terminal', 'nobody is there');
    if (answer instanceof Error) throw answer;
    return answer;
  }
}
