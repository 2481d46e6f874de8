/**
 * The one place that knows what ssh2 keeps to itself. All of it was read in version 1.17.0, which package.json pins
 * exactly (docs/decisions/0005); `internals` and `channelInternals` check at run time that it is still there.
 */
import type { Client, ClientChannel } from 'ssh2';
import { TunnelError } from '../../errors.ts';

/** RFC 4254 §5.2; `eof` and `closing`: we have sent CHANNEL_EOF or CHANNEL_CLOSE. */
type HalfState = 'open' | 'eof' | 'closing' | 'closed';

interface Half {
  readonly id: number;
  window: number;
  state: HalfState;
}

/**
 * ssh2's Channel as its packet handlers see it. They hand incoming data to `push` (null: EOF when `incoming.state` is
 * `eof`, CLOSE when it is `closed`, also when the connection is gone) and hold the window back when it returns false,
 * until `_read` is called. What comes while `incoming.window` is exactly 0 they drop without a word, and let it go
 * below 0 otherwise. `_write` sends what the peer's window admits, keeps the rest, and calls back when all
 * is handed to the socket; on a channel that isn't open it never calls back.
 */
export interface SshChannel {
  push(chunk: Buffer | null): boolean;
  _read(size: number): void;
  _write(chunk: Buffer, encoding: string, callback: () => void): void;
  /** Sends CHANNEL_EOF once, if the channel is open. */
  eof(): void;
  /** Sends CHANNEL_CLOSE once, unless it has been sent. */
  close(): void;
  /** Gets CHANNEL_EXTENDED_DATA as `push` gets CHANNEL_DATA, out of the same window; null when the channel ends. */
  readonly stderr: { push(chunk: Buffer | null): boolean };
  readonly incoming: Half;
  readonly outgoing: Half;
}

export interface SshProtocol {
  /** Called for every packet while it is set. */
  _debug: ((message: string) => void) | undefined;
  readonly _handlers: {
    USERAUTH_FAILURE: (protocol: unknown, methods: string[], partialSuccess: boolean) => void;
  };
}

/** Valid after `client.connect()`. */
export function protocolOf(client: Client): SshProtocol {
  const { _protocol } = client as unknown as { _protocol?: SshProtocol };
  if (typeof _protocol?._handlers?.USERAUTH_FAILURE !== 'function') throw changed('Client');
  return _protocol;
}

export function channelOf(channel: ClientChannel): SshChannel {
  const internal = channel as unknown as SshChannel;
  const complete =
    typeof internal.eof === 'function' &&
    typeof internal._write === 'function' &&
    typeof internal._read === 'function' &&
    typeof internal.stderr?.push === 'function' &&
    internal.incoming?.state === 'open' &&
    internal.outgoing?.state === 'open';
  if (!complete) throw changed('Channel');
  return internal;
}

function changed(what: string): TunnelError {
  return new TunnelError(
    'ssh2-changed',
    `the ssh2 library's ${what} is not the one that this program was written for`,
    {
      hint: 'install the exact version that package.json names (npm ci)',
    },
  );
}
