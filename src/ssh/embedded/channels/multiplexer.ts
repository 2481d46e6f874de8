/**
 * The connection protocol (RFC 4254 §5) over ssh2's packets: opens channels, and passes each
 * message to its channel.
 *
 *   open() -> CHANNEL_OPEN direct-tcpip -> opening -- CONFIRMATION --> open: a Channel
 *                                             `------ FAILURE -------> gone: the callback gets
 *                                                                      the reason
 *   open   -> CLOSE sent and received -> gone
 *
 *   sending    channel -> Scheduler (whose turn it is) -> one packet -> Outbox -> socket
 *   receiving  Inbox -> ssh2 -> CHANNEL_DATA -> channel, as a view of the inbox's memory
 *
 * A channel's number is in use from its CHANNEL_OPEN until the server has sent FAILURE or CLOSE:
 * for that time it takes a slot there. Nothing is sent on a channel after its CLOSE, because sshd
 * would end the connection. Messages that a server must not send (data before the confirmation or
 * after EOF, messages for channels that don't exist, channels of its own) are counted, and answered
 * where RFC 4254 has an answer. If it sends more data than the window admits, the channel ends.
 *
 * Data are sent only while the outbox takes them and no keys are being exchanged, so nothing queues
 * up in either. Control messages are never delayed. They are few: each belongs to one message of
 * the server or one action of a channel.
 */
import type { Observer } from '../../../observe/observer.ts';
import { isExchangingKeys, type SshProtocol, sendChannelData } from '../ssh2/internals.ts';
import { Channel, type ChannelOwner, MAX_PACKET } from './channel.ts';
import type { Inbox } from './inbox.ts';
import type { Outbox } from './outbox.ts';
import type { ReceiveWindow, ReceiveWindows } from './receivewindow.ts';
import { Scheduler } from './scheduler.ts';

/**
 * When this much has been granted in one turn, it is sent at once. A turn may read as much as a
 * whole window. A server that has used up its window and gets all of it back at the end of the turn
 * would work only while we don't: with Twisted Conch downloads were a third slower.
 */
export const EARLY_GRANT_BYTES = 512 * 1024;
/** RFC 4254 §5.1 */
const ADMINISTRATIVELY_PROHIBITED = 1;

export interface Addresses {
  readonly srcIP: string;
  readonly srcPort: number;
  readonly dstIP: string;
  readonly dstPort: number;
}

/** SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4254 §5.1), as the server words it. */
export interface OpenFailure {
  readonly reason: number;
  readonly text: string;
}

type OpenCallback = (result: Channel | OpenFailure) => void;

interface Opening {
  readonly window: ReceiveWindow;
  readonly callback: OpenCallback;
}

/**
 * A channel number in use. It is emptied when it is given back: the map's earlier tables may still
 * have it (base/linkedlist.ts).
 */
interface Slot {
  opening: Opening | undefined;
  channel: Channel | undefined;
}

export interface MultiplexerOptions {
  readonly protocol: SshProtocol;
  readonly outbox: Outbox;
  /** undefined: the receiver of data may keep them. */
  readonly inbox: Inbox | undefined;
  readonly windows: ReceiveWindows;
  readonly observer: Observer;
}

export class Multiplexer implements ChannelOwner {
  readonly #protocol: SshProtocol;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox | undefined;
  readonly #windows: ReceiveWindows;
  readonly #observer: Observer;
  readonly #slots = new Map<number, Slot>();
  readonly #scheduler = new Scheduler();
  readonly #maySend = (): boolean => this.#outbox.writable && !isExchangingKeys(this.#protocol);
  #next = 0;
  #sendWindow: number | undefined;
  #running = false;
  /** Granted, and not sent yet. */
  #unsentGrants = 0;

  constructor(options: MultiplexerOptions) {
    this.#protocol = options.protocol;
    this.#outbox = options.outbox;
    this.#inbox = options.inbox;
    this.#windows = options.windows;
    this.#observer = options.observer;
    Object.assign(this.#protocol._handlers, this.#handlers());
  }

  /** The window of the last channel that the server confirmed, in bytes; undefined: none yet. */
  get sendWindow(): number | undefined {
    return this.#sendWindow;
  }

  /** Channel numbers in use. */
  get channels(): number {
    return this.#slots.size;
  }

  /** Channels that the server has confirmed and not closed yet. */
  get confirmedChannels(): Iterable<Channel> {
    return [...this.#slots.values()].flatMap(({ channel }) => channel ?? []);
  }

  open(addresses: Addresses, callback: OpenCallback): void {
    const id = this.#number();
    const window = this.#windows.open();
    this.#slots.set(id, { opening: { window, callback }, channel: undefined });
    this.#protocol.directTcpip(id, window.limit, MAX_PACKET, addresses);
  }

  /** Channels that have something to send, or had in their last turn. */
  get sending(): number {
    return this.#scheduler.size;
  }

  /** Sends waiting data, as far as that is possible now. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      this.#scheduler.run(this.#maySend);
    } finally {
      this.#running = false;
    }
  }

  /**
   * The connection is gone: all channels that are opening get `failure`. Channels that are open are
   * left as they are.
   */
  end(failure: OpenFailure): void {
    for (const [id, slot] of [...this.#slots]) {
      const { opening } = slot;
      if (opening === undefined) continue;
      this.#free(id, slot);
      opening.window.close();
      opening.callback(failure);
    }
  }

  /** Channel data were received. */
  readonly received = (id: number, data: Buffer): void =>
    this.#channel(id)?.receive(data, this.#inbox?.memory);

  // For Channel.

  activate(channel: Channel): void {
    this.#scheduler.activate(channel);
    this.run();
  }

  deactivate(channel: Channel): void {
    this.#scheduler.remove(channel);
  }

  sendData(remote: number, data: Buffer): void {
    sendChannelData(this.#protocol, this.#outbox, remote, data);
  }

  grant(remote: number, bytes: number): void {
    if (this.#outbox.empty) this.#unsentGrants = 0;
    this.#protocol.channelWindowAdjust(remote, bytes);
    this.#unsentGrants += bytes;
    if (this.#unsentGrants >= EARLY_GRANT_BYTES) this.#outbox.flush();
  }

  sendEof(remote: number): void {
    this.#protocol.channelEOF(remote);
  }

  sendClose(remote: number): void {
    this.#protocol.channelClose(remote);
  }

  violated(what: string): void {
    this.#observer.count('tunnel_ssh_violations_total');
    this.#observer.log('debug', `the jump host breaks the rules of SSH channels: ${what}`);
  }

  #number(): number {
    while (this.#slots.has(this.#next)) this.#next = (this.#next + 1) >>> 0;
    const id = this.#next;
    this.#next = (id + 1) >>> 0;
    return id;
  }

  #free(id: number, slot: Slot): void {
    slot.opening = undefined;
    slot.channel = undefined;
    this.#slots.delete(id);
  }

  /**
   * The handlers that ssh2's parser calls with the fields of each message, in place of its own
   * channels.
   */
  #handlers(): Record<string, (protocol: unknown, ...fields: never[]) => void> {
    return {
      // ssh2 would ask the server to prove the keys that hostkeys-00@openssh.com announces. Nobody
      // here uses them, and the answer to that question looks like those that LivenessProbe waits
      // for.
      GLOBAL_REQUEST: (_, _name: string, wantReply: boolean) => {
        if (wantReply) this.#protocol.requestFailure();
      },
      CHANNEL_OPEN: (_, { sender }: { sender: number }) => {
        this.violated('opens a channel of its own');
        this.#protocol.channelOpenFail(sender, ADMINISTRATIVELY_PROHIBITED, '');
      },
      CHANNEL_OPEN_CONFIRMATION: (
        _,
        info: { recipient: number; sender: number; window: number; packetSize: number },
      ) => this.#confirmed(info),
      CHANNEL_OPEN_FAILURE: (_, id: number, reason: number, text: string) =>
        this.#failed(id, { reason, text }),
      CHANNEL_WINDOW_ADJUST: (_, id: number, bytes: number) => this.#channel(id)?.adjust(bytes),
      CHANNEL_DATA: (_, id: number, data: Buffer) => this.received(id, data),
      CHANNEL_EXTENDED_DATA: (_, id: number, data: Buffer) =>
        this.#channel(id)?.discard(data.length),
      CHANNEL_EOF: (_, id: number) => this.#channel(id)?.endOfInput(),
      CHANNEL_CLOSE: (_, id: number) => this.#closed(id),
      CHANNEL_REQUEST: (_, id: number, _type: string, wantReply: boolean) => {
        // sshd also asks this way whether we are alive (ClientAliveInterval). Any answer will do.
        const channel = this.#channel(id);
        if (channel !== undefined && wantReply && !channel.closing)
          this.#protocol.channelFailure(channel.remote);
      },
      CHANNEL_SUCCESS: (_, id: number) => void this.#channel(id),
      CHANNEL_FAILURE: (_, id: number) => void this.#channel(id),
    };
  }

  #channel(id: number): Channel | undefined {
    const channel = this.#slots.get(id)?.channel;
    if (channel === undefined) this.violated(`a message for channel ${id}, which is not open`);
    return channel;
  }

  #confirmed(info: {
    recipient: number;
    sender: number;
    window: number;
    packetSize: number;
  }): void {
    const slot = this.#slots.get(info.recipient);
    const opening = slot?.opening;
    if (slot === undefined || opening === undefined) {
      this.violated(`confirms channel ${info.recipient}, which was not asked for`);
      return;
    }
    slot.opening = undefined;
    opening.window.confirmed();
    this.#sendWindow = info.window;
    const channel = new Channel({
      remote: info.sender,
      sendWindow: info.window,
      maxPacket: info.packetSize,
      receiveWindow: opening.window,
      owner: this,
    });
    slot.channel = channel;
    if (info.packetSize > 0) {
      opening.callback(channel);
      return;
    }
    this.violated(`accepts no data on channel ${info.recipient}: packets of at most 0 bytes`);
    channel.abort(undefined);
    opening.callback({ reason: 0, text: 'the server accepts packets of 0 bytes only' });
  }

  #failed(id: number, failure: OpenFailure): void {
    const slot = this.#slots.get(id);
    const opening = slot?.opening;
    if (slot === undefined || opening === undefined) {
      this.violated(`refuses channel ${id}, which was not asked for`);
      return;
    }
    this.#free(id, slot);
    opening.window.close();
    opening.callback(failure);
  }

  #closed(id: number): void {
    const slot = this.#slots.get(id);
    if (slot?.opening !== undefined) {
      this.violated(`closes channel ${id}, which it has not confirmed`);
      this.#failed(id, { reason: 0, text: 'the server closed the channel' });
      return;
    }
    const channel = this.#channel(id);
    if (slot === undefined || channel === undefined) return;
    this.#free(id, slot);
    channel.closed();
  }
}
