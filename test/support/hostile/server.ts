/**
 * A server on top of HostilePeer that behaves: it answers global requests and echoes what comes on
 * channels. Channels to FAULT_HOST are left to the row that is tried.
 *
 *   serve(peer, {fault}) -> CHANNEL_OPEN to FAULT_HOST -> fault(channel)
 *                        -> any other                  -> confirmed, echoes
 */
import type { HostilePeer } from './peer.ts';
import { PeerGone } from './peer.ts';
import { byte, Fields, MESSAGE, message, string, uint32 } from './wire.ts';

export const FAULT_HOST = 'fault.test';
export const ECHO_HOST = 'echo.test';
const WINDOW = 1024 * 1024;
const MAX_PACKET = 32 * 1024;
/** Half of it may be used up before it is granted again. */
const GRANT_AT = WINDOW / 2;

export interface Confirmation {
  /** The server's number. */
  readonly own?: number;
  readonly window?: number;
  readonly maxPacket?: number;
}

/** A channel that the client has asked for. */
export class ServedChannel {
  readonly peer: HostilePeer;
  readonly host: string;
  /** The client's number, which the server's messages carry. */
  readonly client: number;
  /** What the client admits at first, and in one packet. */
  readonly window: number;
  readonly maxPacket: number;
  /** What the server may still send. */
  left: number;
  /** What the client has sent, in bytes. */
  received = 0;
  readonly eofReceived: Promise<void>;
  readonly closeReceived: Promise<void>;
  own = 0;
  echoes = false;
  #closeSent = false;
  #held: Buffer[] = [];
  #ungranted = 0;
  #onEof: () => void = () => {};
  #onClose: () => void = () => {};

  constructor(peer: HostilePeer, open: Buffer, own: number) {
    const fields = new Fields(open);
    fields.string();
    this.peer = peer;
    this.client = fields.uint32();
    this.window = fields.uint32();
    this.maxPacket = fields.uint32();
    this.host = fields.text();
    this.left = this.window;
    this.own = own;
    this.eofReceived = new Promise((resolve) => {
      this.#onEof = resolve;
    });
    this.closeReceived = new Promise((resolve) => {
      this.#onClose = resolve;
    });
  }

  confirm({ own = this.own, window = WINDOW, maxPacket = MAX_PACKET }: Confirmation = {}): void {
    this.own = own;
    this.peer.send(
      message(
        MESSAGE.channelConfirmation,
        uint32(this.client),
        uint32(own),
        uint32(window),
        uint32(maxPacket),
      ),
    );
  }

  fail(reason: number, text: string | Buffer): void {
    this.peer.send(openFailure(this.client, reason, text));
  }

  data(data: string | Uint8Array): void {
    this.peer.send(channelData(this.client, data));
  }

  eof(): void {
    this.peer.send(message(MESSAGE.channelEof, uint32(this.client)));
  }

  close(): void {
    if (this.#closeSent) return;
    this.#closeSent = true;
    this.peer.send(message(MESSAGE.channelClose, uint32(this.client)));
  }

  grant(bytes: number): void {
    this.peer.send(windowAdjust(this.client, bytes));
  }

  /** The client has sent this about the channel. */
  take(payload: Buffer): void {
    const fields = new Fields(payload, 5);
    switch (payload[0]) {
      case MESSAGE.windowAdjust:
        this.left += fields.uint32();
        this.#echo();
        break;
      case MESSAGE.channelData: {
        const data = Buffer.from(fields.string());
        this.received += data.length;
        if (!this.echoes) break;
        this.#ungranted += data.length;
        if (this.#ungranted >= GRANT_AT) this.grant(this.#ungranted);
        if (this.#ungranted >= GRANT_AT) this.#ungranted = 0;
        this.#held.push(data);
        this.#echo();
        break;
      }
      case MESSAGE.channelEof:
        if (this.echoes) this.eof();
        this.#onEof();
        break;
      case MESSAGE.channelClose:
        if (this.echoes) this.close();
        this.#onClose();
        break;
    }
  }

  #echo(): void {
    for (let data = this.#held[0]; data !== undefined && this.left > 0; data = this.#held[0]) {
      const now = data.subarray(0, Math.min(this.left, this.maxPacket));
      this.left -= now.length;
      this.data(now);
      if (now.length === data.length) this.#held.shift();
      else this.#held[0] = data.subarray(now.length);
    }
  }
}

export function channelData(client: number, data: string | Uint8Array): Buffer {
  return message(MESSAGE.channelData, uint32(client), string(data));
}

export function windowAdjust(client: number, bytes: number): Buffer {
  return message(MESSAGE.windowAdjust, uint32(client), uint32(bytes));
}

export function openFailure(client: number, reason: number, text: string | Buffer): Buffer {
  return message(
    MESSAGE.channelFailureToOpen,
    uint32(client),
    uint32(reason),
    string(text),
    string(''),
  );
}

export function globalRequest(name: string, wantReply: boolean, ...data: Buffer[]): Buffer {
  return message(MESSAGE.globalRequest, string(name), byte(wantReply), ...data);
}

export interface Serving {
  /** A channel to FAULT_HOST. Its messages are in `channel`. */
  readonly fault?: (channel: ServedChannel) => void | Promise<void>;
  /** How global requests are answered. Default: with failure, when a reply is wanted. */
  readonly onRequest?: (request: Buffer) => void;
  /** The client's own key exchanges get no answer. */
  readonly ignoresKexInit?: boolean;
  /** Gets every message that the client sends. */
  readonly onMessage?: (payload: Buffer) => void;
}

/** Serves until the client has gone. */
export async function serve(peer: HostilePeer, serving: Serving = {}): Promise<void> {
  const channels = new Map<number, ServedChannel>();
  let next = 0;
  const answer = (request: Buffer): void => {
    const fields = new Fields(request);
    fields.string();
    if (fields.byte() === 1) peer.send(message(MESSAGE.requestFailure));
  };
  const handle = (payload: Buffer): void => {
    serving.onMessage?.(payload);
    if (payload[0] === MESSAGE.globalRequest) (serving.onRequest ?? answer)(payload);
    else if (payload[0] === MESSAGE.channelOpen) {
      const channel = new ServedChannel(peer, payload, next++);
      channels.set(channel.own, channel);
      if (channel.host === FAULT_HOST && serving.fault !== undefined) {
        const numbered = channel.own;
        void (async () => {
          await serving.fault?.(channel);
          // The row may have numbered it otherwise.
          if (channel.own !== numbered) channels.set(channel.own, channel);
        })().catch(ignoreGone);
        if (channel.own !== numbered) channels.set(channel.own, channel);
      } else {
        channel.echoes = true;
        channel.confirm();
      }
    } else if ((payload[0] ?? 0) > MESSAGE.channelOpen && payload.length >= 5)
      channels.get(payload.readUInt32BE(1))?.take(payload);
  };
  peer.passedOver = handle;
  for (;;) {
    const payload = await peer.next();
    if (payload === undefined) return;
    if (payload[0] !== MESSAGE.kexInit) handle(payload);
    else if (!serving.ignoresKexInit) await peer.exchange({}, payload);
  }
}

/** For a row that goes on when the client has already closed the connection. */
export function ignoreGone(error: unknown): void {
  if (!(error instanceof PeerGone)) throw error;
}
