/**
 * Interprets the lines that ssh writes to its log at LogLevel DEBUG1. The log is our own FIFO (-E).
 * The server's banner and the output of a ProxyCommand go to stderr, not to this log. The wordings
 * are those of OpenSSH 7.6 to 10.
 *
 * Which open failed, and why: at this level ssh writes two consecutive lines for each failed open,
 *
 *   channel 3: open failed: connect failed: Connection refused
 *   debug1: channel 3: free: direct-tcpip: listening port -2 for 10.1.2.3 port 443, connect ...
 *
 * and closes the flow's socket only after that. The second line names the destination as it was
 * requested, so we can match the reason to it even while other channels are opening. Only two opens
 * of the same destination may swap their reasons. At LogLevel INFO ssh writes only the first line,
 * and we can't know the channel's number.
 *
 * `listener` is the channel of our own listening socket. When ssh ends, it frees channels in the
 * order of their numbers, the listener before any flow. So if a flow's socket closes before the
 * listener's line appears, the far side closed it.
 *
 * ssh copies text from the server into its log, including line ends. So whoever answers can forge
 * lines, even before ssh has seen a host key. This gives it no new power: it can already refuse
 * flows and end the link. But we never trust a server because of a log line alone: the link is up
 * only when ssh listens (dial.ts). The amount that is kept is bounded.
 *
 * Under a custom command the guard writes lines as well: ssh's process, and how many bytes it has
 * read. Forged ones show, at worst, the forger's own link as alive.
 */
import { MAX_CHANNELS } from '../limits.ts';

export type Phase = 'identification' | 'key exchange' | 'authentication' | 'up';

export interface LogEvents {
  /**
   * The server refused a channel to `host` and `port`, given as they were sent. The form of `text`
   * is `REASON: WORDS`.
   */
  refused(host: string, port: number, text: string): void;
}

/** ssh's own listeners are channels too, so there may be a few more channels than flows. */
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

/** Of ssh itself, by a guard. */
interface Told {
  readonly pid: number;
  readonly bytesRead: number;
}

/** Written by native/guard.c, not by ssh. */
const GUARD = /^tunnel-guard: ssh (\d{1,10}) has read (\d{1,15})$/;

const OTHER_LINE_ENDS = /[\r\u2028\u2029]/g;

/** After one of these lines, ssh may ask the user something, and logs nothing while it waits. */
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
  /** The server has not yet judged a signature by `#acceptedKey`. */
  #unsigned = false;
  #method: string | undefined;
  readonly #refused = new Set<string>();
  readonly #refusedSignatures = new Set<string>();
  #inPart = false;
  #listenerNext = false;
  #listener: string | undefined;
  #ending = false;
  #phase: Phase = 'identification';
  #accepted = false;
  #hostKey: string | undefined;
  #certified = false;
  #greeting: string | undefined;
  #question = false;
  #serverSoftware: string | undefined;
  #told: Told | undefined;

  constructor(events: LogEvents) {
    this.#events = events;
  }

  /** Handles one line, given without its line end. */
  line(raw: string): void {
    // Within a server's words. The patterns' "." would not match them.
    const text = raw.replace(OTHER_LINE_ENDS, ' ');
    const [, pid, bytes] = GUARD.exec(text) ?? [];
    if (bytes !== undefined) {
      this.#told = { pid: Number(pid), bytesRead: Number(bytes) };
      return;
    }
    this.#hostKeyLine(text);
    if (this.#phase === 'up') this.#channelLine(text);
    else this.#startLine(text);
    if (!text.startsWith('debug') && !text.startsWith('channel ')) {
      this.#kept.push(text.trimEnd());
      if (this.#kept.length > MAX_KEPT_LINES) this.#kept.shift();
    }
  }

  /** Something else than ssh has connected for it (native/dial.c). */
  connected(): void {
    this.#accepted = true;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * How many channels ssh has for flows. This includes channels that are still opening, and those
   * that nobody waits for any more.
   */
  get channels(): number {
    return this.#channels.size;
  }

  /** ssh has begun to end. */
  get ending(): boolean {
    return this.#ending;
  }

  /** The last lines, without debug lines. */
  get kept(): readonly string[] {
    return this.#kept;
  }

  /** `ssh-ed25519 SHA256:...`: the last one that the server has presented. */
  get hostKey(): string | undefined {
    return this.#hostKey;
  }

  /** The host key came in a certificate, and ssh may know the authority that signed it. */
  get hostKeyCertified(): boolean {
    return this.#certified;
  }

  /**
   * The server's machine has accepted the connection, as far as ssh knows. ssh can't see what a
   * ProxyCommand does.
   */
  get accepted(): boolean {
    return this.#accepted || this.#phase !== 'identification';
  }

  /** The first line from the port that isn't an SSH identification. */
  get greeting(): string | undefined {
    return this.#greeting;
  }

  /**
   * The certificates that ssh has offered, as it names them: paths of private keys or certificates.
   */
  get certificates(): readonly string[] {
    return [...this.#certificates];
  }

  /**
   * The keys that ssh has offered, as `PATH TYPE FINGERPRINT`. For keys of the agent, a comment
   * takes the place of the path.
   */
  get offered(): readonly string[] {
    return [...this.#offered];
  }

  /** The one of `offered` that the server would accept. ssh must still be able to use it. */
  get acceptedKey(): string | undefined {
    return this.#acceptedKey;
  }

  /** `acceptedKey`, if ssh has sent no signature by it. */
  get unusedKey(): string | undefined {
    return this.#unsigned ? this.#acceptedKey : undefined;
  }

  /** The methods that the server has refused since it last accepted a part of the login. */
  get refused(): readonly string[] {
    return [...this.#refused];
  }

  /** The keys that the server accepted when they were offered, and refused when ssh signed. */
  get refusedSignatures(): readonly string[] {
    return [...this.#refusedSignatures];
  }

  /** ssh may be waiting for an answer from the user. */
  get mayAsk(): boolean {
    return this.#question;
  }

  /** What the server calls its software, with a version: `OpenSSH_9.2p1 Debian-2`. */
  get serverSoftware(): string | undefined {
    return this.#serverSoftware;
  }

  /** What a guard has told last: only under a custom command. */
  get told(): Told | undefined {
    return this.#told;
  }

  #startLine(text: string): void {
    this.#question = QUESTION.test(text);
    this.#accepted ||= text === 'debug1: Connection established.';
    for (const [pattern, phase] of PHASES) if (pattern.test(text)) this.#phase = phase;
    this.#serverSoftware ??=
      /^debug1: Remote protocol version \S+, remote software version (.+)$/.exec(text)?.[1];
    this.#greeting ??=
      /^debug1: (?:kex_exchange_identification|ssh_exchange_identification): (?:banner line \d+: )?(.+)$/.exec(
        text,
      )?.[1];
    this.#loginLine(text);
  }

  #loginLine(text: string): void {
    this.#verdictLine(text);
    const [, step, key] =
      /^debug1: (Offering public key|Server accepts key): (.+ \S+ SHA256:[^ ]+)/.exec(text) ?? [];
    if (key !== undefined) this.#unsigned = step === 'Server accepts key';
    if (step === 'Server accepts key') this.#acceptedKey = key;
    else if (key !== undefined && this.#offered.size < MAX_KEPT_LINES) {
      this.#acceptedKey = undefined;
      this.#offered.add(key);
    }
    const certificate = /^debug1: Offering public key: (.+) \S+-CERT SHA256:/.exec(text)?.[1];
    if (certificate !== undefined && this.#certificates.size < MAX_KEPT_LINES)
      this.#certificates.add(certificate);
  }

  /**
   * Each failure message of the server (RFC 4252 §5.1) makes ssh log what it may go on with. The
   * first one answers the question what there is; the others refuse what was sent, except those
   * that follow a partial success. What ssh can't send, as with a locked key, has no such line.
   */
  #verdictLine(text: string): void {
    if (/^Authenticated (?:using "[^"]*" )?with partial success\./.test(text)) this.#inPart = true;
    this.#method = /^debug1: Next authentication method: (\S+)/.exec(text)?.[1] ?? this.#method;
    if (!text.startsWith('debug1: Authentications that can continue:')) return;
    if (this.#inPart) {
      this.#refused.clear();
    } else if (this.#method !== undefined && this.#refused.size < MAX_KEPT_LINES) {
      this.#refused.add(this.#method);
      if (this.#unsigned && this.#acceptedKey !== undefined) {
        this.#refusedSignatures.add(this.#acceptedKey);
        this.#acceptedKey = undefined;
      }
    }
    this.#inPart = false;
    this.#unsigned = false;
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
