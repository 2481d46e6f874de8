/**
 * What ssh writes to its log at LogLevel DEBUG1, read for what it means. The log is a FIFO of our
 * own (-E), so that neither the server's banner nor what a ProxyCommand says is in it; those go to
 * stderr. Wordings as in OpenSSH 7.6 to 10.
 *
 * Which open has failed for which reason: at this level ssh says of each failed open, directly
 * behind each other,
 *
 *   channel 3: open failed: connect failed: Connection refused
 *   debug1: channel 3: free: direct-tcpip: listening port -2 for 10.1.2.3 port 443, connect ...
 *
 * and only then closes the flow's socket. The second line names the destination as it was asked
 * for, so the reason is known for it whatever else is opened at the same time. Two opens of one
 * destination may swap their reasons, no others. At LogLevel INFO there is only the first line, and
 * a channel's number can't be told from the outside.
 *
 * `listener` is the channel of our own listening socket. ssh frees channels in the order of their
 * numbers when it ends, the listener before any flow: so a flow's socket that closes before the
 * listener's line is there has been closed by the far side.
 *
 * ssh copies the server's words with line ends in them. Whoever answers can thereby forge lines,
 * also before ssh has seen its host key; what it gains is what it has anyway, refusing flows and
 * ending the link. So nothing is believed of a server for a line of the log alone: the link is up
 * when ssh listens (dial.ts). What is kept is bounded.
 */
import { MAX_CHANNELS } from '../limits.ts';

export type Phase = 'identification' | 'key exchange' | 'authentication' | 'up';

export interface LogEvents {
  /**
   * ssh was refused a channel to `host` and `port`, which are as they were sent. `text` is `REASON:
   * WORDS`.
   */
  refused(host: string, port: number, text: string): void;
}

/** Channels are also ssh's own listeners, so there may be a few more than flows. */
const MAX_TRACKED = MAX_CHANNELS + 64;
const MAX_KEPT_LINES = 60;

const PHASES: readonly (readonly [RegExp, Phase])[] = [
  [/^debug1: Remote protocol version/, 'key exchange'],
  [
    /^debug1: (SSH2_MSG_SERVICE_ACCEPT received|Authentications that can continue:)/,
    'authentication',
  ],
  [/^(debug1: )?(Authenticated to |Authentication succeeded)/, 'up'],
];

/** Behind these, ssh may ask somebody something, and says nothing while it waits. */
const QUESTION =
  /^debug1: (Server host key: |Server accepts key: |Next authentication method: (password|keyboard-interactive)|read_passphrase|Trying private key: )/;

export class SshLog {
  readonly #events: LogEvents;
  readonly #channels = new Set<string>();
  readonly #failed = new Map<string, string>();
  readonly #kept: string[] = [];
  readonly #certificates = new Set<string>();
  readonly #offered = new Set<string>();
  #acceptedKey: string | undefined;
  #listenerNext = false;
  #listener: string | undefined;
  #ending = false;
  #phase: Phase = 'identification';
  #accepted = false;
  #hostKey: string | undefined;
  #certified = false;
  #greeting: string | undefined;
  #question = false;

  constructor(events: LogEvents) {
    this.#events = events;
  }

  /** One line, without its end. */
  line(text: string): void {
    this.#hostKeyLine(text);
    if (this.#phase === 'up') this.#channelLine(text);
    else this.#startLine(text);
    if (!text.startsWith('debug') && !text.startsWith('channel ')) {
      this.#kept.push(text.trimEnd());
      if (this.#kept.length > MAX_KEPT_LINES) this.#kept.shift();
    }
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * Flows that ssh holds a channel for, also those that are being opened, or that nobody here waits
   * for any more.
   */
  get channels(): number {
    return this.#channels.size;
  }

  /** ssh has begun to end. */
  get ending(): boolean {
    return this.#ending;
  }

  /** The last lines that are not of the debugging kind. */
  get kept(): readonly string[] {
    return this.#kept;
  }

  /** `ssh-ed25519 SHA256:...`, as the server has shown it last. */
  get hostKey(): string | undefined {
    return this.#hostKey;
  }

  /** It stands in a certificate, which ssh looks for an authority for. */
  get hostKeyCertified(): boolean {
    return this.#certified;
  }

  /**
   * The server's machine has accepted the connection, as far as ssh knows: it doesn't know of what
   * a ProxyCommand does.
   */
  get accepted(): boolean {
    return this.#accepted || this.#phase !== 'identification';
  }

  /** The first line that the port sent that isn't SSH's identification. */
  get greeting(): string | undefined {
    return this.#greeting;
  }

  /**
   * What ssh calls the certificates that it has offered: paths of private keys or of certificates.
   */
  get certificates(): readonly string[] {
    return [...this.#certificates];
  }

  /**
   * The keys that ssh has offered, as `PATH TYPE FINGERPRINT` (of the agent's, a comment stands for
   * the path).
   */
  get offered(): readonly string[] {
    return [...this.#offered];
  }

  /** That of `offered` which the server would take; what is missing then is that ssh can use it. */
  get acceptedKey(): string | undefined {
    return this.#acceptedKey;
  }

  /** ssh may be waiting for an answer of the user's. */
  get mayAsk(): boolean {
    return this.#question;
  }

  #startLine(text: string): void {
    this.#question = QUESTION.test(text);
    this.#accepted ||= text === 'debug1: Connection established.';
    for (const [pattern, phase] of PHASES) if (pattern.test(text)) this.#phase = phase;
    this.#greeting ??=
      /^debug1: (?:kex_exchange_identification|ssh_exchange_identification): (?:banner line \d+: )?(.+)$/.exec(
        text,
      )?.[1];
    const [, step, key] =
      /^debug1: (Offering public key|Server accepts key): (.+ \S+ SHA256:[^ ]+)/.exec(text) ?? [];
    if (step === 'Server accepts key') this.#acceptedKey = key;
    else if (key !== undefined && this.#offered.size < MAX_KEPT_LINES) {
      this.#acceptedKey = undefined;
      this.#offered.add(key);
    }
    const certificate = /^debug1: Offering public key: (.+) \S+-CERT SHA256:/.exec(text)?.[1];
    if (certificate !== undefined && this.#certificates.size < MAX_KEPT_LINES)
      this.#certificates.add(certificate);
  }

  #hostKeyLine(text: string): void {
    const [, what, key] = /^debug1: Server host (key|certificate): (\S+ [^\s,]+)/.exec(text) ?? [];
    if (key !== undefined) {
      this.#hostKey = key;
      this.#certified = what === 'certificate';
    } else if (text.startsWith('debug1: No matching CA found.')) this.#certified = false;
  }

  #channelLine(text: string): void {
    if (text.startsWith('debug1: Local forwarding listening on path ')) {
      this.#listenerNext = true;
      return;
    }
    const match = /^(?:debug1: )?channel (\d+): (new|open failed:|free:) (.*)$/.exec(text);
    const [, channel = '', what, rest = ''] = match ?? [];
    if (what === 'new') this.#opened(channel, rest);
    else if (what === 'open failed:' && this.#channels.has(channel))
      this.#failed.set(channel, rest);
    else if (what === 'free:') this.#freed(channel, rest);
  }

  #opened(channel: string, rest: string): void {
    if (this.#listenerNext) {
      this.#listener = channel;
      this.#listenerNext = false;
    } else if (rest.includes('[dynamic-tcpip]') && this.#channels.size < MAX_TRACKED) {
      this.#channels.add(channel);
    }
  }

  #freed(channel: string, rest: string): void {
    if (channel === this.#listener) this.#ending = true;
    this.#channels.delete(channel);
    const reason = this.#failed.get(channel);
    this.#failed.delete(channel);
    const [, host, port] =
      /^direct-tcpip: listening port -?\d+ for (\S+) port (\d+), /.exec(rest) ?? [];
    if (reason !== undefined && host !== undefined)
      this.#events.refused(host, Number(port), reason);
  }
}
