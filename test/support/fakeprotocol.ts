/**
 * ssh2's packet protocol as the multiplexer sees it, without packets: records what is sent on each
 * of the server's channels, and checks it against RFC 4254. Tests call its handlers as ssh2's
 * parser would. Errors are recorded, not thrown: streams catch much of what is thrown in them.
 */
import { MAX_PACKET } from '../../src/ssh/embedded/channels/channel.ts';
import type { SshProtocol } from '../../src/ssh/embedded/ssh2/internals.ts';

/** What we have sent on one channel, as the server would count it. */
export interface Told {
  /** How many bytes of data the server still admits, and how many in one packet. */
  window: number;
  maxPacket: number;
  data: number;
  eof: boolean;
  closes: number;
  granted: number;
  failures: number;
}

const NOTHING: Told = {
  window: 0,
  maxPacket: 0,
  data: 0,
  eof: false,
  closes: 0,
  granted: 0,
  failures: 0,
};

type Handlers = Record<string, (protocol: unknown, ...fields: unknown[]) => void>;

export class FakeProtocol {
  readonly _handlers: Handlers = { USERAUTH_FAILURE() {} };
  _kexinit: unknown;
  /** Numbers of the CHANNEL_OPENs, with their windows. */
  readonly opens = new Map<number, number>();
  /** By the server's number. */
  readonly told = new Map<number, Told>();
  /** The server's CHANNEL_OPENs that were refused, and global requests. */
  readonly refused: number[] = [];
  globalFailures = 0;
  /** Puts a packet as long as a window adjustment into the outbox. */
  onAdjust: () => void = () => {};
  /** What we sent and should not have. */
  readonly wrong: string[] = [];

  directTcpip(channel: number, window: number, maxPacket: number): void {
    this.#check(!this.opens.has(channel), `channel ${channel} is in use`);
    this.#check(window > 0 && maxPacket > 0, 'opens a channel without a window');
    this.opens.set(channel, window);
  }

  /** The server's CONFIRMATION. */
  confirm(channel: number, remote: number, window: number, maxPacket: number): void {
    if (this.opens.has(channel) && !this.told.has(remote))
      this.told.set(remote, {
        ...NOTHING,
        window,
        maxPacket,
        granted: this.opens.get(channel) ?? 0,
      });
    this.say('CHANNEL_OPEN_CONFIRMATION', {
      recipient: channel,
      sender: remote,
      window,
      packetSize: maxPacket,
      data: undefined,
    });
  }

  /** A message from the server; data in packets of the size that was agreed. */
  say(message: string, ...fields: unknown[]): void {
    const [id, data, ...rest] = fields;
    const large = Buffer.isBuffer(data) && data.length > MAX_PACKET && /DATA$/.test(message);
    if (!large) {
      this._handlers[message]?.(this, ...fields);
      return;
    }
    for (let at = 0; at < data.length; at += MAX_PACKET)
      this._handlers[message]?.(this, id, data.subarray(at, at + MAX_PACKET), ...rest);
  }

  channelData(remote: number, data: Buffer): void {
    const told = this.#open(remote);
    this.#check(!told.eof, 'data after EOF');
    this.#check(this._kexinit === undefined, 'data while keys are exchanged');
    this.#check(
      data.length > 0 && data.length <= told.maxPacket,
      `${data.length} bytes in a packet`,
    );
    this.#check(data.length <= told.window, 'data beyond the window');
    told.window -= data.length;
    told.data += data.length;
  }

  channelWindowAdjust(remote: number, bytes: number): void {
    this.#check(bytes > 0, 'an adjustment by nothing');
    this.#open(remote).granted += bytes;
    this.onAdjust();
  }

  channelEOF(remote: number): void {
    const told = this.#open(remote);
    this.#check(!told.eof, 'EOF twice');
    told.eof = true;
  }

  channelClose(remote: number): void {
    this.#open(remote).closes++;
  }

  channelFailure(remote: number): void {
    this.#open(remote).failures++;
  }

  channelOpenFail(remote: number): void {
    this.refused.push(remote);
  }

  requestFailure(): void {
    this.globalFailures++;
  }

  /** Nothing may be sent on a channel that was never opened or after our CLOSE. */
  #open(remote: number): Told {
    const told = this.told.get(remote);
    this.#check(told !== undefined, `channel ${remote} was never confirmed`);
    this.#check(told?.closes === 0, 'something is sent after CLOSE');
    return told ?? { ...NOTHING };
  }

  #check(condition: boolean, wrong: string): void {
    if (!condition) this.wrong.push(wrong);
  }

  get protocol(): SshProtocol {
    return this as unknown as SshProtocol;
  }
}
