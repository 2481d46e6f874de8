/**
 * What ssh has written to its log about the connection that it made (LogLevel DEBUG1, the wordings
 * of OpenSSH 7.6 to 10), for Established. Like the log itself it is only as true as ssh's peer
 * (log.ts), and nothing is decided by it.
 */
import type { Established, Login } from '../established.ts';
import { serverText } from '../servertext.ts';
import type { SshLog } from './log.ts';

/** What each line tells. The first group is kept. */
const PATTERNS = {
  software: /^debug1: Remote protocol version [\d.]+, remote software version (.+)$/,
  kex: /^debug1: kex: algorithm: (\S+)/,
  hostKey: /^debug1: kex: host key algorithm: (\S+)/,
  cipher: /^debug1: kex: server->client cipher: (\S+) MAC: \S+/,
  mac: /^debug1: kex: server->client cipher: \S+ MAC: (\S+)/,
  known: /^debug1: Found (?:key|CA key) in (.+:\d+)$/,
  permitted: /^debug1: Authentications that can continue: (\S+)/,
} as const;
type Subject = keyof typeof PATTERNS;

const METHOD = /^(?:debug1: )?Authenticated (?:to .* )?using "([^"]+)"/;
const PARTIAL = /^Authenticated using "([^"]+)" with partial success/;
/** What ssh gives each channel of a forward, in bytes (CHAN_TCP_WINDOW_DEFAULT of channels.h). */
const WINDOW = 2 * 1024 * 1024;
/** What ssh calls the MAC of a cipher that needs none. */
const NO_MAC = '<implicit>';

export class LogFacts {
  readonly #found = new Map<Subject, string>();
  readonly #methods: string[] = [];

  /** Handles one line of the log, until the connection is up. */
  line(text: string): void {
    for (const subject of Object.keys(PATTERNS) as Subject[]) {
      const found = PATTERNS[subject].exec(text)?.[1];
      if (found !== undefined && !this.#found.has(subject))
        this.#found.set(subject, serverText(found));
    }
    const method = PARTIAL.exec(text)?.[1] ?? METHOD.exec(text)?.[1];
    if (method !== undefined) this.#methods.push(serverText(method));
  }

  /** The connection is up. `version`: of ssh, `9.2`. */
  established(about: {
    readonly at: string;
    readonly user: string;
    readonly via: readonly string[];
    readonly version: string;
    /** --host-key was given. */
    readonly pinned: boolean;
    readonly log: Pick<SshLog, 'hostKey' | 'offered' | 'acceptedKey'>;
  }): Established {
    const { at, user, via, version, pinned, log } = about;
    const kex = this.#found.get('kex');
    const hostKey = this.#found.get('hostKey');
    const cipher = this.#found.get('cipher');
    const mac = this.#found.get('mac');
    const known = this.#found.get('known');
    return {
      at,
      via,
      client: `ssh (OpenSSH ${version})`,
      software: this.#found.get('software') ?? '',
      algorithms:
        kex === undefined || hostKey === undefined || cipher === undefined
          ? undefined
          : { kex, hostKey, cipher, mac: mac === NO_MAC ? undefined : mac },
      hostKey:
        log.hostKey === undefined
          ? undefined
          : {
              key: serverText(log.hostKey),
              why: pinned
                ? '--host-key pins it'
                : known === undefined
                  ? 'ssh accepts it'
                  : `${known} has it`,
            },
      login: this.#login(user, log),
      sendWindow: undefined,
      receiveWindow: WINDOW,
      answersRequests: undefined,
      forwarding: undefined,
    };
  }

  #login(user: string, { offered, acceptedKey }: Pick<SshLog, 'offered' | 'acceptedKey'>): Login {
    return {
      user,
      permitted: this.#found.get('permitted')?.split(',') ?? [],
      accepted: this.#methods.map((method) =>
        method === 'publickey' && acceptedKey !== undefined ? serverText(acceptedKey) : method,
      ),
      keysOffered: offered.length,
    };
  }
}
